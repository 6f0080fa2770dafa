"""All detectors in their order, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sigtrace.detectors.base import Detector
from sigtrace.detectors.dropped import Dropped
from sigtrace.detectors.killed import Killed
from sigtrace.detectors.lost import Lost
from sigtrace.detectors.processes import Processes
from sigtrace.detectors.shutdown import Shutdowns
from sigtrace.detectors.stops import Stops
from sigtrace.model.event import Kind
from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation, WorkloadKind


class Chain:
    """A :class:`sigtrace.detectors.base.Detector` made of the others; shutdowns come last and see what they found."""

    def __init__(self) -> None:
        self._processes = Processes()
        self._stops = Stops()
        self._detectors: list[Detector] = [
            Dropped(self._processes),
            Killed(self._processes, self._stops),
            Lost(),
        ]
        self._shutdowns = Shutdowns(self._processes, self._stops)

    def feed(self, observation: Observation) -> Iterator[Verdict]:
        """Take in one observation."""
        ends = observation.event.kind in (Kind.EXIT, Kind.REAP)
        if not ends:
            self._processes.feed(observation.event)
        self._stops.feed(observation)
        for detector in self._detectors:
            yield from self._show(detector.feed(observation))
        yield from _without_sandboxes(self._shutdowns.feed(observation))
        if ends:
            self._processes.feed(observation.event)

    def tick(self, now_ns: int) -> Iterator[Verdict]:
        """Time has come to ``now_ns``."""
        for detector in self._detectors:
            yield from self._show(detector.tick(now_ns))
        yield from self._shutdowns.tick(now_ns)

    def deadline(self) -> int | None:
        """The earliest of all."""
        deadlines = [d.deadline() for d in (*self._detectors, self._shutdowns)]
        return min((d for d in deadlines if d is not None), default=None)

    def _show(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        for verdict in _without_sandboxes(verdicts):
            self._shutdowns.found(verdict)
            yield verdict


def _without_sandboxes(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """A pod's pause container is killed on every healthy deletion: it makes events and no verdicts."""
    for verdict in verdicts:
        if verdict.workload is None or verdict.workload.kind is not WorkloadKind.SANDBOX:
            yield verdict
