"""Which cgroup hierarchy containers live in, and the lab's own cgroups there: ``<root>/sigtrace-lab/<name>``."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from sigtrace.errors import HostError, RunError

#: The folder that holds the lab's cgroups; gone when the last of them is.
FOLDER = "sigtrace-lab"

#: Controllers that a runtime uses for every container. Where v2 has neither at its root, v1 has them (hybrid hosts).
_TELLING = ("pids", "memory")
_REMOVE_S = 10.0
_PAUSE_S = 0.001


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted cgroup hierarchy."""

    version: int
    """1 or 2"""
    controllers: frozenset[str]
    """of v1, from the mount's options; empty for v2, whose controllers are in ``cgroup.controllers``"""
    root: str
    """the folder of the hierarchy that is mounted, ``/`` on a host"""
    path: str
    """where"""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The hierarchy that containers live in."""

    version: int
    """1 or 2"""
    controller: str
    """``pids`` or ``memory`` of v1, empty for v2"""
    path: str
    """where it is mounted"""


def cgroup_mounts(mountinfo: str) -> list[Mount]:
    """The cgroup hierarchies of a ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5)), in its order."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mount, filesystem = left.split(), right.split()
        if len(mount) < 5 or len(filesystem) < 3 or filesystem[0] not in {"cgroup", "cgroup2"}:
            continue
        version = 1 if filesystem[0] == "cgroup" else 2
        options = frozenset(filesystem[2].split(",")) - {"rw", "ro"} if version == 1 else frozenset()
        found.append(Mount(version, options, _unescape(mount[3]), _unescape(mount[4])))
    return found


def choose_hierarchy(mountinfo: str, v2_controllers: str = "") -> Hierarchy | None:
    """Where containers live; None if no hierarchy fits.

    v2 if ``v2_controllers`` (the ``cgroup.controllers`` of its root) has pids or memory, else v1's pids, else v1's
    memory, else v2. A bind mount of one folder of a hierarchy counts only where the whole is not mounted.
    """
    mounts = sorted(cgroup_mounts(mountinfo), key=lambda mount: mount.root != "/")  # stable: the first mount of a kind
    v2 = next((Hierarchy(2, "", mount.path) for mount in mounts if mount.version == 2), None)
    if v2 and set(v2_controllers.split()) & set(_TELLING):
        return v2
    for controller in _TELLING:
        for mount in mounts:
            if controller in mount.controllers:
                return Hierarchy(1, controller, mount.path)
    return v2


def find_hierarchy() -> Hierarchy:
    """The hierarchy of this host. Raises HostError if there is none."""
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    v2_controllers = ""
    for mount in cgroup_mounts(mountinfo):
        if mount.version == 2:
            with contextlib.suppress(OSError):
                v2_controllers += " " + Path(mount.path, "cgroup.controllers").read_text(encoding="ascii")
    if hierarchy := choose_hierarchy(mountinfo, v2_controllers):
        return hierarchy
    raise HostError(
        "no cgroup hierarchy for containers is mounted: neither v2 nor v1's pids or memory",
        next_step="mount one: mount -t cgroup2 none /sys/fs/cgroup",
    )


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


class LabCgroup:
    """One cgroup of the lab; made by ``create``, and ``remove`` leaves nothing of it."""

    def __init__(self, name: str, hierarchy: Hierarchy | None = None) -> None:
        self.hierarchy = hierarchy or find_hierarchy()
        self.path = Path(self.hierarchy.path, FOLDER, name)
        #: Its kernfs id, which is its inode number; 0 before ``create``.
        self.id = 0

    def create(self) -> None:
        """Make it. Raises RunError if the name is taken, HostError if the hierarchy can't be written."""
        try:
            self._make()
        except FileExistsError:
            raise RunError(f"{self.path} exists already", next_step="choose another container name") from None
        except OSError as error:
            raise HostError(
                f"cannot make the cgroup {self.path}: {error.strerror}",
                next_step="run as root on the host, or in a container with /sys/fs/cgroup mounted writable",
            ) from error
        self.id = self.path.stat().st_ino

    def _make(self) -> None:
        for _ in range(100):
            # Another lab may end between the two and take the empty folder with it.
            self.path.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return self.path.mkdir()
        raise OSError(errno.EBUSY, f"{self.path.parent} vanishes again and again")

    def pids(self) -> list[int]:
        """The processes in it, as this process's PID namespace numbers them; zombies are not among them."""
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text(encoding="ascii").split()]
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise
            return []

    def remove(self) -> None:
        """Kill what is left in it and remove it; nothing happens if it is gone. Raises RunError after 10 s."""
        deadline = time.monotonic() + _REMOVE_S
        while self.id:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self.path.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                # EBUSY: its last process is on its way out.
                if time.monotonic() >= deadline:
                    raise RunError(
                        f"waited {_REMOVE_S:g} s to remove {self.path}: {error.strerror}; processes {self.pids()}",
                        next_step=f"end them, then rmdir {self.path}",
                    ) from error
                time.sleep(_PAUSE_S)
            else:
                break
        self.id = 0
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()  # refuses while another container's is in it
