"""The kernel's counters, read; and what removed cgroups held of them given back without losing a count."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Any, Final

from sigtrace.sources._libbpf import Map, per_cpu_sum
from sigtrace.sources.base import Counts
from sigtrace.sources.ring import Fence
from sigtrace.sources.wire import COUNT_EXIT, COUNT_KEY, COUNT_SIGNAL, SLOT, SLOTS

#: A cgroup can only be removed once no live process is left in it; what may still come is a signal to a zombie of
#: it. After this long its keys are read a last time and given back, and again if such a signal made one anew.
_LINGER_NS: Final = 1_000_000_000
#: Reading all slots takes a while on many CPUs: not more often than this, unless many cgroups went.
_INTERVAL_NS: Final = 10_000_000_000
_MANY: Final = 200
#: How many removed cgroups are remembered for that; beyond, the oldest are forgotten and a late key stays, if there is
#: one: not where the kernel knows whose each cgroup is (is_stranger in bpf/include/maps.h).
_REMEMBERED: Final = 16384
#: And of these so many whose keys were given back once.
_SETTLED: Final = 1024
#: Keys that were given back and wait for whoever takes them; what comes beyond is in the totals alone.
_KEPT: Final = 65536


class SlotTable:
    """Signals by (cgroup, what), a table for each CPU, mapped: reading takes no system call.

    A slot is claimed by writing its cgroup last and freed here by zeroing its cgroup last, both 8-byte stores. A
    reader on a weakly ordered machine may see a claim before its key; such a slot has ``what`` 0 and is read next time.
    """

    def __init__(self, fd: int, cpus: int) -> None:
        self._map = mmap.mmap(fd, cpus * SLOTS * SLOT.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._words = memoryview(self._map).cast("Q")
        self._fence = Fence()

    def items(self) -> Iterator[tuple[int, int, int, int]]:
        """(index, cgroup, what, count) of every slot in use."""
        for index, (cgroup, what, count) in enumerate(struct.iter_unpack("<QQQ", self._map)):
            if cgroup and what:
                yield index, cgroup, what, count

    def free(self, index: int) -> int:
        """Frees a slot; returns what it counted to the last."""
        word = index * SLOT.size // 8
        count = self._words[word + 2]
        self._words[word + 2] = 0
        self._words[word + 1] = 0
        self._fence()  # or a new owner's count could be wiped out
        self._words[word] = 0
        return count

    def close(self) -> None:
        """Unmaps it."""
        self._words.release()
        self._map.close()


class Counters:
    """Reads (cgroup, signal, result) and (cgroup, wait status) totals."""

    def __init__(self, table: Map, slots: SlotTable, cpus: int) -> None:
        self._map = table
        self._slots = slots
        self._size = 8 * cpus
        self._gone: dict[int, int] = {}
        self._unsettled: set[int] = set()
        """those whose keys have not been given back yet"""
        self._settled: list[int] = []
        self._dirty = False
        self._given_ns = -_INTERVAL_NS
        self._news = 0
        self._signals_gone = 0
        self._exits_gone = 0
        self._taken = False
        self._given = Counts()

    def gone(self, cgroup: int, time_ns: int) -> bool:
        """The cgroup was removed; whether that is news."""
        if cgroup in self._gone:
            return False
        self._gone[cgroup] = time_ns
        self._unsettled.add(cgroup)
        self._dirty = True
        self._news += 1
        if len(self._gone) > _REMEMBERED:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self._unsettled.discard(oldest)
        return True

    def take_settled(self) -> list[int]:
        """Removed cgroups whose keys have been given back since the last call: nobody need know any more."""
        settled, self._settled = self._settled, []
        return settled

    def give_back(self, now_ns: int) -> int:
        """Moves the counts of removed cgroups out of the tables; returns how many keys it gave back."""
        if not self._dirty or (now_ns - self._given_ns < _INTERVAL_NS and self._news < _MANY):
            return 0
        self._given_ns = now_ns
        self._news = sum(now_ns - at < _LINGER_NS for at in self._gone.values())
        self._dirty = any(now_ns - at < _LINGER_NS for at in self._gone.values())
        dead = dict.fromkeys(cgroup for cgroup, at in self._gone.items() if now_ns - at >= _LINGER_NS)
        given = 0
        for index, cgroup, what, _ in self._slots.items():
            if cgroup in dead:
                self._keep(cgroup, what, self._slots.free(index))
                given += 1
        for key, value in list(self._map.items(self._size)):
            cgroup, what = COUNT_KEY.unpack(key)
            if cgroup not in dead or not self._map.delete(key):
                continue
            given += 1
            self._keep(cgroup, what, per_cpu_sum(value))
        self._settled += self._unsettled & dead.keys()
        self._unsettled -= dead.keys()
        for cgroup in list(dead)[:-_SETTLED]:
            del self._gone[cgroup]
        return given

    def _keep(self, cgroup: int, what: int, count: int) -> None:
        """What a key held, for the totals and, if somebody takes it, by key."""
        key: Any
        table: dict[Any, int]
        if what & COUNT_SIGNAL:
            self._signals_gone += count
            key, table = (cgroup, what >> 8 & 0xFF, what & 0xFF), self._given.signals
        else:
            self._exits_gone += count
            key, table = (cgroup, what & 0xFFFF), self._given.exits
        if self._taken and (key in table or len(table) < _KEPT):
            table[key] = table.get(key, 0) + count

    def take_given(self) -> Counts:
        """What was given back since the last call, by key: the last counts of cgroups that are gone.

        Kept from the first call on, so that who never asks has no memory of it. The totals of :meth:`read` have it too.
        """
        self._taken = True
        given, self._given = self._given, Counts()
        return given

    def read(self, signals_other: int, exits_other: int) -> Counts:
        """The totals now."""
        signals: dict[tuple[int, int, int], int] = {}
        exits: dict[tuple[int, int], int] = {}
        for _, cgroup, what, count in self._slots.items():
            key = (cgroup, what >> 8 & 0xFF, what & 0xFF)
            signals[key] = signals.get(key, 0) + count
        for raw_key, value in self._map.items(self._size):
            cgroup, what = COUNT_KEY.unpack(raw_key)
            if what & COUNT_SIGNAL:
                key = (cgroup, what >> 8 & 0xFF, what & 0xFF)
                signals[key] = signals.get(key, 0) + per_cpu_sum(value)
            elif what & COUNT_EXIT:
                exits[cgroup, what & 0xFFFF] = per_cpu_sum(value)
        return Counts(signals, exits, signals_other, exits_other, self._signals_gone, self._exits_gone)

    def keys(self) -> int:
        """How many keys are in use."""
        return sum(1 for _ in self._slots.items()) + sum(1 for _ in self._map.items(self._size))

    def close(self) -> None:
        """Unmaps the slots."""
        self._slots.close()
