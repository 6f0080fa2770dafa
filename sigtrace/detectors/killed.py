"""killed: why a container's main process got SIGKILL (kernel-signals: Cause of a SIGKILL)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sigtrace.detectors.dropped import is_drop, name_of
from sigtrace.detectors.processes import Processes, ProcessKey
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.stops import OOM_NS, Stops
from sigtrace.model import codes, signals
from sigtrace.model.event import Disposition, Info, Kind, Result, Task
from sigtrace.model.finding import Certainty, Finding, Mechanism, SenderRole
from sigtrace.model.workload import Observation

CODE: Final = "killed"


class Killed:
    """A :class:`sigtrace.detectors.base.Detector`: once for each main process."""

    def __init__(self, processes: Processes, stops: Stops) -> None:
        self._processes = processes
        self._stops = stops
        self._waiting: dict[ProcessKey, Observation] = {}

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation. The kernel's own SIGKILL waits for the OOM killer's mark."""
        event = observation.event
        task = event.task
        if task is None:
            return
        if event.kind is Kind.SIGNAL_GENERATE and self._stops.get(task.key).kill is observation:
            if event.info is Info.PRIV:
                self._waiting[task.key] = observation
            else:
                yield self._tell(observation)
        elif event.kind is Kind.OOM_KILL:
            for key in [k for k in self._waiting if self._stops.get(k).oom is event]:
                yield self._tell(self._waiting.pop(key))
        elif event.kind is Kind.EXIT and task.key in self._waiting:
            yield self._tell(self._waiting.pop(task.key))  # no mark comes after the exit

    def tick(self, now_ns: int) -> Iterable[Finding]:
        """Tell of the kernel's SIGKILL that no mark followed."""
        for key, kill in list(self._waiting.items()):
            if kill.event.time_ns + OOM_NS <= now_ns:
                del self._waiting[key]
                yield self._tell(kill)

    def deadline(self) -> int | None:
        """The first SIGKILL that waits for a mark."""
        return min((k.event.time_ns + OOM_NS for k in self._waiting.values()), default=None)

    def _tell(self, kill: Observation) -> Finding:
        event = kill.event
        main = self._processes.known(event.task) if event.task else Task(0, 0)
        stop = self._stops.get(main.key)
        request = stop.request_of_kill()
        role = role_of(kill)
        if stop.oom:
            cause, certainty = "oom", Certainty.OBSERVED
            message = "the OOM killer chose the main process"
        elif request:
            cause, certainty = "grace-expired", Certainty.OBSERVED
            grace_s = (event.time_ns - request.event.time_ns) / 1e9
            message = (
                f"{_who(kill)} sent SIGKILL {grace_s:.1f} s after {signals.name(request.event.signo)}, "
                f"which {_fate(request, stop.deliveries != [])}"
            )
        elif role in (SenderRole.RUNTIME, SenderRole.KUBELET):
            cause, certainty = "no-stop-signal", Certainty.HEURISTIC
            message = f"{_who(kill)} sent SIGKILL; no stop signal was seen before it"
        elif role is SenderRole.SHELL:
            cause, certainty = "manual", Certainty.HEURISTIC
            message = f"{_who(kill)} sent SIGKILL; not the OOM killer"
        else:
            cause, certainty = codes.UNKNOWN, Certainty.INFERRED
            message = f"{_who(kill)} sent SIGKILL; not the OOM killer"
        mechanism = Mechanism.OOM if stop.oom else Mechanism.KILL
        if event.info is Info.NOINFO and not event.group:
            mechanism = Mechanism.CGROUP_KILL
        return Finding(
            code=CODE,
            cause=cause,
            severity=codes.severity(CODE, cause),
            certainty=certainty,
            time_ns=event.time_ns,
            wall_ns=event.wall_ns,
            workload=kill.workload,
            subject=main,
            signo=signals.SIGKILL,
            first_wall_ns=event.wall_ns,
            message=message,
            advice=codes.advice(CODE, cause),
            evidence=tuple(o.event for o in (request, kill) if o),
            mechanism=mechanism,
            sender_role=role,
        )


def _who(kill: Observation) -> str:
    sender = kill.event.sender
    return name_of(sender) if sender else "the kernel" if kill.event.info is Info.PRIV else "an unknown sender"


def _fate(request: Observation, delivered: bool) -> str:
    """What became of the stop signal, in words that end a sentence."""
    event = request.event
    if is_drop(event):
        return "the kernel had dropped"
    if event.disposition is Disposition.IGNORE:
        return "the process ignores"
    if event.disposition is Disposition.HANDLER or event.waited:
        if event.result is Result.DELIVERED and (delivered or event.waited):
            return "the process got and did not finish in time"
        return "its handler never got" if event.blocked else "it had a handler for"
    return "stayed pending" if event.blocked else "did not end it"
