"""Which verdicts are in the metrics that somebody has got: a successor counts the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final

from sigtrace.model.finding import Verdict
from sigtrace.model.metrics import Collected
from sigtrace.model.workload import Observation
from sigtrace.sinks.metrics.bookkeeping import Metrics

#: Verdicts that are remembered while nobody asks.
_ROOM: Final = 4096


class Leaving:
    """A :class:`sigtrace.sinks.base.Sink` in front of the metrics; what collects is for any thread."""

    def __init__(
        self,
        metrics: Metrics,
        key_of: Callable[[Verdict], str],
        left: Callable[[Collection[str]], None] | None,
    ) -> None:
        """``left``: takes the keys of those that have left with what was collected; None: nobody wants to know."""
        self._metrics = metrics
        self._key_of = key_of
        self._told = left
        self._lock = threading.Lock()
        self._counted: deque[str] = deque(maxlen=_ROOM)
        """keys: with its evidence a verdict takes a hundred times as much"""
        self._number = 0
        """of verdicts so far: the last of ``_counted`` is the last of them"""
        self._closed = False

    def verdict(self, verdict: Verdict) -> None:
        """It is counted."""
        self._metrics.verdict(verdict)
        if self._told is None:
            return
        key = self._key_of(verdict)
        with self._lock:
            self._counted.append(key)
            self._number += 1

    def scrape(self) -> Collected:
        """For who takes it at once."""
        collected, number = self.collect()
        self.left(number)
        return collected

    def collect(self) -> tuple[Collected, int]:
        """And how far it is complete, for ``left``."""
        with self._lock:
            number = self._number
        asked_ns = time.time_ns()
        collected = self._metrics.collect()
        # An older one, if the pipeline does not come; but after the end there is none that is newer.
        return collected, number if self._closed or collected.wall_ns >= asked_ns else 0

    def left(self, number: int) -> None:
        """Somebody has got all up to this one."""
        with self._lock:
            count = max(0, number - (self._number - len(self._counted)))
            gone = list(islice(self._counted, count))
            for _ in gone:
                self._counted.popleft()
        if gone and self._told:
            self._told(gone)

    def observation(self, observation: Observation) -> None:
        """An event."""
        self._metrics.observation(observation)

    def pass_time(self, now_ns: int) -> None:
        """Time passes."""
        self._metrics.pass_time(now_ns)

    def take_dropped(self) -> int:
        """Nothing is dropped here."""
        return self._metrics.take_dropped()

    def close(self) -> None:
        """The last collection."""
        self._metrics.close()
        self._closed = True
