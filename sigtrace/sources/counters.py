"""The counting table, read; and the keys of removed cgroups given back without losing a count."""

from __future__ import annotations

from typing import Final

from sigtrace.sources._libbpf import Map, per_cpu_sum
from sigtrace.sources.base import Counts
from sigtrace.sources.wire import COUNT_EXIT, COUNT_KEY, COUNT_SIGNAL

#: A cgroup can only be removed once no live process is left in it; what may still come is a signal to a zombie of
#: it. After this long its keys are read a last time and deleted, and again if such a signal made one anew.
_LINGER_NS: Final = 1_000_000_000
#: How many removed cgroups are remembered for that; beyond, the oldest are forgotten and a late key stays.
_REMEMBERED: Final = 65536


class Counters:
    """Reads (cgroup, signal, result) and (cgroup, wait status) totals."""

    def __init__(self, table: Map, cpus: int) -> None:
        self._map = table
        self._size = 8 * cpus
        self._gone: dict[int, int] = {}
        self._dirty = False
        self._signals_gone = 0
        self._exits_gone = 0

    def gone(self, cgroup: int, time_ns: int) -> None:
        """The cgroup was removed."""
        self._gone[cgroup] = time_ns
        self._dirty = True
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def give_back(self, now_ns: int) -> int:
        """Moves the counts of removed cgroups out of the table; returns how many keys it gave back."""
        if not self._dirty:
            return 0
        self._dirty = any(now_ns - at < _LINGER_NS for at in self._gone.values())
        given = 0
        for key, value in list(self._map.items(self._size)):
            cgroup, what = COUNT_KEY.unpack(key)
            at = self._gone.get(cgroup)
            if at is None or now_ns - at < _LINGER_NS or not self._map.delete(key):
                continue
            given += 1
            if what & COUNT_SIGNAL:
                self._signals_gone += per_cpu_sum(value)
            else:
                self._exits_gone += per_cpu_sum(value)
        return given

    def read(self, signals_other: int, exits_other: int) -> Counts:
        """The totals now."""
        signals: dict[tuple[int, int, int], int] = {}
        exits: dict[tuple[int, int], int] = {}
        for key, value in self._map.items(self._size):
            cgroup, what = COUNT_KEY.unpack(key)
            n = per_cpu_sum(value)
            if what & COUNT_SIGNAL:
                signals[cgroup, what >> 8 & 0xFF, what & 0xFF] = n
            elif what & COUNT_EXIT:
                exits[cgroup, what & 0xFFFF] = n
        return Counts(signals, exits, signals_other, exits_other, self._signals_gone, self._exits_gone)
