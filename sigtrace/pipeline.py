"""source → attribution → detectors → sinks, in time order.

One thread. The kernel's rings are the queue in front of it, bounded and counted there; behind it each sink that may
block has a bounded queue of its own (sinks.base), whose drops come back as LOST events.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import Sink
from sigtrace.sources.base import Batch, Source


class Attribution(Protocol):
    """What knows whose an event is."""

    def observe(self, event: Event) -> Observation:
        """The event with its workloads."""

    def is_early(self, event: Event, now_ns: int) -> bool:
        """Whether it should wait a moment, and all that is younger with it: more will be known of it."""


class Orderer:
    """Puts the events of several CPUs and rings in time order."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Event]] = []
        self._seq = 0
        self.released_ns = 0
        """the time of the youngest that has left"""
        self.late = 0
        """events that came after a younger one had left; they are passed on as they come"""

    def hold(self, event: Event) -> None:
        """One more, which leaves when it is its turn."""
        self._seq += 1
        if event.time_ns < self.released_ns:
            self.late += 1
        heapq.heappush(self._heap, (event.time_ns, self._seq, event))

    def order(self, batch: Batch) -> Iterator[Event]:
        """The events that nothing older can come before any more."""
        for event in batch.events:
            self.hold(event)
        while self._heap and self._heap[0][0] <= batch.until_ns:
            time_ns, _, event = heapq.heappop(self._heap)
            self.released_ns = max(self.released_ns, time_ns)
            yield event

    @property
    def oldest_ns(self) -> int | None:
        """The oldest event that is held back."""
        return self._heap[0][0] if self._heap else None


class Detectors(Protocol):
    """The rule book: observations in time order go in, verdicts come out."""

    def feed(self, observation: Observation) -> Iterable[Verdict]:
        """Take in one observation."""

    def tick(self, now_ns: int) -> Iterable[Verdict]:
        """Time has come to ``now_ns`` (CLOCK_BOOTTIME)."""

    def deadline(self) -> int | None:
        """When the next tick is wanted; None: nobody waits."""

    def end(self, now_ns: int, *, handed_over: bool = False) -> Iterable[Verdict]:
        """Nothing more comes; ``handed_over``: here, for somebody else goes on with the same events."""


class Recorder(Protocol):
    """Keeps what the pipeline did, so that a replay can do it again."""

    def observation(self, observation: Observation) -> None:
        """This was fed."""

    def advance(self, now_ns: int) -> None:
        """Time came to ``now_ns``, and a deadline was due."""


class Pipeline:
    """One chain of detectors, any number of sinks. What it tells depends on what it is given, never on a clock."""

    def __init__(self, detectors: Detectors, sinks: list[Sink], recorder: Recorder | None = None) -> None:
        self._detectors = detectors
        self._sinks = sinks
        self._recorder = recorder
        self.now_ns = 0
        """how far time has come (CLOCK_BOOTTIME)"""

    def feed(self, observation: Observation) -> None:
        """One observation, after what was due before it."""
        if self._recorder:
            self._recorder.observation(observation)
        self._tick(observation.event.time_ns)
        for sink in self._sinks:
            sink.observation(observation)
        self._tell(self._detectors.feed(observation))

    def advance(self, now_ns: int) -> None:
        """Time has come to ``now_ns``: everything that is older has been fed."""
        due = self._detectors.deadline()
        if due is not None and due <= now_ns and self._recorder:
            self._recorder.advance(now_ns)
        self._tick(now_ns)
        for sink in self._sinks:
            sink.pass_time(self.now_ns)

    def end(self, *, handed_over: bool = False) -> None:
        """Nothing more comes: what a detector still waits with is told with what is known now.

        ``handed_over``: but for stories that are not over, which a successor will make of the same events.
        """
        if self._recorder:
            self._recorder.advance(self.now_ns)
        self._tell(self._detectors.end(self.now_ns, handed_over=handed_over))

    def wanted(self) -> int | None:
        """When a detector wants to be asked next (CLOCK_BOOTTIME ns)."""
        return self._detectors.deadline()

    def _tick(self, now_ns: int) -> None:
        """Each deadline at its own time, whenever we come to look: so a replay gives the same."""
        while (due := self._detectors.deadline()) is not None and due <= now_ns:
            self._tell(self._detectors.tick(due))
        self.now_ns = max(self.now_ns, now_ns)

    def _tell(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            for sink in self._sinks:
                sink.verdict(verdict)


class Feed:
    """What a source gives, attributed and in order, into a pipeline."""

    def __init__(self, source: Source, attribution: Attribution, pipeline: Pipeline, sinks: list[Sink]) -> None:
        """``sinks``: whose drops are to be told as LOST."""
        self._source = source
        self._attribution = attribution
        self._pipeline = pipeline
        self._sinks = sinks
        self._wall_offset_ns = 0
        self._early: deque[Event] = deque()
        """in time order, behind one that waits for a name"""
        self.orderer = Orderer()
        self.overflows: list[Callable[[], int]] = []
        """asked after each step how much found no room in some table since the last one"""

    def step(self, timeout_s: float) -> None:
        """Wait at most so long for events and take them through; less long if a detector or a held event waits."""
        early = self._early[0].time_ns if self._early else None
        for due in (self._pipeline.wanted(), self.orderer.oldest_ns, early):
            if due is not None:
                # The source's time runs behind the clock by how long it holds events back: look again soon.
                timeout_s = min(timeout_s, max(0.002, (due - self._pipeline.now_ns) / 1e9))
        self.take(self._source.read(timeout_s))

    def take(self, batch: Batch) -> None:
        """One batch through all stages."""
        self._early += self.orderer.order(batch)
        while self._early and not self._attribution.is_early(self._early[0], batch.until_ns):
            self._feed(self._early.popleft())
        if not self._early:
            self._pipeline.advance(batch.until_ns)
        self._account()

    def _feed(self, event: Event) -> None:
        self._wall_offset_ns = event.wall_ns - event.time_ns
        self._pipeline.feed(self._attribution.observe(event))

    def end(self, *, handed_over: bool = False) -> None:
        """Nothing more comes; what sinks have dropped is told before the last verdicts."""
        while self._early:
            self._feed(self._early.popleft())
        self._account()
        self._pipeline.end(handed_over=handed_over)

    def _account(self) -> None:
        self._lose(Loss.QUEUE_FULL, sum(sink.take_dropped() for sink in self._sinks))
        self._lose(Loss.TABLE_FULL, sum(overflow() for overflow in self.overflows))

    def _lose(self, loss: Loss, count: int) -> None:
        if count:
            now = self._pipeline.now_ns
            self._pipeline.feed(Observation(Event(now, now + self._wall_offset_ns, Kind.LOST, loss=loss, count=count)))
