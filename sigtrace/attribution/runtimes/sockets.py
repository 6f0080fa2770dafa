"""Where runtimes listen: the usual places, also below a host's root that is mounted elsewhere, or as given."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sigtrace.attribution.runtimes.base import Api, Client, SocketState, SocketStatus
from sigtrace.errors import SigtraceError, UsageError
from sigtrace.model.text import printable

#: Sockets that only root can have made: /run is root's. (Rootless ones of users are not looked for: their owners
#: could give any container any name. Give them by hand.)
_USUAL: Final = (
    (Api.CRI, "run/containerd/containerd.sock"),
    (Api.CRI, "run/k3s/containerd/containerd.sock"),
    (Api.CRI, "run/k0s/containerd.sock"),
    (Api.CRI, "var/snap/microk8s/common/run/containerd.sock"),
    (Api.CRI, "run/crio/crio.sock"),
    (Api.DOCKER, "run/docker.sock"),
    (Api.DOCKER, "var/run/docker.sock"),
    (Api.DOCKER, "run/podman/podman.sock"),
)
#: A DaemonSet may see the host's /run below one of these.
ROOTS: Final = ("/", "/host", "/host/root", "/hostfs", "/rootfs")
#: sockaddr_un.sun_path, less its NUL.
_PATH_MAX: Final = 107


@dataclass(frozen=True, slots=True)
class Socket:
    """A place where a runtime may listen."""

    api: Api
    path: str

    def client(self) -> Client:
        """A client for it, not opened."""
        if self.api is Api.CRI:
            from sigtrace.attribution.runtimes.cri import CriClient

            return CriClient(self.path)
        from sigtrace.attribution.runtimes.docker import DockerClient

        return DockerClient(self.path)


def find(roots: Sequence[str] = ROOTS) -> list[Socket]:
    """Sockets that exist at the usual places, each once, whatever links lead to it."""
    found: dict[tuple[int, int], Socket] = {}
    for root in roots:
        for api, place in _USUAL:
            path = os.path.join(root, place)
            try:
                status = os.stat(path)
            except OSError:
                continue
            if stat.S_ISSOCK(status.st_mode) and len(path) <= _PATH_MAX:
                found.setdefault((status.st_dev, status.st_ino), Socket(api, path))
    return list(found.values())


def probe(socket: Socket) -> SocketStatus:
    """Try one socket now, for doctor. Takes seconds if it hangs; raises nothing."""
    client = socket.client()
    try:
        runtime = client.open()
    except SigtraceError as error:
        return SocketStatus(socket.path, socket.api, SocketState.FAILING, error=str(error), since=time.time())
    finally:
        client.close()
    return SocketStatus(socket.path, socket.api, SocketState.CONNECTED, runtime, since=time.time())


def given(texts: Iterable[str]) -> list[Socket]:
    """``/run/x.sock``, ``unix:///run/x.sock``, ``cri:/run/x.sock`` or ``docker:/run/x.sock`` (podman: the same).

    Without the API's name a path that says docker or podman is theirs, any other CRI's. Raises UsageError.
    """
    return [_given(text) for text in texts]


def _given(text: str) -> Socket:
    name, colon, rest = text.partition(":")
    apis = {"cri": Api.CRI, "docker": Api.DOCKER, "podman": Api.DOCKER}
    api = apis.get(name) if colon else None
    path = (rest if api else text).removeprefix("unix:")
    path = path.removeprefix("//")
    if not path.startswith("/") or "\0" in path:
        raise UsageError(
            f"{printable(text)!r} is no socket",
            next_step="give an absolute path, such as cri:/run/containerd/containerd.sock",
        )
    if len(os.fsencode(path)) > _PATH_MAX:
        raise UsageError(f"{printable(path)} is longer than a socket's path may be ({_PATH_MAX} bytes)")
    if api is None:
        api = Api.DOCKER if any(word in os.path.basename(path) for word in ("docker", "podman")) else Api.CRI
    return Socket(api, path)
