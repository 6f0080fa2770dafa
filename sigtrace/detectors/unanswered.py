"""stop-unanswered: a stop signal that nothing followed, neither an exit nor a SIGKILL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sigtrace.detectors.base import SECOND_NS, ProcessKey, Thresholds, Timers
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.judge import why_unanswered
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.stop import SLACK_NS, WINDOW_NS, is_sent_otherwise, is_stop_signal, limit_ns
from sigtrace.detectors.words import finding_on, what_of
from sigtrace.model import codes, signals
from sigtrace.model.event import Event, Kind
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "stop-unanswered"
#: It may be at work still: with no limit known, patience is all that can be had.
_MAY_WORK: Final = ("slow", "not-forwarded", codes.UNKNOWN)
_MAX: Final = 10_000
_DUMPS: Final = (signals.SIGINT, signals.SIGQUIT)


class Unanswered:
    """A :class:`sigtrace.detectors.base.Detector`: once for each main process."""

    def __init__(self, containers: Containers, timers: Timers, thresholds: Thresholds) -> None:
        self._containers = containers
        self._timers = timers
        self._after_ns = int(thresholds.unanswered_after_s * SECOND_NS)
        self._waiting: dict[ProcessKey, Observation] = {}

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if task is None or not observation.main:
            return ()
        if event.kind is Kind.EXIT:
            self._waiting.pop(task.key, None)
        elif task.key not in self._waiting and self._asks(observation, event) and len(self._waiting) < _MAX:
            self._waiting[task.key] = observation
            limit = limit_ns(observation)
            wait_ns = self._after_ns if limit is None else limit + SLACK_NS
            self._timers.at(event.time_ns + wait_ns, self, task.key)
        return ()

    @staticmethod
    def _asks(observation: Observation, event: Event) -> bool:
        return event.kind is Kind.SIGNAL_GENERATE and event.outside and is_stop_signal(observation)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """Time is up. Told once: the process stays in the table until it exits."""
        request = self._waiting.get(token)
        container = self._containers.of(request) if request else None
        if request is None or container is None or container.exit or container.stop.kill:
            return
        if container.main is None or container.main.key != token:
            return
        cause = why_unanswered(container, request)
        waited_ns = now_ns - request.event.time_ns
        if is_sent_otherwise(request) and (cause in _MAY_WORK or request.event.signo not in _DUMPS):
            return  # a thread dump was asked for, and made; or a reload
        if cause in _MAY_WORK and limit_ns(request) is None and waited_ns < WINDOW_NS:
            self._timers.at(request.event.time_ns + WINDOW_NS, self, token)
            return
        event = request.event
        yield finding_on(
            request,
            CODE,
            cause,
            certainty=Certainty.INFERRED if cause in _MAY_WORK else Certainty.OBSERVED,
            subject=container.main,
            time_ns=now_ns,
            wall_ns=event.wall_ns + waited_ns,
            message=f"{what_of(container.main)} got {signals.name(event.signo)} {waited_ns / 1e9:.1f} s ago and is "
            f"still there; nothing followed",
            sender_role=role_of(request),
        )

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """What has not waited long enough is no finding."""
        return ()
