"""signal-pending: a stop signal that stays in the queue, and why (rule: Pending for ever)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sigtrace.detectors.base import SECOND_NS, ProcessKey, Thresholds, Timers
from sigtrace.detectors.container import Container, kills
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.stop import is_stop_signal
from sigtrace.detectors.words import finding_on, what_of
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Result
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "signal-pending"
_WORDS: Final = {
    "frozen": "its cgroup is frozen",
    "stopped": "it is stopped (SIGSTOP)",
    "traced": "a tracer (a debugger, strace) holds it",
    "blocked": "it blocks the signal, and waits for it nowhere",
}
#: The source lists a container whose stop signal may pend at the latest by then.
_LISTING_NS: Final = 1_500_000_000


def why_pending(event: Event) -> str | None:
    """What keeps the target from taking it; None: nothing."""
    if event.frozen:
        return "frozen"
    if event.stopped:
        return "stopped"
    if event.blocked and not event.waited:
        return "blocked"
    return "traced" if event.ptraced else None


class Pending:
    """A :class:`sigtrace.detectors.base.Detector`: once for each main process and signal."""

    def __init__(self, containers: Containers, timers: Timers, thresholds: Thresholds) -> None:
        self._containers = containers
        self._timers = timers
        self._after_ns = int(thresholds.pending_after_s * SECOND_NS)
        self._open: dict[ProcessKey, dict[int, Observation]] = {}

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if task is None or not observation.main:
            return
        if event.kind is Kind.SIGNAL_GENERATE:
            yield from self._sent(observation, event, task.key)
            return
        waiting = self._open.get(task.key)
        if waiting is None:
            return
        if event.kind is Kind.SIGNAL_DELIVER:
            waiting.pop(event.signo, None)
        elif event.kind is Kind.EXIT:
            waiting.clear()
        elif event.kind is Kind.TASK and event.masks:
            yield from self._listed(observation, waiting)
        if not waiting:
            self._open.pop(task.key, None)

    def _sent(self, observation: Observation, event: Event, main: ProcessKey) -> Iterable[Finding]:
        if kills(event):
            yield from self._killed(observation, self._open.pop(main, {}))
        elif event.outside and is_stop_signal(observation) and self._is_queued(event) and why_pending(event):
            waiting = self._open.setdefault(main, {})
            if event.signo not in waiting:
                waiting[event.signo] = observation
                self._timers.at(event.time_ns + self._after_ns + _LISTING_NS, self, main)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """No listing came: it is inferred from what it was like when it was sent."""
        waiting = self._open.get(token)
        for signo, request in list((waiting or {}).items()):
            if waiting and request.event.time_ns + self._after_ns <= now_ns:
                del waiting[signo]
                container = self._containers.of(request)
                if container and not container.stop.delivered(request):
                    yield self._tell(request, container, Certainty.INFERRED, now_ns)
        if not waiting:
            self._open.pop(token, None)

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """What has not waited long enough is no finding."""
        return ()

    @staticmethod
    def _is_queued(event: Event) -> bool:
        return event.result in (Result.DELIVERED, Result.ALREADY_PENDING)

    def _listed(self, listing: Observation, waiting: dict[int, Observation]) -> Iterable[Finding]:
        masks = listing.event.masks
        for signo, request in list(waiting.items()):
            if masks is None or not masks.pending >> (signo - 1) & 1:
                del waiting[signo]  # taken
            elif listing.event.time_ns - request.event.time_ns >= self._after_ns:
                del waiting[signo]
                if container := self._containers.of(request):
                    yield self._tell(request, container, Certainty.OBSERVED, listing.event.time_ns)

    def _killed(self, kill: Observation, waiting: dict[int, Observation]) -> Iterable[Finding]:
        """It had no more time: what pended until the SIGKILL, pended for ever."""
        container = self._containers.of(kill)
        for request in waiting.values():
            if container is None or container.stop.pends(request) is False:
                continue
            certainty = Certainty.OBSERVED if container.stop.pends(request) else Certainty.INFERRED
            yield self._tell(request, container, certainty, kill.event.time_ns)

    def _tell(self, request: Observation, container: Container, certainty: Certainty, now_ns: int) -> Finding:
        event = request.event
        main = container.main or event.task
        cause = why_pending(event) or "unknown"
        waited_s = (now_ns - event.time_ns) / 1e9
        what = what_of(main) if main else "the main process"
        return finding_on(
            request,
            CODE,
            cause,
            certainty=certainty,
            subject=main,
            time_ns=now_ns,
            wall_ns=event.wall_ns + now_ns - event.time_ns,
            message=f"{signals.name(event.signo)} was still pending after {waited_s:.1f} s: {what} did not take it, "
            f"because {_WORDS.get(cause, 'something kept it from that')}",
            sender_role=role_of(request),
        )
