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
#: A signal that people also send for something else is a stop only if the end follows this soon.
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
    """Whether it asks the main process to end.

    SIGHUP and others only where they are declared; or where nobody told what is declared, and a runtime sent them.
    """
    signo, workload = observation.event.signo, observation.workload
    if is_configured(observation) or signo in (signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, _SYSTEMD_STOP):
        return True
    untold = workload is not None and not workload.asked and signals.is_fatal(signo) and signo != signals.SIGKILL
    return untold and role_of(observation) in _STOPPERS


def is_sent_otherwise(observation: Observation) -> bool:
    """Whether people also send it for something else than the end: a thread dump, a reload."""
    return observation.event.signo not in (signals.SIGTERM, _SYSTEMD_STOP) and not is_configured(observation)


def _window_ns(request: Observation) -> int:
    """How long it may be the reason of an end.

    Who stops containers ends his patience himself, and may have been told to have more than is configured
    (`docker stop -t`, `kubectl delete --grace-period`): while no SIGKILL has come the stop goes on.
    """
    limit = limit_ns(request)
    window_ns = WINDOW_NS if limit is None or role_of(request) in _STOPPERS else limit + SLACK_NS
    return min(window_ns, _OTHERWISE_NS) if is_sent_otherwise(request) else window_ns


def _may_be_why(request: Observation, exited_ns: int) -> bool:
    """Whether it may be the reason of an end at that time."""
    return 0 <= exited_ns - request.event.time_ns <= _window_ns(request)


def are_unseen(request: Observation, kill: Observation) -> bool:
    """Whether both came from where the source sees nobody (ptrace): then nothing speaks against one sender."""
    return request.event.sender is None and kill.event.sender is None and request.event.outside


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

        Within the grace limit and 5 s; later only if a runtime sent both, for it may have been told to have more
        patience than is configured. Where no limit is known, only if a runtime, or one and the same process, sent both
        (of whom the user said "stop"). Of several: the one of whoever stops containers, and the one after which the
        time was just up.
        """
        kill = self.kill
        if kill is None:
            return None
        limit = limit_ns(kill)
        found = []
        for number, request in enumerate(self.requests):
            gap = kill.event.time_ns - request.event.time_ns
            role = role_of(request)
            runtimes = role is role_of(kill) and role in _STOPPERS
            same = runtimes or same_sender(request.event, kill.event)
            if not 0 <= gap <= (WINDOW_NS if runtimes or limit is None else limit + SLACK_NS):
                continue
            same = same or are_unseen(request, kill)
            if limit is None and not same:
                continue
            fits = -abs(gap - limit) if limit is not None else number
            found.append((same or is_configured(request), fits, number, request))
        return max(found, key=lambda f: f[:3])[3] if found else None

    def request(self, exited_ns: int) -> Observation | None:
        """The stop signal that counts: the SIGKILL's own, else the latest that was heard and is not too old."""
        if self.kill or not self.requests:
            return self.request_of_kill()
        valid = [r for r in self.requests if _may_be_why(r, exited_ns)]
        heard = [r for r in valid if self.delivered(r) or r.event.disposition is Disposition.HANDLER]
        found = heard or valid
        return found[-1] if found else None

    def asked(self, now_ns: int) -> bool:
        """Whether there is a stop signal that is not too old."""
        return any(_may_be_why(request, now_ns) for request in reversed(self.requests))

    def before(self, kill: Observation) -> Observation | None:
        """A stop signal that came before the SIGKILL, whoever sent it, if not long before."""
        latest = self.requests[-1] if self.requests else None
        return latest if latest and 0 <= kill.event.time_ns - latest.event.time_ns <= WINDOW_NS else None

    def ask(self, request: Observation) -> None:
        """Somebody outside asks the main process to end."""
        self.requests.append(request)
        if len(self.requests) > _STOPS_MAX:
            del self.requests[1]

    def asks(self, signo: int) -> bool:
        """Whether it was asked with this signal."""
        return any(request.event.signo == signo for request in self.requests)

    def deliver(self, event: Event) -> None:
        """One of these signals arrived."""
        if self.asks(event.signo) and len(self.deliveries) < _STOPS_MAX:
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
