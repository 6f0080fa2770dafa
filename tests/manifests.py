"""What deploy/daemonset makes of each overlay, for the tests that look at it and the one that runs it."""

from pathlib import Path

from tests import kustomize

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy/daemonset"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
AGENTS = [name for name in OVERLAYS if name != "remove"]
CONTAINERD, CRIO, DOCKER = "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/docker.sock"


def built(overlay):
    return kustomize.build(DEPLOY / "overlays" / overlay)


def one(objects, kind, name=None):
    (found,) = [o for o in objects if o["kind"] == kind and name in {None, o["metadata"]["name"]}]
    return found


def pod_of(overlay):
    return one(built(overlay), "DaemonSet")["spec"]["template"]["spec"]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def host_paths(pod):
    """The host's path → (how a container mounts it)."""
    volumes = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    return [
        (volumes[mount["name"]], mount)
        for container in containers(pod)
        for mount in container.get("volumeMounts", [])
        if mount["name"] in volumes
    ]
