"""What a cgroup's path says: container, pod, unit or session. Pure, and never wrong rather than complete.

Shapes: containerd, CRI-O, Docker, Podman, nerdctl; the kubelet's cgroupfs and systemd drivers; static pods (a hash for
a pod uid); kind and other nesting, where the innermost container wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ID = "[0-9a-f]{64}"
_RUNTIMES: Final = {
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",  # --cgroups=split, as Quadlet's units have it
}
_NAMED: Final = re.compile(rf"(?P<runtime>{'|'.join(_RUNTIMES)})-(?P<id>{_ID})(?:\.scope)?")
#: containerd's systemd shape where the runtime runs without systemd's driver: slice:cri-containerd:id
_COLONS: Final = re.compile(rf"(?P<slice>[^:]+):(?P<runtime>{'|'.join(_RUNTIMES)}):(?P<id>{_ID})")
_BARE: Final = re.compile(_ID)
_POD: Final = re.compile(
    r"(?:.*-)?pod(?P<uid>[0-9a-f]{8}[-_](?:[0-9a-f]{4}[-_]){3}[0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)
_QOS: Final = re.compile(r"(?:.*-)?(?P<qos>burstable|besteffort)(?:[-.].*)?")
_SESSION: Final = re.compile(r"session-[^/]+\.scope")


@dataclass(frozen=True, slots=True)
class PathInfo:
    """What a path says; None for what it does not."""

    runtime: str | None = None
    container_id: str | None = None
    pod_uid: str | None = None
    qos: str | None = None
    unit: str | None = None
    session: str | None = None
    container_path: str | None = None
    """the container's own cgroup: what lies below it is the container too"""


def parse(path: str) -> PathInfo:
    """Read a cgroup's path, relative to the root of its hierarchy."""
    segments = path.strip("/").split("/")
    for i in range(len(segments) - 1, -1, -1):
        runtime, container_id = _container(segments, i)
        if not container_id:
            continue
        above = segments[: i + 1]
        uid, at = _pod(above)
        qos = None
        if uid:
            named = next((m["qos"] for s in reversed(above[: at + 1]) if (m := _QOS.fullmatch(s))), None)
            qos = named or "guaranteed"
        return PathInfo(runtime, container_id, uid, qos, container_path="/" + "/".join(above))
    unit = next((s for s in reversed(segments) if s.endswith(".service")), None)
    session = next((s for s in reversed(segments) if _SESSION.fullmatch(s)), None)
    return PathInfo(unit=unit, session=session)


def container_around(path: str) -> str | None:
    """The outermost container's own cgroup, if ``path`` lies below one; what is made there it has made itself."""
    around = None
    while found := parse(path).container_path:
        around, path = found, found.rpartition("/")[0]
    return around


def pod_uid_of(path: str) -> str | None:
    """The pod in whose cgroup, or below, this path is."""
    return _pod(path.strip("/").split("/"))[0]


def _container(segments: list[str], i: int) -> tuple[str | None, str | None]:
    segment = segments[i]
    if match := _NAMED.fullmatch(segment) or _COLONS.fullmatch(segment):
        return _RUNTIMES[match["runtime"]], match["id"]
    if not _BARE.fullmatch(segment) or i == 0:
        return None, None
    above = segments[i - 1]
    if above == "docker":
        return "docker", segment
    if above in ("k8s.io", "default", "moby"):  # containerd's namespaces
        return ("docker" if above == "moby" else "containerd"), segment
    if segments[0] == "ecs":  # the agent of Amazon ECS: /ecs/TASK/ID
        return "docker", segment
    return ("unknown", segment) if above.startswith("pod") else (None, None)


def _pod(segments: list[str]) -> tuple[str | None, int]:
    for i in range(len(segments) - 1, -1, -1):
        if match := _POD.fullmatch(segments[i].split(":", 1)[0]):
            return match["uid"].replace("_", "-"), i
    return None, -1
