"""Cgroups that the user did not ask for: the kernel leaves out what concerns nobody else."""

from __future__ import annotations

from typing import Final

from sigtrace.sources._libbpf import LibbpfError, Map

_YES: Final = b"\x01\0\0\0"


class Unwanted:
    """The map `unwanted`. What finds no room in it is told, and left out by the sink that filters: nothing is lost."""

    def __init__(self, table: Map) -> None:
        self._map = table
        self._known: set[int] = set()

    def add(self, cgroup: int) -> None:
        """Nobody asked for this one."""
        if cgroup and cgroup not in self._known and len(self._known) < self._map.max_entries:
            try:
                self._map.update(cgroup.to_bytes(8, "little"), _YES)
            except LibbpfError:
                return
            self._known.add(cgroup)

    def discard(self, cgroup: int) -> None:
        """It is gone, or something else began there."""
        if cgroup in self._known:
            self._known.remove(cgroup)
            self._map.delete(cgroup.to_bytes(8, "little"))
