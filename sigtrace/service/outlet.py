"""What is told, to whom and with what hidden: all of it may be changed while the pipeline runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Verdict
from sigtrace.model.redaction import redacted
from sigtrace.model.workload import Observation
from sigtrace.service.server import Server
from sigtrace.sinks.base import Sink


@dataclass(frozen=True, slots=True)
class Way:
    """How verdicts go out."""

    sinks: tuple[Sink, ...]
    chosen: WorkloadFilter
    redact: bool


class Outlet:
    """A :class:`sigtrace.sinks.base.Sink` in front of others.

    It is changed by another thread in one step, so that each event and verdict goes the old way or the new one.
    """

    def __init__(self, sinks: Sequence[Sink], chosen: WorkloadFilter, *, redact: bool) -> None:
        self._way = Way(tuple(sinks), chosen, redact)
        self._changing = threading.Lock()
        self.lost: dict[str, int] = {}
        """so many events could not be told, by cause"""
        self.steps = 0
        """of the pipeline: once there was one after a change, nothing goes the old way any more"""

    def change(self, **fields: Any) -> tuple[Sink, ...]:
        """Of :class:`Way`; returns the sinks there were, for who replaced them to close."""
        with self._changing:  # a reload, and who finds standard output closed
            old = self._way
            self._way = replace(old, **fields)
        return old.sinks

    def observation(self, observation: Observation) -> None:
        """If its target or its sender is meant; losses always are."""
        event, way = observation.event, self._way
        if event.kind is Kind.LOST:
            cause = event.loss.value if event.loss else "unknown"
            self.lost[cause] = self.lost.get(cause, 0) + event.count
        elif not way.chosen.observation(observation):
            return
        if way.redact and any(task and task.argv for task in (event.task, event.sender, event.parent)):
            observation = redacted(observation)
        for sink in way.sinks:
            sink.observation(observation)

    def verdict(self, verdict: Verdict) -> None:
        """If its workload is meant."""
        way = self._way
        if verdict.workload is not None and not way.chosen.verdict(verdict):
            return
        if way.redact and way.sinks:
            verdict = redacted(verdict)
        for sink in way.sinks:
            sink.verdict(verdict)

    def pass_time(self, now_ns: int) -> None:
        """Time has come to ``now_ns`` (CLOCK_BOOTTIME)."""
        self.steps += 1
        for sink in self._way.sinks:
            sink.pass_time(now_ns)

    def take_dropped(self) -> int:
        """Of all behind it."""
        return sum(sink.take_dropped() for sink in self._way.sinks)

    def close(self) -> None:
        """All behind it."""
        for sink in self._way.sinks:
            sink.close()


class Kept:
    """A :class:`sigtrace.sinks.base.Sink`: verdicts go to the service, which keeps them."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def observation(self, observation: Observation) -> None:
        """Not kept."""

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        self._server.offer(verdict)

    def pass_time(self, now_ns: int) -> None:
        """It holds nothing back."""

    def take_dropped(self) -> int:
        """Verdicts that the service was too slow for."""
        return self._server.take_dropped()

    def close(self) -> None:
        """The service is closed by its owner."""
