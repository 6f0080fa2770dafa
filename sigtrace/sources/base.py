"""What a source is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from sigtrace.model.event import Event


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read gave. Events of one batch may be out of order across CPUs."""

    events: list[Event]
    until_ns: int
    """no event that is older than this (CLOCK_BOOTTIME ns) will come in a later batch"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the kernel counted since the source was opened; totals only grow.

    Keys: (cgroup id, signo, result) and (cgroup id, wait status). ``*_other``: counted while the table was full.
    """

    signals: dict[tuple[int, int, int], int] = field(default_factory=dict)
    exits: dict[tuple[int, int], int] = field(default_factory=dict)
    signals_other: int = 0
    exits_other: int = 0
    signals_gone: int = 0
    """of cgroups that are gone and whose keys were given back"""
    exits_gone: int = 0
    known: bool = True
    """False: nobody counts here, and what is missing is unknown, not 0"""

    @property
    def signals_total(self) -> int:
        """Every signal."""
        return sum(self.signals.values()) + self.signals_other + self.signals_gone

    @property
    def exits_total(self) -> int:
        """Every exit."""
        return sum(self.exits.values()) + self.exits_other + self.exits_gone


class Places(Protocol):
    """cgroup id → path, kept beside what is pinned."""

    def add(self, cgroup: int, path: str) -> None:
        """It was made there, or found."""

    def discard(self, cgroup: int) -> None:
        """It is gone, and all about it was told."""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """All."""


class Source(Protocol):
    """Where events come from. Attach first, then snapshot: nothing falls between."""

    name: str
    since_ns: int
    """since when it counts (CLOCK_BOOTTIME)"""
    resumed_ns: int
    """it was found running: up to here (CLOCK_BOOTTIME) whoever read it before us had told everything; else 0"""

    @property
    def places(self) -> Places | None:
        """Where cgroups are, kept for who comes after us; None: nobody will."""

    @property
    def replaced(self) -> bool:
        """What was found running could not be taken over."""

    def open(self) -> None:
        """Attaches. When it returns, nothing is missed any more. Raises HostError."""

    def read(self, timeout_s: float) -> Batch:
        """Waits for events at most so long; an empty batch still moves time on."""

    def wake(self) -> None:
        """Ends the read that waits, or else the next that would. For any thread."""

    def finish(self, deadline_s: float) -> Iterator[Batch]:
        """Detaches, then yields what is still on its way; what takes longer than ``deadline_s`` is told as LOST."""

    def close(self) -> None:
        """Detaches. Harmless twice."""

    def snapshot(self) -> list[Event]:
        """Every process as it is now, as TASK events."""

    def counts(self) -> Counts:
        """What was counted since it was opened."""

    def given_back(self) -> Counts:
        """What removed cgroups counted to their end, since the last call; signals and exits only."""

    def ledger(self) -> dict[str, int]:
        """What became records, and what did not, by name."""

    def watch(self, pid: int, start_ns: int) -> None:
        """It is a container's main process, though no init."""

    def expect_stop_signal(self, signo: int) -> None:
        """Some container declares it as its stop signal."""

    def charge(self, owners: Iterable[tuple[int, int, bool]]) -> None:
        """(cgroup, owner, whether a user made it who is not root) of all that there are: whose budget it takes to tell.

        The owner is the container in which it was made, or else itself.
        """

    def follow(self, pid: int, start_ns: int) -> None:
        """Tell of this process (and of its descendants, if so opened)."""

    def leave_out(self, cgroup: int, unwanted: bool) -> None:
        """Whether what concerns nobody but this cgroup need not be told. A source may tell it all the same."""
