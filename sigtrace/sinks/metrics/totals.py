"""What the kernel counted of one container."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sigtrace.model import signals
from sigtrace.model.event import Result
from sigtrace.model.metrics import EXITS, SIGNALS, Family, Point
from sigtrace.model.waitstatus import WaitStatus

Key = TypeVar("Key")


class KernelCounts(Protocol):
    """By (cgroup, signo, result) and (cgroup, wait status), as sigtrace.sources.base.Counts has them."""

    @property
    def signals(self) -> Mapping[tuple[int, int, int], int]:
        """Signals."""

    @property
    def exits(self) -> Mapping[tuple[int, int], int]:
        """Exits."""


@dataclass(slots=True)
class Totals:
    """Signals by (name, result), exits by status, as the attributes of their metrics say it."""

    signals: dict[tuple[str, str], int] = field(default_factory=dict)
    exits: dict[tuple[str], int] = field(default_factory=dict)
    _made: tuple[int, tuple[Family, ...]] | None = field(default=None, repr=False, compare=False)
    """since when, and the families; None: something came since"""

    def add_signals(self, signo: int, result: int, count: int) -> None:
        """So many more."""
        key, self._made = _signal(signo, result), None
        self.signals[key] = self.signals.get(key, 0) + count

    def add_exits(self, status: int, count: int) -> None:
        """``status``: a raw wait status."""
        key, self._made = _status(status), None
        self.exits[key] = self.exits.get(key, 0) + count

    def __add__(self, other: Totals) -> Totals:
        return Totals(_sum(self.signals, other.signals), _sum(self.exits, other.exits))

    def families(self, start_wall_ns: int) -> tuple[Family, ...]:
        """As points that are counted since ``start_wall_ns``; the same ones as before while nothing is added.

        Of a thousand that are gone all points would be made anew for each collection while those of the one before are
        still there: a megabyte that comes and goes, and between its pieces others come to lie.

        Each tuple is made of a list: of a generator it would be resized, and CPython keeps 2,000 freed of each length.
        """
        if self._made is None or self._made[0] != start_wall_ns:
            families = (
                Family(SIGNALS, tuple([Point(key, n, start_wall_ns) for key, n in self.signals.items()])),
                Family(EXITS, tuple([Point(key, n, start_wall_ns) for key, n in self.exits.items()])),
            )
            self._made = start_wall_ns, families
        return self._made[1]


def _sum(one: dict[Key, int], other: dict[Key, int]) -> dict[Key, int]:
    if not one or not other:
        return one or other
    return one | {key: n + one.get(key, 0) for key, n in other.items()}


@functools.lru_cache(maxsize=1024)
def _signal(signo: int, result: int) -> tuple[str, str]:
    """64 × 5 there are, and what a newer kernel may add."""
    try:
        word = Result(result).word
    except ValueError:
        word = str(result)
    return signals.name(signo), word


@functools.lru_cache(maxsize=1024)
def _status(raw: int) -> tuple[str]:
    """``1`` or ``SIGKILL``; whether a core was dumped makes no difference."""
    status = WaitStatus(raw)
    return (signals.name(status.signal) if status.signal else str(status.code),)
