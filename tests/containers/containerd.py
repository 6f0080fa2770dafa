"""A containerd of one's own, driven over CRI as the kubelet does it.

    with containerd(folder) as cri:
        pod = cri.run_pod("api-7d9f", grace_s=2)
        web = cri.run_container(pod, ["sh", "-c", "sleep 100"], name="web", pre_stop={"sleep": {"seconds": 1}})
        cri.stop_container(web, timeout=2)
        cri.stop_pod(pod)

Its root, state and socket are in a folder that goes with it; nothing stays.
"""

import contextlib
import itertools
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sigtrace.attribution.runtimes.protobuf import Field, Message, encode
from tests.containers import images
from tests.containers.leftovers import kill_those_with, remove_cgroups, remove_tree, unmount_below, wait_for

_CONF = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{folder}/c.sock"
[ttrpc]
address = "{folder}/c.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Without CAP_SYS_RESOURCE nobody may have a better score than ours.
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{folder}/cni"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
Root = "{folder}/runc"
"""

#: All pods are below this cgroup, named as the kubelet's cgroupfs driver names them.
CGROUPS = "/sigtrace-tests/kubepods"
#: NamespaceMode.
POD, CONTAINER, NODE = 0, 1, 2
_RUNTIME = "/runtime.v1.RuntimeService/"
#: ContainerState.
_EXITED = 2


@dataclass(frozen=True)
class Pod:
    """A sandbox, with what a container's creation repeats of it."""

    id: str
    name: str
    namespace: str
    uid: str
    grace_s: int
    pid_mode: int
    config: Mapping[int, Field]


class Cri:
    """The daemon, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "c.sock")
        self._attempt = itertools.count()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._channel = None
        conf = folder / "config.toml"
        conf.write_text(_CONF.format(folder=folder, pause=images.PAUSE, runc=images.tool("runc")), encoding="ascii")

    def start(self) -> None:
        """The daemon, ready to be asked."""
        grpc = pytest.importorskip("grpc", reason="grpcio is not installed: pip install grpcio")
        with (self.folder / "containerd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [images.tool("containerd"), "--config", str(self.folder / "config.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.folder)},
            )
        self._refusal = grpc.RpcError
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost")]
        wait_for(lambda: Path(self.socket).exists(), what="containerd's socket")
        self._channel = grpc.insecure_channel(f"unix:{self.socket}", options=options)
        grpc.channel_ready_future(self._channel).result(timeout=20)

        def ready() -> bool:  # its plugins start after its socket
            try:
                return bool(self.call("Version", {}))
            except self._refusal:
                return False

        wait_for(ready, what="containerd's CRI plugin")

    def end_daemon(self) -> None:
        """As if it had crashed: containers go on, the socket stays, and nobody listens."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def load_images(self) -> None:
        archive = self.folder / "images.tar"
        archive.write_bytes(images.archive())
        self.ctr("images", "import", "--snapshotter=native", str(archive))

    def ctr(self, *argv: str) -> str:
        """`ctr` in CRI's namespace."""
        command = [images.tool("ctr", "containerd"), f"--address={self.socket}", "--namespace=k8s.io", *argv]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.fail(f"ctr {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def call(self, method: str, request: Mapping[int, Field], *, timeout: float = 60) -> Message:
        """One call of the runtime service."""
        return Message(self._channel.unary_unary(_RUNTIME + method)(encode(request), timeout=timeout))

    def run_pod(
        self,
        name: str = "pod",
        *,
        namespace: str = "default",
        grace_s: int = 30,
        pid_mode: int = CONTAINER,
        annotations: Mapping[str, str] | None = None,
    ) -> Pod:
        """RunPodSandbox with the host's network. ``pid_mode``: POD shares a PID namespace, NODE is hostPID."""
        uid = str(uuid.uuid4())
        config: dict[int, Field] = {
            1: {1: name, 2: uid, 3: namespace, 4: next(self._attempt)},
            3: str(self.folder / "logs" / uid),
            6: {
                "io.kubernetes.pod.name": name,
                "io.kubernetes.pod.namespace": namespace,
                "io.kubernetes.pod.uid": uid,
            },
            7: annotations or None,
            8: {1: f"{CGROUPS}/burstable/pod{uid}", 2: {1: {1: NODE, 2: pid_mode, 3: POD}}},
        }
        answer = self.call("RunPodSandbox", {1: config})
        return Pod(answer.raw(1).decode(), name, namespace, uid, grace_s, pid_mode, config)

    def create_container(
        self,
        pod: Pod,
        argv: Sequence[str],
        *,
        name: str = "main",
        image: str = images.BUSYBOX,
        restarts: int = 0,
        pre_stop: object = None,
        env: Mapping[str, str] | None = None,
        mounts: Sequence[tuple[str, str]] = (),
        annotations: Mapping[str, str] | None = None,
        privileged: bool = False,
    ) -> str:
        """CreateContainer with the labels and annotations of the kubelet; its id.

        ``pre_stop``: a LifecycleHandler, {"exec": {"command": […]}}; ``mounts``: (host's path, container's path).
        """
        marks = {
            "io.kubernetes.container.restartCount": str(restarts),
            "io.kubernetes.pod.terminationGracePeriod": str(pod.grace_s),
        }
        if pre_stop is not None:
            marks["io.kubernetes.container.preStopHandler"] = json.dumps(pre_stop)
        config: dict[int, Field] = {
            1: {1: name, 2: restarts},
            2: {1: image},
            3: list(argv),
            6: [{1: key, 2: value} for key, value in (env or {}).items()],
            7: [{1: inside, 2: outside} for outside, inside in mounts],
            9: {
                "io.kubernetes.container.name": name,
                "io.kubernetes.pod.name": pod.name,
                "io.kubernetes.pod.namespace": pod.namespace,
                "io.kubernetes.pod.uid": pod.uid,
            },
            10: {**marks, **(annotations or {})},
            11: f"{name}-{restarts}.log",
            15: {2: {2: privileged, 3: {1: NODE, 2: pod.pid_mode, 3: POD}}},
        }
        answer = self.call("CreateContainer", {1: pod.id, 2: config, 3: pod.config})
        return answer.raw(1).decode()

    def start_container(self, container: str) -> None:
        self.call("StartContainer", {1: container})

    def run_container(self, pod: Pod, argv: Sequence[str], **config) -> str:
        """CreateContainer (see there) and StartContainer; its id."""
        container = self.create_container(pod, argv, **config)
        self.start_container(container)
        return container

    def await_program(self, container: str) -> None:
        """Until its program runs. StartContainer returns before runc has executed it, and runc, written in Go, ends by
        a SIGTERM that no program without a handler would notice."""
        comm = Path(f"/proc/{self.main_pid(container)}/comm")
        wait_for(lambda: not comm.read_text(encoding="utf-8").startswith("runc"), what=f"the program of {container}")

    def stop_container(self, container: str, timeout: int) -> None:
        """StopContainer: the stop signal, and SIGKILL after ``timeout`` seconds."""
        self.call("StopContainer", {1: container, 2: timeout}, timeout=timeout + 60)

    def remove_container(self, container: str) -> None:
        """RemoveContainer, once its daemon knows that it has ended: before, it would ask its shim to kill it, and
        that fails ("ttrpc: closed") where it takes note of the end meanwhile. A kubelet waits likewise."""

        def ended() -> bool:
            return self.call("ContainerStatus", {1: container}).message(1).integer(3) == _EXITED

        wait_for(ended, what=f"containerd to know that {container} has ended")
        self.call("RemoveContainer", {1: container})

    def exec_sync(self, container: str, argv: Sequence[str], timeout: int = 20) -> tuple[int, bytes]:
        """Exit code and stdout."""
        answer = self.call("ExecSync", {1: container, 2: list(argv), 3: timeout})
        return answer.integer(3), answer.raw(1)

    def stop_pod(self, pod: Pod) -> None:
        """StopPodSandbox, again where it fails, as a kubelet does: it may find a shim gone that it asks to kill."""

        def stopped() -> bool:
            try:
                self.call("StopPodSandbox", {1: pod.id})
            except self._refusal as error:
                print(error)
                return bool(error.code().name == "NOT_FOUND")  # removed already
            return True

        wait_for(stopped, what=f"pod {pod.name} to be stopped", timeout=20)

    def remove_pod(self, pod: Pod) -> None:
        self.call("RemovePodSandbox", {1: pod.id})

    def main_pid(self, container: str) -> int:
        """Host pid of its main process, as containerd's own client says."""
        for line in self.ctr("tasks", "ls").splitlines()[1:]:
            words = line.split()
            if words[0] == container:
                return int(words[1])
        pytest.fail(f"containerd has no task {container}")

    def close(self) -> None:
        if self._channel is not None:
            with contextlib.suppress(Exception):  # what goes wrong here went wrong before
                for sandbox in self.call("ListPodSandbox", {}).messages(1):
                    self.call("StopPodSandbox", {1: sandbox.raw(1).decode()}, timeout=20)
                    self.call("RemovePodSandbox", {1: sandbox.raw(1).decode()}, timeout=20)
        self.end_daemon()
        # Shims outlive their daemon.
        kill_those_with(self.socket)
        unmount_below(self.folder)
        remove_cgroups("/sigtrace-tests")
        for place in ("/run/containerd/s", "/run/containerd"):  # shims always have their sockets there
            with contextlib.suppress(OSError):
                os.rmdir(place)
        remove_tree(self.folder)


@contextlib.contextmanager
def containerd(folder: Path) -> Iterator[Cri]:
    """A containerd in ``folder`` (empty, and short: a socket's path has 107 bytes), with the images."""
    cri = Cri(folder)
    try:
        cri.start()
        cri.load_images()
        yield cri
    finally:
        cri.close()
