"""A container's cgroups: one sub-path in each hierarchy that it needs."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from sigtrace.errors import HostError, RunError
from sigtrace.lab.cgroup import LabCgroup, controllers, find_other
from sigtrace.lab.process import until
from sigtrace.model.hierarchy import Hierarchy, HierarchyKind


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """How much memory a container may have, without swap."""

    limit_bytes: int
    group: bool = False
    """memory.oom.group: the OOM killer takes all of the container; v2 only"""


def find_memory() -> Hierarchy | None:
    """The hierarchy that limits memory, or None."""
    v2 = find_other("cgroup2")
    return v2 if v2 and "memory" in controllers(v2.mount).split() else find_other("memory")


class Cgroups:
    """``main``, where containers live, and what was asked for beside it; the same cgroup may play all the parts."""

    def __init__(self, name: str, *, v2: bool = False, memory: MemoryLimit | None = None) -> None:
        """Raises HostError if a hierarchy that is asked for is not mounted."""
        self.main = LabCgroup(name)
        self.all = [self.main]
        self._name = name
        self._limit = memory
        self._lent: Path | None = None
        self._v2 = self._in(find_other("cgroup2"), "version 2, for cgroup.freeze and cgroup.kill") if v2 else None
        self._memory = self._in(find_memory(), "with the memory controller") if memory else None

    def _in(self, hierarchy: Hierarchy | None, what: str) -> LabCgroup:
        if hierarchy is None:
            raise HostError(f"no cgroup hierarchy {what} is mounted", next_step="mount it, or do without")
        for cgroup in self.all:
            if cgroup.hierarchy == hierarchy:
                return cgroup
        self.all.append(LabCgroup(self._name, hierarchy))
        return self.all[-1]

    @property
    def paths(self) -> list[str]:
        """Of each, the one where containers live first."""
        return [str(cgroup.path) for cgroup in self.all]

    def create(self) -> None:
        """Make them. Raises RunError if the name is taken, HostError if a hierarchy can't be written."""
        for cgroup in self.all:
            cgroup.create()
        if self._memory and self._limit:
            self._set_limit(self._memory, self._limit)

    def _set_limit(self, cgroup: LabCgroup, limit: MemoryLimit) -> None:
        path = cgroup.path
        try:
            if cgroup.hierarchy.kind is HierarchyKind.V2:
                self._lend_memory(path)
                _write(path / "memory.max", limit.limit_bytes)
                if limit.group:
                    _write(path / "memory.oom.group", 1)
                swap, amount = path / "memory.swap.max", 0
            else:
                _write(path / "memory.limit_in_bytes", limit.limit_bytes)
                swap, amount = path / "memory.memsw.limit_in_bytes", limit.limit_bytes
            if swap.exists():  # without swap accounting there is none
                _write(swap, amount)
        except OSError as error:
            raise HostError(
                f"cannot limit the memory of {path}: {error.strerror}",
                next_step="run as root on the host, with the memory controller in cgroup.subtree_control",
            ) from error

    def _lend_memory(self, path: Path) -> None:
        # systemd has the controller on at the root already; what is turned on here is turned off at the end.
        root, folder = path.parents[1] / "cgroup.subtree_control", path.parent / "cgroup.subtree_control"
        if "memory" not in root.read_text(encoding="ascii").split():
            _write(root, "+memory")
            self._lent = root
        _write(folder, "+memory")

    def freeze(self) -> None:
        """Stop all inside, and wait until they have."""
        path = self._needed(self._v2).path
        _write(path / "cgroup.freeze", 1)
        events = path / "cgroup.events"
        until(lambda: "frozen 1" in events.read_text(encoding="ascii"), f"{path} to freeze")

    @property
    def kill_file(self) -> Path:
        """Whoever writes 1 to it kills all inside."""
        return self._needed(self._v2).path / "cgroup.kill"

    @staticmethod
    def _needed(cgroup: LabCgroup | None) -> LabCgroup:
        if cgroup is None:
            raise RunError("this container has no cgroup of version 2", next_step="make it with v2=True")
        return cgroup

    def oom_kills(self) -> int:
        """How many processes the OOM killer took from it; 0 without a limit, or once it is removed."""
        if self._memory is None:
            return 0
        v2 = self._memory.hierarchy.kind is HierarchyKind.V2
        file = self._memory.path / ("memory.events" if v2 else "memory.oom_control")
        with contextlib.suppress(FileNotFoundError):
            words = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
            return next((int(n) for name, n in words if name == "oom_kill"), 0)
        return 0

    def remove(self) -> None:
        """Kill what is left in them and remove them; safe to call twice. Raises RunError after 10 s."""
        with contextlib.ExitStack() as steps:  # each, even if another failed
            steps.callback(self._take_back)
            for cgroup in self.all:
                steps.callback(cgroup.remove)

    def _take_back(self) -> None:
        if self._lent:
            with contextlib.suppress(OSError):  # another lab's container uses it still
                _write(self._lent, "-memory")
            self._lent = None


def can_kill() -> bool:
    """Whether this kernel has cgroup.kill (since 5.14), asked of a cgroup made for that. Raises as ``create``."""
    hierarchy = find_other("cgroup2")
    if hierarchy is None:
        return False
    probe = LabCgroup(f"probe-{secrets.token_hex(4)}", hierarchy)
    probe.create()
    try:
        return (probe.path / "cgroup.kill").exists()
    finally:
        probe.remove()


def _write(path: Path, value: int | str) -> None:
    path.write_text(f"{value}", encoding="ascii")
