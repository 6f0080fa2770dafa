"""What `kubectl kustomize` makes of our overlays, for hosts without kubectl: as much of kustomize as deploy/ uses.

resources, components, namespace, patches by strategic merge, configMapGenerator without a hash suffix. Anything else in
a kustomization.yaml is an error, so that a test can't pass over what it does not understand. tests/unit/deploy compares
it with kubectl where there is one.
"""

import copy
from pathlib import Path

import yaml

#: Kinds that have no namespace.
CLUSTER_WIDE = {"Namespace", "PriorityClass"}
#: By which key the elements of a list are the same; other lists are replaced.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


def build(folder: Path) -> list[dict]:
    """The objects, in the order of their files."""
    return _build(folder, [])


def _build(folder: Path, objects: list[dict]) -> list[dict]:
    about = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    assert about.pop("kind") in {"Kustomization", "Component"}
    about.pop("apiVersion")
    for name in about.pop("resources", []):
        path = (folder / name).resolve()
        if path.is_dir():
            objects.extend(_build(path, []))
        else:
            assert path.parent == folder.resolve(), f"{path}: kustomize reads no file outside its folder"
            objects.extend(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    objects.extend(_config_map(folder, generator) for generator in about.pop("configMapGenerator", []))
    for name in about.pop("components", []):
        _build((folder / name).resolve(), objects)
    for patch in about.pop("patches", []):
        (path,) = patch.values()
        change = yaml.safe_load((folder / path).read_text(encoding="utf-8"))
        (target,) = [o for o in objects if (o["kind"], _name(o)) == (change["kind"], _name(change))]
        _merge(target, change)
    namespace = about.pop("namespace", None)
    for one in objects:
        if namespace and one["kind"] not in CLUSTER_WIDE:
            one["metadata"]["namespace"] = namespace
    assert not about, f"{folder}/kustomization.yaml: {', '.join(about)} is not understood here"
    return objects


def _name(one: dict) -> str:
    return one["metadata"]["name"]


def _config_map(folder: Path, generator: dict) -> dict:
    assert generator["options"].pop("disableNameSuffixHash")
    metadata = {"name": generator["name"], **generator["options"]}
    if "namespace" in generator:
        metadata["namespace"] = generator["namespace"]
    data = {name: (folder / name).read_text(encoding="utf-8") for name in generator["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _merge(into: dict, change: dict) -> None:
    for key, value in copy.deepcopy(change).items():
        old = into.get(key)
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in MERGE_KEYS:
            _merge_lists(old, value, MERGE_KEYS[key])
        else:
            into[key] = value


def _merge_lists(into: list[dict], changes: list[dict], key: str) -> None:
    new = []
    for change in changes:
        same = [one for one in into if one.get(key) == change[key]]
        if same:
            _merge(same[0], change)
        else:
            new.append(change)
    # kustomize puts what a patch adds in front.
    into[:0] = new
