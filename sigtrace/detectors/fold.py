"""Repeats are folded: told when they begin, at ten times the count, and when they end (interface: Records)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sigtrace.model.event import Event
from sigtrace.model.finding import EVIDENCE_MAX
from sigtrace.model.workload import Observation

#: A repeat that does not come for so long has ended.
QUIET_NS: Final = 60_000_000_000
OPEN_MAX: Final = 10_000

Key = TypeVar("Key")


@dataclass(slots=True)
class Fold:
    """One thing that happens again and again."""

    first: Observation
    last_ns: int
    count: int = 1
    told: int = 0
    """the count when it was last told"""
    evidence: list[Event] = field(default_factory=list)
    cause: str = ""
    """as it was told first"""

    @classmethod
    def of(cls, observation: Observation) -> Fold:
        """Begun by this."""
        return cls(observation, observation.event.time_ns, evidence=[observation.event])

    def add(self, event: Event, count: int = 1) -> bool:
        """Once more; whether it is time to tell it again."""
        self.count += count
        self.last_ns = event.time_ns
        if len(self.evidence) < EVIDENCE_MAX:
            self.evidence.append(event)
        return self.told > 0 and self.count >= 10 * self.told

    @property
    def window_s(self) -> float | None:
        """From the first to the last; None of a single one."""
        return (self.last_ns - self.first.event.time_ns) / 1e9 if self.count > 1 else None

    @property
    def wall_ns(self) -> int:
        """Of the last."""
        return self.first.event.wall_ns + self.last_ns - self.first.event.time_ns


class Folds(Generic[Key]):
    """Those that are open, the oldest first; bounded."""

    def __init__(self, quiet_ns: int = QUIET_NS) -> None:
        self.quiet_ns = quiet_ns
        self._open: OrderedDict[Key, Fold] = OrderedDict()

    def get(self, key: Key) -> Fold | None:
        """The open one."""
        return self._open.get(key)

    def open(self, key: Key, observation: Observation) -> Fold:
        """A new one."""
        if len(self._open) >= OPEN_MAX:
            self._open.popitem(last=False)
        fold = self._open[key] = Fold.of(observation)
        return fold

    def close(self, key: Key) -> Fold | None:
        """It has ended; given back if its last count was not told."""
        fold = self._open.pop(key, None)
        return fold if fold and fold.count > fold.told else None

    def is_quiet(self, key: Key, now_ns: int) -> bool:
        """Whether it has not come for so long that it has ended."""
        fold = self._open.get(key)
        return fold is not None and fold.last_ns + self.quiet_ns <= now_ns

    def close_all(self) -> Iterator[Fold]:
        """The end: those whose last count was not told."""
        for key in list(self._open):
            if fold := self.close(key):
                yield fold
