"""source → attribution → detectors → sinks, in time order.

One thread. The kernel's rings are the queue in front of it, bounded and counted there; behind it each sink that may
block has a bounded queue of its own (sinks.base), whose drops come back as LOST events.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from sigtrace.detectors.base import Detector
from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import Sink
from sigtrace.sources.base import Batch, Source

#: Longer than any detector waits before it tells a verdict that is due.
_PATIENCE_NS: Final = 1_000_000_000


class Attribution(Protocol):
    """What knows whose an event is."""

    def observe(self, event: Event) -> Observation:
        """The event with its workloads."""


class Orderer:
    """Puts the events of several CPUs and rings in time order."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Event]] = []
        self._seq = 0
        self._released_ns = 0
        self.late = 0
        """events that came after a younger one had left; they are passed on as they come"""

    def order(self, batch: Batch) -> Iterator[Event]:
        """The events that nothing older can come before any more."""
        for event in batch.events:
            self._seq += 1
            if event.time_ns < self._released_ns:
                self.late += 1
            heapq.heappush(self._heap, (event.time_ns, self._seq, event))
        while self._heap and self._heap[0][0] <= batch.until_ns:
            time_ns, _, event = heapq.heappop(self._heap)
            self._released_ns = max(self._released_ns, time_ns)
            yield event

    @property
    def oldest_ns(self) -> int | None:
        """The oldest event that is held back."""
        return self._heap[0][0] if self._heap else None


class Pipeline:
    """One source, one attribution, one chain of detectors, any number of sinks."""

    def __init__(self, source: Source, attribution: Attribution, detectors: Detector, sinks: list[Sink]) -> None:
        self._source = source
        self._attribution = attribution
        self._detectors = detectors
        self._sinks = sinks
        self._now_ns = 0
        self._wall_offset_ns = 0
        self.orderer = Orderer()

    def step(self, timeout_s: float) -> None:
        """Wait at most so long for events and take them through; less long if a detector or a held event waits."""
        deadline = self._detectors.deadline()
        held = self.orderer.oldest_ns
        for due in (deadline, held):
            if due is not None:
                # The source's time runs behind the clock by how long it holds events back: look again soon.
                timeout_s = min(timeout_s, max(0.002, (due - self._now_ns) / 1e9))
        self.take(self._source.read(timeout_s))

    def take(self, batch: Batch) -> None:
        """One batch through all stages."""
        for event in self.orderer.order(batch):
            self._wall_offset_ns = event.wall_ns - event.time_ns
            self._one(event)
        self._now_ns = max(self._now_ns, batch.until_ns)
        self._tell(self._detectors.tick(self._now_ns))
        self._account()

    def end(self) -> None:
        """Nothing more comes: what a detector still waits with is told with what is known now."""
        self._tell(self._detectors.tick(self._now_ns + _PATIENCE_NS))
        self._account()

    def _one(self, event: Event) -> None:
        observation = self._attribution.observe(event)
        for sink in self._sinks:
            sink.observation(observation)
        self._tell(self._detectors.feed(observation))

    def _tell(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            for sink in self._sinks:
                sink.verdict(verdict)

    def _account(self) -> None:
        dropped = sum(sink.take_dropped() for sink in self._sinks)
        if dropped:
            now = self._now_ns
            self._one(Event(now, now + self._wall_offset_ns, Kind.LOST, loss=Loss.QUEUE_FULL, count=dropped))
