"""Signals and exits of each container, from the kernel's counters or from what was told; and how fast they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sigtrace.model.overview import HISTORY
from sigtrace.model.workload import Workload
from sigtrace.sinks.overview.rows import GrowingRow

_CACHE_MAX: Final = 50_000


class Counts(Protocol):
    """What the kernel counted (sources.base.Counts)."""

    @property
    def known(self) -> bool:
        """False: nobody counts."""

    @property
    def signals(self) -> Mapping[tuple[int, int, int], int]:
        """(cgroup id, signo, result) → how many."""

    @property
    def exits(self) -> Mapping[tuple[int, int], int]:
        """(cgroup id, wait status) → how many."""

    @property
    def signals_total(self) -> int:
        """Every signal."""


Counted = Callable[[], Counts | None]


def of_events() -> Counted:
    """Nobody counts: what was told is all there is."""
    return lambda: None


class Rates:
    """Totals and rates; in the pipeline's thread alone."""

    def __init__(self, counted: Counted, workload_of: Callable[[int], Workload | None] | None = None) -> None:
        self._counted = counted
        self._workload_of = workload_of or (lambda _: None)
        self._told: dict[int, list[int]] = {}
        """container → signals and exits that were told"""
        self._owners: dict[int, int] = {}
        """cgroup → its container's own cgroup; 0: it is in none"""
        self._at_ns = 0
        self._before: dict[int, int] = {}
        self._total_before: int | None = None
        self._events_before = 0
        self.total: float | None = None
        """signals a second, of the whole node"""
        self.events = 0.0
        """told a second"""

    def signal(self, container: int) -> None:
        """One was told."""
        self._told.setdefault(container, [0, 0])[0] += 1

    def exit(self, container: int) -> None:
        """One was told."""
        self._told.setdefault(container, [0, 0])[1] += 1

    def forget(self, cgroup: int) -> None:
        """It was made or removed, or nobody asks for it any more."""
        self._owners.pop(cgroup, None)
        self._told.pop(cgroup, None)

    def workload(self, cgroup: int) -> Workload | None:
        """Of a cgroup, as it is known now."""
        return self._workload_of(cgroup)

    def _owner(self, cgroup: int) -> int:
        owner = self._owners.get(cgroup)
        if owner is None:
            workload = self._workload_of(cgroup)
            owner = workload.cgroup_id if workload is not None and workload.is_container else 0
            if len(self._owners) >= _CACHE_MAX:
                self._owners.clear()
            self._owners[cgroup] = owner
        return owner

    def read(self, now_ns: int, rows: Mapping[int, GrowingRow], events: int) -> None:
        """Brings each row's totals and rates up to now."""
        counts = self._counted()
        if counts is not None and not counts.known:
            for row in rows.values():
                row.signals = row.exits = row.rate = None
            self._pass(now_ns, events)
            return
        if counts is None:
            signals = {container: told[0] for container, told in self._told.items()}
            exits = {container: told[1] for container, told in self._told.items()}
        else:
            signals, exits = {}, {}
            for (cgroup, _, _), count in counts.signals.items():
                signals[cgroup] = signals.get(cgroup, 0) + count
            for (cgroup, _), count in counts.exits.items():
                exits[cgroup] = exits.get(cgroup, 0) + count
            signals, exits = self._by_container(signals), self._by_container(exits)
        elapsed_s = (now_ns - self._at_ns) / 1e9 if self._at_ns else 0.0
        for container, row in rows.items():
            # Counters of a cgroup that is gone are given back: what a row had, it keeps.
            row.signals = total = max(row.signals or 0, signals.get(container, 0))
            row.exits = max(row.exits or 0, exits.get(container, 0))
            before = self._before.get(container)
            news = total - before if before is not None else 0
            row.rate = news / elapsed_s if elapsed_s > 0 else 0.0
            if elapsed_s > 0:
                row.history = (*row.history[1 - HISTORY :], round(row.rate))
        self._before = {container: row.signals or 0 for container, row in rows.items()}
        whole = counts.signals_total if counts is not None else None
        if whole is not None and self._total_before is not None and elapsed_s > 0:
            self.total = (whole - self._total_before) / elapsed_s
        self._total_before = whole
        self._pass(now_ns, events)

    def _pass(self, now_ns: int, events: int) -> None:
        elapsed_s = (now_ns - self._at_ns) / 1e9 if self._at_ns else 0.0
        self.events = (events - self._events_before) / elapsed_s if elapsed_s > 0 else 0.0
        self._events_before = events
        self._at_ns = now_ns

    def _by_container(self, counted: dict[int, int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for cgroup, count in counted.items():
            owner = self._owner(cgroup)
            if owner:
                found[owner] = found.get(owner, 0) + count
        return found
