"""Once a second: losses become events, and removed cgroups give back what the kernel keeps for them."""

from __future__ import annotations

from typing import Final

from sigtrace.model.event import Event, Kind
from sigtrace.sources.loaded import Loaded

_INTERVAL_NS: Final = 1_000_000_000
#: Marks of containers that were stopping are over by themselves; a container may hold the numbers of so many PID
#: namespaces that there is no room for others' marks.
_SWEEP_INTERVAL_NS: Final = 30_000_000_000


class Housekeeping:
    """Of the kernel's tables. Times are CLOCK_BOOTTIME, ns; ``wall_ns`` is what the wall clock is ahead of it."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.done_ns = 0
        """when it was done; 0: it is due"""
        self._swept_ns = 0

    def due(self, now: int, wall_ns: int, until_ns: int) -> list[Event]:
        """What came of it, if it is time for it. Everything up to ``until_ns`` is in the pipeline."""
        loaded = self._loaded
        if now - self.done_ns < _INTERVAL_NS or not loaded.counters:
            return []
        self.done_ns = now
        news = loaded.ledger.news()
        events = [Event(now, now + wall_ns, Kind.LOST, loss=loss, count=count) for loss, count in news]
        events += self._removed(now, wall_ns)
        if now - self._swept_ns > _SWEEP_INTERVAL_NS:
            self._swept_ns = now
            self._sweep(now)
        loaded.counters.give_back(now)
        for cgroup in loaded.counters.take_settled():
            loaded.gone.delete(cgroup.to_bytes(8, "little"))
        loaded.note_told(until_ns)
        return events

    def _removed(self, now: int, wall_ns: int) -> list[Event]:
        loaded, events = self._loaded, []
        for key, at in list(loaded.gone.items()):
            cgroup, removed_ns = int.from_bytes(key, "little"), int.from_bytes(at, "little")
            if not loaded.counters or not loaded.counters.gone(cgroup, removed_ns):
                continue
            loaded.limits.delete(key)  # a signal to a zombie of it may have made it anew
            if loaded.unwanted:
                loaded.unwanted.discard(cgroup)
            # The table is younger than ``now``: what still happened in the cgroup may be, and must come before.
            told_ns = max(now, removed_ns)
            events.append(Event(told_ns, told_ns + wall_ns, Kind.CGROUP_RMDIR, cgroup_id=cgroup))
        return events

    def _sweep(self, now: int) -> None:
        for key, until in list(self._loaded.stopping.items()):
            if int.from_bytes(until, "little") < now:
                self._loaded.stopping.delete(key)
