"""One cgroup of the lab: ``sigtrace-lab/<name>`` in one hierarchy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import time
from pathlib import Path

from sigtrace.errors import HostError, RunError
from sigtrace.model.hierarchy import Hierarchy, choose

#: The folder that holds the lab's cgroups; gone when the last of them is.
FOLDER = "sigtrace-lab"

_REMOVE_S = 10.0
_PAUSE_S = 0.001


def find_hierarchy() -> Hierarchy:
    """The hierarchy where this host's containers live. Raises HostError if there is none."""
    chosen = choose(_text("/proc/self/mountinfo"), _text("/proc/self/cgroup"), controllers)
    if chosen is None:
        raise HostError(
            "no cgroup hierarchy for containers is mounted: neither v2 nor v1's pids or memory",
            next_step="mount one: mount -t cgroup2 none /sys/fs/cgroup",
        )
    return chosen


def find_other(wanted: str) -> Hierarchy | None:
    """The hierarchy of ``cgroup2``, or of v1's ``memory``, beside that where containers live; None if not mounted."""
    lines = [line for line in _text("/proc/self/mountinfo").splitlines() if wanted in re.split(r"[ ,]", line)]
    return choose("\n".join(lines), _text("/proc/self/cgroup"), lambda _: "")


def controllers(v2: str) -> str:
    """What a v2 hierarchy mounted at ``v2`` has controllers for, separated by spaces."""
    return _text(f"{v2}/cgroup.controllers")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class LabCgroup:
    """One cgroup of the lab; made by ``create``, and ``remove`` leaves nothing of it."""

    def __init__(self, name: str, hierarchy: Hierarchy | None = None) -> None:
        self.hierarchy = hierarchy or find_hierarchy()
        self.path = Path(self.hierarchy.mount, FOLDER, name)
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
            with contextlib.suppress(FileExistsError):  # exist_ok looks again, and may find it gone
                self.path.parent.mkdir()
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
