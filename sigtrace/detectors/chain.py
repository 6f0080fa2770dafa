"""All detectors in their order, what they share, and the timers that wake them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sigtrace.detectors.base import Detector, Thresholds, Timers
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.crashes import Crashes
from sigtrace.detectors.dropped import Dropped
from sigtrace.detectors.ignored import Ignored
from sigtrace.detectors.kept_waiting import KeptWaiting
from sigtrace.detectors.killed import Killed
from sigtrace.detectors.lost import Lost
from sigtrace.detectors.pending import Pending
from sigtrace.detectors.shutdown import Shutdowns
from sigtrace.detectors.unanswered import Unanswered
from sigtrace.detectors.zombies import Zombies
from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation


class Chain:
    """The whole rule book. Sandboxes are no containers: what happens to a pause container makes no verdict."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        thresholds = thresholds or Thresholds()
        self._containers = Containers()
        self._timers = timers = Timers()
        self._detectors: list[Detector] = [
            Dropped(self._containers, timers),
            Ignored(self._containers, timers),
            Pending(self._containers, timers, thresholds),
            Unanswered(self._containers, timers, thresholds),
            KeptWaiting(self._containers),
            Killed(self._containers, timers),
            Zombies(self._containers, timers),
            Crashes(self._containers, timers, thresholds),
            Lost(timers),
        ]
        self._shutdowns = Shutdowns(self._containers, timers)

    def feed(self, observation: Observation) -> Iterator[Verdict]:
        """Take in one observation."""
        self._containers.feed(observation)
        shutdowns = self._shutdowns
        for detector in self._detectors:
            for verdict in detector.feed(observation):
                shutdowns.found(verdict)
                yield verdict
        yield from shutdowns.feed(observation)
        self._containers.ended(observation)

    def tick(self, now_ns: int) -> Iterator[Verdict]:
        """Time has come to ``now_ns`` (CLOCK_BOOTTIME)."""
        while ringing := self._timers.pop(now_ns):
            detector, token = ringing
            verdicts = detector.due(token, now_ns)
            yield from verdicts if detector is self._shutdowns else self._show(verdicts)

    def deadline(self) -> int | None:
        """When the next tick is wanted (CLOCK_BOOTTIME ns); None: nobody waits."""
        return self._timers.deadline()

    def end(self, now_ns: int, *, handed_over: bool = False) -> Iterator[Verdict]:
        """Nothing more comes. ``handed_over``: shutdowns that wait for the teardown are a successor's to tell."""
        for detector in self._detectors:
            yield from self._show(detector.end(now_ns))
        if not handed_over:
            yield from self._shutdowns.end(now_ns)

    def _show(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        for verdict in verdicts:
            self._shutdowns.found(verdict)
            yield verdict
