"""A Podman of one's own: storage, state and REST socket in a folder that goes with it.

    with podman(folder) as p:
        web = p.run("sh", "-c", "sleep 100", name="web", runtime="crun", stop_timeout=3)
        p.stop(web, timeout=2)

Nothing of it touches a Podman that the machine uses, and nothing stays: containers, mounts, cgroups, processes.
"""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import images
from tests.containers.leftovers import remove_cgroups, remove_tree, unmount_below, wait_for

_CONF = """
[containers]
# Without CAP_SYS_RESOURCE the defaults, which are higher than our own, can't be set.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
infra_image = "{pause}"
[engine.runtimes]
runc = ["{runc}"]
crun = ["{crun}"]
"""

#: crun refuses hybrid cgroups if v2 has a controller; in this mount namespace it sees v1 alone.
_CRUN = """#!/bin/sh
exec {unshare} --mount sh -c 'umount -l /sys/fs/cgroup/unified; exec "$0" "$@"' {crun} "$@"
"""
_UNIFIED = Path("/sys/fs/cgroup/unified/cgroup.controllers")


class Podman:
    """The program and its service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "podman.sock")
        self._podman = images.tool("podman")
        runc, crun = images.tool("runc"), images.tool("crun")
        if _UNIFIED.exists() and _UNIFIED.read_text(encoding="ascii").strip():
            wrapper = folder / "crun"
            wrapper.write_text(_CRUN.format(unshare=images.tool("unshare", "util-linux"), crun=crun), encoding="ascii")
            wrapper.chmod(0o755)
            crun = str(wrapper)
        conf = folder / "containers.conf"
        conf.write_text(_CONF.format(pause=images.PAUSE, runc=runc, crun=crun), encoding="ascii")
        self._env = {**os.environ, "CONTAINERS_CONF": str(conf), "TMPDIR": str(folder)}
        self._service: subprocess.Popen[bytes] | None = None

    def __call__(self, *argv: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command of it; its output. Fails the test with what it says."""
        done = subprocess.run(
            self._command(*argv),
            check=False,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            pytest.fail(f"podman {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _command(self, *argv: str) -> list[str]:
        places = [f"--{name}={self.folder / name}" for name in ("root", "runroot", "tmpdir")]
        return [self._podman, *places, "--storage-driver=vfs", *argv]

    def load_images(self) -> None:
        archive = self.folder / "images.tar"
        archive.write_bytes(images.archive())
        self("load", "-q", "-i", str(archive))

    def run(
        self,
        *argv: str,
        name: str,
        image: str = images.BUSYBOX,
        runtime: str = "runc",
        pod: str | None = None,
        stop_timeout: int | None = None,
        options: tuple[str, ...] = (),
    ) -> str:
        """Start a container; its id."""
        given = [f"--stop-timeout={stop_timeout}"] if stop_timeout is not None else []
        given += [f"--pod={pod}"] if pod else ["--network=none"]
        return self("--runtime", runtime, "run", "-d", f"--name={name}", *given, *options, image, *argv)

    def pod(self, name: str, *, share_pid: bool = False, runtime: str = "runc") -> tuple[str, str]:
        """A pod with its infra container: ids of both."""
        share = "--share=ipc,pid" if share_pid else "--share=ipc"
        pod = self("--runtime", runtime, "pod", "create", "--network=none", share, f"--name={name}")
        infra = json.loads(self("pod", "inspect", name))["InfraContainerID"]
        return pod, str(infra)

    def stop(self, container: str, timeout: int) -> None:
        """`podman stop`: the stop signal, and SIGKILL after ``timeout`` seconds."""
        self("stop", f"--time={timeout}", container)

    def main_pid(self, container: str) -> int:
        return int(self("inspect", "--format={{.State.Pid}}", container))

    def serve(self) -> None:
        """The REST service, ready."""
        log = (self.folder / "service.log").open("ab")
        with log:
            self._service = subprocess.Popen(
                self._command("system", "service", "--time=0", f"unix://{self.socket}"),
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers, what="Podman's service")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def end_service(self) -> None:
        """As if it had crashed: the socket stays, and nobody listens."""
        if self._service is not None:
            self._service.kill()
            self._service.wait()
            self._service = None

    def close(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self("pod", "rm", "--all", "--force", "--time=0", check=False)
            self("rm", "--all", "--force", "--time=0", check=False)
        self.end_service()
        unmount_below(self.folder)
        remove_cgroups("/libpod_parent")  # if nobody is in it
        remove_tree(self.folder)


@contextlib.contextmanager
def podman(folder: Path) -> Iterator[Podman]:
    """A Podman in ``folder`` (empty, and short: a socket's path has 107 bytes), with the images and its service."""
    began = Podman(folder)
    try:
        began.load_images()
        began.serve()
        yield began
    finally:
        began.close()
