"""What is known of the signals to one container's main process, and of the OOM killer's marks in its container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sigtrace.detectors.senders import role_of, same_sender
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Masks, Result
from sigtrace.model.finding import SenderRole
from sigtrace.model.workload import Observation

_STOPS_MAX: Final = 16
#: How late after its grace limit a SIGKILL still belongs to a stop.
SLACK_NS: Final = 5_000_000_000
#: mark_victim comes some 40 us after the SIGKILL; this is for a CPU that was away meanwhile.
OOM_NS: Final = 100_000_000
_SYSTEMD_STOP: Final = signals.SIGRTMIN + 3
#: Where no grace limit is known, a request is forgotten after this (the kernel's mark lasts as long).
WINDOW_NS: Final = 600_000_000_000
#: Signals that people also send for something else (a JVM's thread dump): a stop only if the end follows soon.
_ALSO_OTHERWISE: Final = frozenset({signals.SIGINT, signals.SIGQUIT})
_OTHERWISE_NS: Final = 60_000_000_000
#: Who ends its own patience by other processes than the one that asked.
_STOPPERS: Final = frozenset({SenderRole.RUNTIME, SenderRole.KUBELET, SenderRole.SYSTEMD})


def limit_ns(observation: Observation) -> int | None:
    """The configured grace period of its container, if it is known."""
    limit_s = observation.workload.grace_limit_s if observation.workload else None
    return None if limit_s is None else int(limit_s * 1e9)


def is_configured(observation: Observation) -> bool:
    """Whether this signal is the one that the image or the pod declares as its stop signal."""
    return observation.workload is not None and observation.workload.stop_signal == observation.event.signo


def is_stop_signal(observation: Observation) -> bool:
    """Whether it asks the main process to end: SIGHUP only where it is the configured stop signal."""
    wanted = (signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, _SYSTEMD_STOP)
    return is_configured(observation) or observation.event.signo in wanted


def is_sent_otherwise(observation: Observation) -> bool:
    """Whether people also send it for something else than the end."""
    return observation.event.signo in _ALSO_OTHERWISE and not is_configured(observation)


@dataclass(slots=True)
class Stop:
    """Signals to one main process."""

    requests: list[Observation] = field(default_factory=list)
    """stop signals from outside, the latest last"""
    kill: Observation | None = None
    """the SIGKILL that works"""
    oom: Observation | None = None
    """the OOM killer's mark on the main process"""
    deliveries: list[Event] = field(default_factory=list)
    """of signals that it was asked with"""
    last: Observation | None = None
    """the last fatal signal to it that was queued, whoever sent it"""
    masks: Masks | None = None
    masks_at: Event | None = None
    """of its last listing"""

    def request_of_kill(self) -> Observation | None:
        """The stop signal to which the SIGKILL belongs, if it belongs to one.

        Within the grace limit and 5 s; where no limit is known, only if a runtime, or one and the same process, sent
        both (of whom the user said "stop", and whose patience ended).
        """
        kill = self.kill
        if kill is None:
            return None
        limit = limit_ns(kill)
        for request in reversed(self.requests):
            gap = kill.event.time_ns - request.event.time_ns
            if gap < 0:
                continue
            if gap > (WINDOW_NS if limit is None else limit + SLACK_NS):
                break
            if limit is not None or same_sender(request.event, kill.event):
                return request
            if role_of(request) is role_of(kill) and role_of(kill) in _STOPPERS:
                return request
        return None

    def request(self, exited_ns: int) -> Observation | None:
        """The stop signal that counts: the SIGKILL's own, else the latest that is not too old to be the reason."""
        if self.kill or not self.requests:
            return self.request_of_kill()
        latest = self.requests[-1]
        limit = limit_ns(latest)
        window_ns = WINDOW_NS if limit is None else limit + SLACK_NS
        if is_sent_otherwise(latest):
            window_ns = min(window_ns, _OTHERWISE_NS)
        return latest if exited_ns - latest.event.time_ns <= window_ns else None

    def ask(self, request: Observation) -> None:
        """Somebody outside asks the main process to end."""
        self.requests.append(request)
        if len(self.requests) > _STOPS_MAX:
            del self.requests[1]

    def deliver(self, event: Event) -> None:
        """One of these signals arrived."""
        asked = {request.event.signo for request in self.requests}
        if event.signo in asked and len(self.deliveries) < _STOPS_MAX:
            self.deliveries.append(event)

    def delivered(self, request: Observation) -> bool:
        """Whether it arrived at a handler, or was taken by sigwait or from a signalfd.

        Taken: it was queued, nothing was delivered, and it does not pend any more.
        """
        event = request.event
        arrived = [d for d in self.deliveries if d.signo == event.signo and d.time_ns >= event.time_ns]
        if arrived:  # at an init without a handler it is dropped even then
            return any(not (d.ns_init and d.disposition is Disposition.DEFAULT) for d in arrived)
        if event.result not in (Result.DELIVERED, Result.ALREADY_PENDING):
            return False
        return event.waited or self.pends(request) is False

    def pends(self, request: Observation) -> bool | None:
        """Whether it is still in the queue, by the last listing; None if there was none since."""
        at = self.masks_at
        if self.masks is None or at is None or at.time_ns < request.event.time_ns:
            return None
        return bool(self.masks.pending >> (request.event.signo - 1) & 1)
