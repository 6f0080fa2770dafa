"""What a detector is, how long it waits, and how it is woken."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation

ProcessKey = tuple[int, int]

SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How long what is not yet a verdict is waited for, in seconds."""

    unanswered_after_s: float = 60.0
    """a stop signal that nothing followed, where no grace limit is known"""
    pending_after_s: float = 4.5
    """a stop signal that is still pending"""
    crash_hold_s: float = 5.0
    """a worker's crash is told alone if it has not become a loop by then"""
    loop_window_s: float = 600.0
    """crashes that are further apart make no loop"""
    loop_crashes: int = 3
    """so many make one, if two at least were of processes that replaced another"""

    def as_dict(self) -> dict[str, float]:
        """For the header of a recording."""
        return asdict(self)


class Timers:
    """Who wants to be woken when. A detector that needs a timer no more lets it ring and does nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Detector, Any]] = []
        self._seq = 0

    def at(self, due_ns: int, detector: Detector, token: Any) -> None:
        """Wake ``detector`` with ``token`` when time has come to ``due_ns`` (CLOCK_BOOTTIME)."""
        self._seq += 1
        heapq.heappush(self._heap, (due_ns, self._seq, detector, token))

    def deadline(self) -> int | None:
        """The next; None if nobody waits."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now_ns: int) -> tuple[Detector, Any] | None:
        """Who is to be woken by now."""
        if not self._heap or self._heap[0][0] > now_ns:
            return None
        _, _, detector, token = heapq.heappop(self._heap)
        return detector, token


class Detector(Protocol):
    """One rule. Observations come in time order; no clock and no IO in here."""

    def feed(self, observation: Observation) -> Iterable[Verdict]:
        """Take in one observation."""

    def due(self, token: Any, now_ns: int) -> Iterable[Verdict]:
        """A timer of its own rings: everything that is older than ``now_ns`` (CLOCK_BOOTTIME) has been fed."""

    def end(self, now_ns: int) -> Iterable[Verdict]:
        """Nothing more comes: tell what waits for no more than a confirmation."""
