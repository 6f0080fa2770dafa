"""A pod of a manifest, run over CRI as the kubelet runs it: each line of its security context, each mount, its probes.

    agent = run(cri, daemon_set, config_maps, folder, {"/run/containerd/containerd.sock": cri.socket})
    agent.probe("readinessProbe")
    end(agent)

Differs from a kubelet in what the test wants otherwise, and only there: where the host's folders are (``places``: the
manifest's hostPath → the test's).
"""

import contextlib
import http.client
import json
import re
import socket
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from sigtrace.attribution.runtimes.protobuf import Message
from tests.containers import images
from tests.containers.containerd import CGROUPS, CONTAINER, NODE, POD, Cri, Pod
from tests.containers.leftovers import wait_for

#: What a pod with procMount: Default does not see, and sees read-only; pkg/securitycontext of Kubernetes.
MASKED = "acpi kcore keys latency_stats timer_list timer_stats sched_debug scsi".split()
READ_ONLY = "asound bus fs irq sys sysrq-trigger".split()
NODE_NAME = "node-7"
#: Where kubelets look for Localhost profiles; ours have a folder in there.
_SECCOMP = "/var/lib/kubelet/seccomp/sigtrace"
#: ContainerState.
_EXITED = 2
_PROFILES = {"RuntimeDefault": 0, "Unconfined": 1, "Localhost": 2}


def _subnet() -> str:
    """One to which no route of this machine leads: a run that was killed may have left its pods' veth pairs."""
    lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    taken = {socket.inet_ntoa(int(line.split()[1], 16).to_bytes(4, sys.byteorder)) for line in lines}
    return next(f"10.213.{n}.0/24" for n in range(256) if not any(one.startswith(f"10.213.{n}.") for one in taken))


def give_network(cri: Cri) -> None:
    """Pods of this containerd may have a network of their own from now on."""
    plugins = Path("/usr/lib/cni")
    if not (plugins / "ptp").exists():
        images.tool("ptp", "containernetworking-plugins")
    folder = cri.folder / "cni"
    folder.mkdir(exist_ok=True)
    for name in ("ptp", "host-local", "loopback"):
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(plugins / name)
    ipam = {"type": "host-local", "subnet": _subnet(), "dataDir": str(cri.folder / "ipam")}
    # veth pairs, routed by the host
    conf = {"cniVersion": "0.4.0", "name": "sigtrace-tests", "type": "ptp", "ipam": ipam}
    (folder / "10-test.conf").write_text(json.dumps(conf), encoding="ascii")


@dataclass(frozen=True)
class AgentPod:
    """A running pod; ``container`` is its one that is no init container."""

    cri: Cri
    pod: Pod
    container: str
    spec: dict
    address: str
    log: Path

    @property
    def pid(self) -> int:
        """Of its main process, on the host."""
        return self.cri.main_pid(self.container)

    def get(self, path: str, port: int = 9477) -> tuple[int, str]:
        """Status and text of a GET from the node."""
        link = http.client.HTTPConnection(self.address, port, timeout=5)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    def probe(self, name: str) -> bool:
        """One probe of its manifest."""
        container = self.spec["containers"][0]
        wanted = container[name]["httpGet"]
        (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == wanted["port"]]
        try:
            return self.get(wanted["path"], port)[0] == 200
        except OSError:
            return False

    def lines(self) -> list[str]:
        """What it has written to stdout, as `kubectl logs` would show it."""
        found = [""]
        for line in self.log.read_text(encoding="utf-8").splitlines():
            _, stream, tag, text = line.split(" ", 3)
            if stream == "stdout":
                found[-1] += text
                if tag == "F":  # the last piece of a line; the others are P
                    found.append("")
        return found[:-1]

    def errors(self) -> str:
        """All that it has written, for a failing test's message."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def exec(self, *argv: str) -> str:
        """`kubectl exec`; its stdout."""
        status, text = self.cri.exec_sync(self.container, argv)
        assert status == 0, (argv, status, text)
        return text.decode()


def run(cri: Cri, daemon_set: dict, config_maps: dict[str, dict], folder: Path, places: dict[str, str]) -> AgentPod:
    """Start it. ``folder``: for what the kubelet keeps; ``places``: see above."""
    spec = daemon_set["spec"]["template"]["spec"]
    uid = str(uuid.uuid4())
    name = f"{daemon_set['metadata']['name']}-x{uid[:4]}"
    namespaces = {
        1: NODE if spec.get("hostNetwork") else POD,
        2: NODE if spec.get("hostPID") else CONTAINER,
        3: POD,
    }
    labels = {
        "io.kubernetes.pod.name": name,
        "io.kubernetes.pod.namespace": daemon_set["metadata"]["namespace"],
        "io.kubernetes.pod.uid": uid,
    }
    logs = folder / "logs"
    config = {
        1: {1: name, 2: uid, 3: labels["io.kubernetes.pod.namespace"]},
        2: name,
        3: str(logs),
        6: labels,
        8: {1: f"{CGROUPS}/burstable/pod{uid}", 2: {1: namespaces}},
    }
    answer = cri.call("RunPodSandbox", {1: config})
    grace = spec["terminationGracePeriodSeconds"]
    pod = Pod(answer.raw(1).decode(), name, labels["io.kubernetes.pod.namespace"], uid, grace, namespaces[2], config)
    volumes = {volume["name"]: _place(volume, folder, config_maps, places) for volume in spec["volumes"]}
    seccomp = str(Path(places.get(_SECCOMP, _SECCOMP)).parent)
    agent = AgentPod(cri, pod, "", spec, _address(cri, pod), logs / f"{spec['containers'][0]['name']}.log")
    try:
        for container in spec.get("initContainers", []):
            _finish(cri, _start(cri, pod, spec, container, volumes, seccomp), container["name"])
        (container,) = spec["containers"]
        return replace(agent, container=_start(cri, pod, spec, container, volumes, seccomp))
    except BaseException:
        end(agent)
        raise


def _address(cri: Cri, pod: Pod) -> str:
    return cri.call("PodSandboxStatus", {1: pod.id}).message(1).message(5).raw(1).decode()


def _start(cri: Cri, pod: Pod, spec: dict, container: dict, volumes: dict[str, str], seccomp: str) -> str:
    name = container["name"]
    request = {
        1: {1: name},
        2: {1: f"localhost/{container['image']}"},
        3: container.get("command", []),
        4: container.get("args", []),
        6: [{1: key, 2: value} for key, value in _environment(container.get("env", [])).items()],
        7: [
            {1: mount["mountPath"], 2: volumes[mount["name"]], 3: mount.get("readOnly", False)}
            for mount in container.get("volumeMounts", [])
        ],
        9: {**pod.config[6], "io.kubernetes.container.name": name},
        10: {
            "io.kubernetes.container.restartCount": "0",
            "io.kubernetes.pod.terminationGracePeriod": str(pod.grace_s),
        },
        11: f"{name}.log",
        15: {1: _resources(container["resources"]), 2: _security(spec, container, pod.config[8][2][1], seccomp)},
    }
    made = cri.call("CreateContainer", {1: pod.id, 2: request, 3: pod.config}).raw(1).decode()
    cri.start_container(made)
    return made


def _finish(cri: Cri, container: str, name: str) -> None:
    """Wait for an init container, which has to end well."""

    def status() -> Message | None:
        found = cri.call("ContainerStatus", {1: container}).message(1)
        return found if found.integer(3) == _EXITED else None

    code = wait_for(status, what=f"the init container {name} to end").integer(7)
    assert code == 0, f"the init container {name} ended with {code}"


def _place(volume: dict, folder: Path, config_maps: dict[str, dict], places: dict[str, str]) -> str:
    if "hostPath" in volume:
        path = volume["hostPath"]["path"]
        return places.get(path, path)
    own = folder / "volumes" / volume["name"]
    own.mkdir(parents=True, exist_ok=True)
    if "configMap" in volume:
        for name, text in config_maps[volume["configMap"]["name"]]["data"].items():
            (own / name).write_text(text, encoding="utf-8")
    return str(own)


def _environment(variables: list[dict]) -> dict[str, str]:
    known: dict[str, str] = {}
    for variable in variables:
        if "valueFrom" in variable:
            assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
            value = NODE_NAME
        else:
            value = re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], variable["value"])
        known[variable["name"]] = value
    return known


def _resources(resources: dict) -> dict:
    mebibytes = int(resources["limits"]["memory"].removesuffix("Mi"))
    millicores = int(resources["requests"]["cpu"].removesuffix("m"))
    return {3: max(2, millicores * 1024 // 1000), 4: mebibytes << 20, 5: 900}


def _security(spec: dict, container: dict, namespaces: dict, seccomp: str) -> dict:
    own = container["securityContext"]
    of_pod = spec["securityContext"]
    profile = own.get("seccompProfile") or of_pod["seccompProfile"]
    localhost = profile.get("localhostProfile")
    return {
        1: {1: own["capabilities"].get("add", []), 2: own["capabilities"]["drop"]},
        2: own["privileged"],
        3: namespaces,
        5: {1: of_pod["runAsUser"]},
        7: own["readOnlyRootFilesystem"],
        11: not own["allowPrivilegeEscalation"],
        12: {1: of_pod["runAsGroup"]},
        13: [*(f"/proc/{name}" for name in MASKED), "/sys/firmware"],
        14: [f"/proc/{name}" for name in READ_ONLY],
        15: {1: _PROFILES[profile["type"]], 2: f"{seccomp}/{localhost}" if localhost else ""},
    }


def end(agent: AgentPod) -> None:
    """Stop and remove it, in whatever state it is."""
    with contextlib.suppress(Exception):
        agent.cri.stop_container(agent.container, timeout=1)
    with contextlib.suppress(Exception):
        agent.cri.stop_pod(agent.pod)
        agent.cri.remove_pod(agent.pod)


def mounts(pid: int) -> dict[str, set[str]]:
    """Mount point → options of the mount, as a process sees them."""
    lines = [line.split(" ") for line in Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()]
    return {fields[4]: set(fields[5].split(",")) for fields in lines}
