"""Tells each verdict once, though an agent and its successor on the same pinned rings both come to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sigtrace.model.finding import Finding, Verdict
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import Sink
from sigtrace.sinks.marks import LISTED, Way, key_of

#: What is older than this before the end of what the agent before us had told, it told, if it is kept or not: detectors
#: wait no longer with what they know.
_WAITED_NS: Final = 10_000_000_000
#: The last count of a fold has the time of its last event, and is told when that was quiet for a minute; that of a
#: crash loop after ten.
_QUIET_NS: Final = 120_000_000_000
_LOOP_NS: Final = 660_000_000_000
#: So long after a resume what a listing shows may be what was told.
_LISTED_NS: Final = 120_000_000_000


class Told:
    """What an agent before us did."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._keys: frozenset[str] = frozenset()
        self._marks: Mapping[str, int] = {}
        self._until_ns = 0

    def by(self, verdicts: Iterable[Verdict], until_ns: int, marks: Mapping[str, int] | None = None) -> None:
        """``verdicts``: those that are kept; ``until_ns``: up to here (CLOCK_BOOTTIME) it had told everything.

        ``marks``: which way each went, by its key; what has none went every way. 0: nothing was pinned, so that
        nothing comes twice.
        """
        if until_ns:
            self._keys = frozenset(key_of(self._boot_id, verdict) for verdict in verdicts)
            self._marks = marks or {}
            self._until_ns = until_ns

    def went(self, verdicts: Iterable[Verdict], way: Way) -> None:
        """Now these go this way: what is made of them once more does not."""
        marks = dict(self._marks)
        for verdict in verdicts:
            key = key_of(self._boot_id, verdict)
            if key in marks:
                marks[key] |= way
        self._marks = marks

    def has(self, verdict: Verdict, way: Way = Way.TOLD) -> bool:
        """Whether it went this way."""
        if not self._until_ns:
            return False
        listed = isinstance(verdict, Finding) and verdict.code in LISTED
        if listed and verdict.time_ns > self._until_ns + _LISTED_NS:
            return False
        key = key_of(self._boot_id, verdict)
        went = self._marks.get(key)
        if went is not None:
            return bool(went & way)
        return verdict.time_ns < self._until_ns - _waits_ns(verdict) or key in self._keys


def _waits_ns(verdict: Verdict) -> int:
    """So long after its time it is told at the latest."""
    if not isinstance(verdict, Finding):
        return _WAITED_NS
    if verdict.code == "crash-masked":
        return _LOOP_NS if verdict.closing else _WAITED_NS
    return _QUIET_NS if verdict.closing or verdict.count > 1 else _WAITED_NS


class Once:
    """Sinks behind it get what did not go their way before."""

    def __init__(
        self,
        sinks: Iterable[Sink],
        told: Told,
        way: Way = Way.TOLD,
        on_repeat: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        """``on_repeat``: is given each that is left out."""
        self._sinks = tuple(sinks)
        self._told = told
        self._way = way
        self._on_repeat = on_repeat

    def observation(self, observation: Observation) -> None:
        """Events pass."""
        for sink in self._sinks:
            sink.observation(observation)

    def verdict(self, verdict: Verdict) -> None:
        """If it is new."""
        if self._told.has(verdict, self._way):
            self._on_repeat(verdict)
            return
        for sink in self._sinks:
            sink.verdict(verdict)

    def pass_time(self, now_ns: int) -> None:
        """Time passes."""
        for sink in self._sinks:
            sink.pass_time(now_ns)

    def take_dropped(self) -> int:
        """Of all of them."""
        return sum(sink.take_dropped() for sink in self._sinks)

    def close(self) -> None:
        """In their order."""
        for sink in self._sinks:
            sink.close()
