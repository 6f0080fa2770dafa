"""signal-not-forwarded, main-kept-waiting: SIGKILL ended the wait for children that never heard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sigtrace.detectors.container import kills
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.forwarding import kept_waiting, left_untold
from sigtrace.detectors.judge import why_unanswered
from sigtrace.detectors.shell import is_shell_form, script_of
from sigtrace.model import signals
from sigtrace.model.event import Event, Info, Kind
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation


class KeptWaiting:
    """A :class:`sigtrace.detectors.base.Detector`. Decides at SIGKILL; where nobody was listed by then, at the exit."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        if not observation.main or not (kills(observation.event) or _was_killed(observation.event)):
            return
        container = self._containers.of(observation)
        if container is None or container.main is None or container.exit or container.kept_waiting is not None:
            return
        kill, request = container.stop.kill, container.stop.request_of_kill()
        if kill is None or request is None or container.listed_ns < request.event.time_ns:
            return
        if kill.event.info is Info.PRIV:
            return  # the OOM killer's: nobody's patience was over
        others = left_untold(container, request) if container.stop.delivered(request) else []
        container.kept_waiting = bool(others)
        if why_unanswered(container, request) != "not-forwarded":
            return
        is_shell = is_shell_form(container.main.argv or ()) or script_of(container.main.argv or ()) is not None
        certainty = Certainty.OBSERVED if is_shell else Certainty.INFERRED
        yield kept_waiting(kill, container.main, request, others, certainty)

    def due(self, _token: Any, _now_ns: int) -> Iterable[Finding]:
        """It sets no timer."""
        return ()

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """It waits for nothing."""
        return ()


def _was_killed(event: Event) -> bool:
    return event.kind is Kind.EXIT and event.wait_status is not None and event.wait_status.signal == signals.SIGKILL
