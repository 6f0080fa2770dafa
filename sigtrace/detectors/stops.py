"""What is known of each container's main process on its way out. Shared by the detectors of kills and shutdowns."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from sigtrace.detectors.processes import ProcessKey
from sigtrace.detectors.senders import role_of, same_sender
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Result, Task
from sigtrace.model.finding import SenderRole
from sigtrace.model.workload import Observation

_MAX: Final = 10_000
_STOPS_MAX: Final = 16
#: How late after its grace limit a SIGKILL still belongs to a stop.
_SLACK_NS: Final = 5_000_000_000
#: mark_victim comes some 40 us after the SIGKILL; this is for a CPU that was away meanwhile.
OOM_NS: Final = 100_000_000
_SYSTEMD_STOP: Final = signals.SIGRTMIN + 3
#: Where no grace limit is known, a request is forgotten after this (the kernel's mark lasts as long).
_WINDOW_NS: Final = 600_000_000_000
#: Signals that people also send for something else (a JVM's thread dump): a stop only if the end follows soon.
_ALSO_OTHERWISE: Final = frozenset({signals.SIGINT, signals.SIGQUIT})
_OTHERWISE_NS: Final = 60_000_000_000


@dataclass(slots=True)
class Stop:
    """Signals to one main process, and the OOM killer's mark."""

    requests: list[Observation] = field(default_factory=list)
    """stop signals from outside, the latest last"""
    kill: Observation | None = None
    oom: Event | None = None
    deliveries: list[Event] = field(default_factory=list)
    pidns: int = 0
    """the namespace whose init it is, once it was asked to stop"""

    def request_of_kill(self) -> Observation | None:
        """The stop signal to which the SIGKILL belongs, if it belongs to one.

        Within the grace limit and 5 s; where no limit is known, only if a runtime, or one and the same process, sent
        both (of whom the user said "stop", and whose patience ended).
        """
        kill = self.kill
        if kill is None:
            return None
        limit_s = kill.workload.grace_limit_s if kill.workload else None
        for request in reversed(self.requests):
            gap = kill.event.time_ns - request.event.time_ns
            if gap < 0:
                continue
            if gap > (_WINDOW_NS if limit_s is None else limit_s * 1e9 + _SLACK_NS):
                break
            if limit_s is not None:
                return request
            if same_sender(request.event, kill.event) or (role_of(request) is role_of(kill) is SenderRole.RUNTIME):
                return request
        return None

    def request(self, exited_ns: int) -> Observation | None:
        """The stop signal that counts: the SIGKILL's own, else the latest that is not too old to be the reason."""
        if self.kill or not self.requests:
            return self.request_of_kill()
        latest = self.requests[-1]
        limit_s = latest.workload.grace_limit_s if latest.workload else None
        window_ns = _WINDOW_NS if limit_s is None else limit_s * 1e9 + _SLACK_NS
        if latest.event.signo in _ALSO_OTHERWISE and not _is_configured(latest):
            window_ns = min(window_ns, _OTHERWISE_NS)
        return latest if exited_ns - latest.event.time_ns <= window_ns else None


def is_stop_signal(observation: Observation) -> bool:
    """Whether somebody outside asks the main process to end: SIGHUP only where it is the configured stop signal."""
    wanted = (signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, _SYSTEMD_STOP)
    return _is_configured(observation) or observation.event.signo in wanted


def _is_configured(observation: Observation) -> bool:
    return observation.workload is not None and observation.workload.stop_signal == observation.event.signo


class Stops:
    """By main process."""

    def __init__(self) -> None:
        self._stops: OrderedDict[ProcessKey, Stop] = OrderedDict()
        self._inits: dict[int, ProcessKey] = {}
        """PID namespaces whose init was asked to stop"""

    def feed(self, observation: Observation) -> None:
        """Take in a signal to, or the OOM killer's mark on, a container's init."""
        event = observation.event
        task = event.task
        if task is None:
            return
        if event.kind is Kind.OOM_KILL:
            self._mark(event, task)
            return
        if not event.container_init:
            return
        if event.kind is Kind.SIGNAL_DELIVER and task.key in self._stops:
            stop = self._stops[task.key]
            asked = {request.event.signo for request in stop.requests}
            if event.signo in asked and len(stop.deliveries) < _STOPS_MAX:
                stop.deliveries.append(event)
        elif event.kind is Kind.SIGNAL_GENERATE and not event.teardown and not event.leaving:
            if event.signo == signals.SIGKILL:
                # One that works came from outside or from the kernel: from inside it is ignored.
                works = event.result in (Result.DELIVERED, Result.ALREADY_PENDING)
                if works and self._of(task.key).kill is None:
                    self._of(task.key).kill = observation
            elif event.outside and is_stop_signal(observation) and not event.exiting:
                self._request(task, observation)

    def _mark(self, mark: Event, victim: Task) -> None:
        """The OOM killer's mark belongs to the SIGKILL that went to the same thread just before.

        On older kernels (6.1 and before) the tracepoint gives nothing but that thread's pid.
        """
        for stop in reversed(self._stops.values()):
            kill = stop.kill
            if kill is None or kill.event.task is None or not 0 <= mark.time_ns - kill.event.time_ns <= OOM_NS:
                continue
            if (victim.key if victim.pid else victim.tid) in (kill.event.task.key, kill.event.task.tid):
                stop.oom = mark
                return

    def _request(self, task: Task, observation: Observation) -> None:
        self._inits[task.pidns] = task.key
        stop = self._of(task.key)
        stop.pidns = task.pidns
        requests = stop.requests
        requests.append(observation)
        if len(requests) > _STOPS_MAX:
            del requests[1]

    def _of(self, key: ProcessKey) -> Stop:
        stop = self._stops.get(key)
        if stop is None:
            stop = self._stops[key] = Stop()
            if len(self._stops) > _MAX:
                self._forget(*self._stops.popitem(last=False))
        return stop

    def _forget(self, key: ProcessKey, stop: Stop) -> None:
        if self._inits.get(stop.pidns) == key:
            del self._inits[stop.pidns]

    def get(self, key: ProcessKey) -> Stop:
        """What is known; empty if nothing is."""
        return self._stops.get(key) or Stop()

    def forget(self, key: ProcessKey) -> None:
        """The story is told."""
        if stop := self._stops.pop(key, None):
            self._forget(key, stop)

    def stopping(self, pidns: int, now_ns: int) -> Stop | None:
        """Of the namespace whose init was asked to stop not too long ago and has not gone yet."""
        key = self._inits.get(pidns)
        stop = self._stops.get(key) if key else None
        return stop if stop and (stop.kill or stop.request(now_ns)) else None
