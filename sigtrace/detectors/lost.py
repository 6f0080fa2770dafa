"""events-lost: what the kernel or a queue could not tell: when it begins, at ten times the count, at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sigtrace.detectors.base import Timers
from sigtrace.model import codes
from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "events-lost"
_QUIET_NS: Final = 60_000_000_000


@dataclass(slots=True)
class _Open:
    first: Event
    last_ns: int
    count: int
    told: int = 0


class Lost:
    """A :class:`sigtrace.detectors.base.Detector`."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: dict[Loss, _Open] = {}

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event = observation.event
        if event.kind is not Kind.LOST or event.loss is None:
            return
        case = self._open.get(event.loss)
        if case is None:
            case = self._open[event.loss] = _Open(event, event.time_ns, 0)
            self._timers.at(event.time_ns + _QUIET_NS, self, event.loss)
        case.count += event.count
        case.last_ns = event.time_ns
        if case.count >= 10 * case.told:
            yield self._tell(case, event.time_ns)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """It may have ended."""
        case = self._open.get(token)
        if case is None:
            return
        if case.last_ns + _QUIET_NS > now_ns:
            self._timers.at(case.last_ns + _QUIET_NS, self, token)
            return
        del self._open[token]
        if case.count > case.told:
            yield self._tell(case, now_ns)

    def end(self, now_ns: int) -> Iterable[Finding]:
        """The last counts."""
        for case in self._open.values():
            if case.count > case.told:
                yield self._tell(case, now_ns)

    def _tell(self, case: _Open, now_ns: int) -> Finding:
        case.told = case.count
        loss = case.first.loss or Loss.KERNEL_MISSED
        return Finding(
            code=CODE,
            cause=loss.value,
            severity=codes.severity(CODE, loss.value),
            certainty=Certainty.OBSERVED,
            time_ns=now_ns,
            wall_ns=case.first.wall_ns + now_ns - case.first.time_ns,
            workload=None,
            subject=None,
            message=f"{case.count:,} events were not told: {codes.meaning(CODE, loss.value)}",
            advice=codes.advice(CODE, loss.value),
            count=case.count,
            first_wall_ns=case.first.wall_ns,
            first_ns=case.first.time_ns,
            window_s=(case.last_ns - case.first.time_ns) / 1e9,
        )
