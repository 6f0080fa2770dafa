"""The shutdown record: how a container's main process ended, told once (interface: outcomes, the first that fits)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sigtrace.detectors.dropped import is_drop
from sigtrace.detectors.processes import Processes, ProcessKey
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.stops import Stop, Stops
from sigtrace.model import codes, signals
from sigtrace.model.event import Disposition, Event, Kind, Task
from sigtrace.model.finding import EVIDENCE_MAX, Ended, Finding, ProcessEnd, Shutdown, Verdict
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation

#: The kernel kills the rest of the namespace after the exit of its init; longer than this nobody waits for them.
_TEARDOWN_NS: Final = 200_000_000


#: Main processes whose exit never comes (a lost event) leave no more than this behind.
_MAX: Final = 10_000


#: Processes in one story, at most.
_ENDS_MAX: Final = 128


def _bound(table: OrderedDict[Any, Any]) -> None:
    if len(table) > _MAX:
        table.popitem(last=False)


@dataclass(slots=True)
class _Ending:
    """A container whose main process has exited, while the rest of its namespace is torn down."""

    exit: Observation
    main: Task
    stop: Stop
    due_ns: int
    left: dict[ProcessKey, Task]
    ends: list[ProcessEnd] = field(default_factory=list)
    torn_down: set[ProcessKey] = field(default_factory=set)


class Shutdowns:
    """A :class:`sigtrace.detectors.base.Detector`, the last in line: it is shown what the others found."""

    def __init__(self, processes: Processes, stops: Stops) -> None:
        self._processes = processes
        self._stops = stops
        self._endings: dict[int, _Ending] = {}
        self._signalled: OrderedDict[ProcessKey, Event] = OrderedDict()
        self._codes: OrderedDict[ProcessKey, list[str]] = OrderedDict()
        self._gone: OrderedDict[int, list[ProcessEnd]] = OrderedDict()

    def found(self, verdict: Verdict) -> None:
        """Another detector's finding: those about a main process belong to its story."""
        if isinstance(verdict, Finding) and verdict.subject:
            found = self._codes.setdefault(verdict.subject.key, [])
            if verdict.code not in found:
                found.append(verdict.code)
            _bound(self._codes)

    def feed(self, observation: Observation) -> Iterable[Shutdown]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if task is None or not task.pidns:
            return
        ending = self._endings.get(task.pidns)
        if ending and event.ns_init and task.key != ending.main.key:
            # A new namespace with the inode number of the old one, which is therefore gone.
            yield self._tell(self._endings.pop(task.pidns))
            ending = None
        if event.kind is Kind.SIGNAL_GENERATE:
            if ending and event.teardown:
                ending.torn_down.add(task.key)
            elif not event.ns_init and self._stops.stopping(task.pidns, event.time_ns):
                self._signalled.setdefault(task.key, event)
                _bound(self._signalled)
        elif event.kind is not Kind.EXIT or event.wait_status is None:
            return
        elif event.container_init:
            yield from self._began(observation, task)
        elif ending:
            ending.left.pop(task.key, None)
            ending.ends.append(self._end_of(event, task, torn_down=task.key in ending.torn_down))
            if not ending.left:
                yield self._tell(self._endings.pop(task.pidns))
        elif self._stops.stopping(task.pidns, event.time_ns):
            gone = self._gone.setdefault(task.pidns, [])
            if len(gone) < _ENDS_MAX:
                gone.append(self._end_of(event, task, torn_down=False))
            _bound(self._gone)

    def tick(self, now_ns: int) -> Iterable[Shutdown]:
        """Tell those whose teardown takes too long."""
        for pidns, ending in list(self._endings.items()):
            if ending.due_ns <= now_ns:
                del self._endings[pidns]
                yield self._tell(ending)

    def deadline(self) -> int | None:
        """The first story that waits for its teardown."""
        return min((e.due_ns for e in self._endings.values()), default=None)

    def _began(self, observation: Observation, task: Task) -> Iterable[Shutdown]:
        workload = observation.workload
        if workload is None or not workload.is_container:
            self._forget(task)
            return
        main = self._processes.known(task)
        left = {t.key: t for t in self._processes.others(main)}
        ending = _Ending(observation, main, self._stops.get(main.key), observation.event.time_ns + _TEARDOWN_NS, left)
        ending.ends = self._gone.pop(task.pidns, [])
        if left:
            self._endings[task.pidns] = ending
        else:
            yield self._tell(ending)

    def _end_of(self, event: Event, task: Task, *, torn_down: bool) -> ProcessEnd:
        signalled = self._signalled.pop(task.key, None)
        status = event.wait_status or WaitStatus(0)
        if torn_down:
            ended = Ended.TORN_DOWN
        elif status.signal == signals.SIGKILL:
            ended = Ended.KILLED
        elif signalled and status.signal == signalled.signo:
            ended = Ended.HANDLED if signalled.disposition is Disposition.HANDLER else Ended.DEFAULT
        elif status.signal:
            ended = Ended.CRASHED
        else:
            ended = Ended.HANDLED if signalled else Ended.EXITED
        return ProcessEnd(self._processes.known(task), signalled.wall_ns if signalled else None, event.wall_ns, ended)

    def _tell(self, ending: _Ending) -> Shutdown:
        event, main, stop = ending.exit.event, ending.main, ending.stop
        status = event.wait_status or WaitStatus(0)
        request = stop.request(event.time_ns)
        outcome, cause = judge(stop, status, event.time_ns)
        began = request or stop.kill
        until = stop.kill.event.time_ns if stop.kill else event.time_ns
        asker = request or stop.kill
        own = ProcessEnd(main, request.event.wall_ns if request else None, event.wall_ns, _ended(outcome, request))
        ends = [own, *ending.ends, *(ProcessEnd(t) for t in ending.left.values())]
        events = [o.event for o in (request, stop.kill) if o]
        codes_found = tuple(self._codes.get(main.key, ()))
        self._forget(main)
        workload = ending.exit.workload
        if workload is None:
            raise AssertionError("an ending is made of containers alone")
        return Shutdown(
            outcome=outcome,
            cause=cause,
            time_ns=event.time_ns,
            wall_ns=event.wall_ns,
            workload=workload,
            main=main,
            wait_status=status,
            stop_signo=request.event.signo if request else 0,
            requested_by=role_of(asker) if asker else None,
            grace_s=(until - request.event.time_ns) / 1e9 if request else None,
            grace_limit_s=workload.grace_limit_s,
            duration_s=(event.time_ns - began.event.time_ns) / 1e9 if began else None,
            processes=tuple(ends),
            findings=codes_found,
            evidence=(*events[:EVIDENCE_MAX], event),
        )

    def _forget(self, main: Task) -> None:
        self._stops.forget(main.key)
        self._codes.pop(main.key, None)
        self._gone.pop(main.pidns, None)


def judge(stop: Stop, status: WaitStatus, exited_ns: int) -> tuple[str, str | None]:
    """(outcome, cause), by the table's order."""
    killed = status.signal == signals.SIGKILL
    if killed and stop.oom:
        return "oom", "main-process"
    if killed and stop.kill:
        request = stop.request_of_kill()
        if request is None:
            manual = role_of(stop.kill)
            return "killed", {"runtime": "no-stop-signal", "kubelet": "no-stop-signal", "shell": "manual"}.get(
                manual, codes.UNKNOWN
            )
        return "escalated", _why_unanswered(request, stop)
    if killed:
        return "killed", codes.UNKNOWN
    request = stop.request(exited_ns)
    if request is None:
        if status.code == 0:
            return "exited", None
        return "crashed", "fatal-signal" if status.signal else "exit-status"
    if status.signal and status.signal != request.event.signo:
        return "crashed", "fatal-signal"
    if request.event.disposition is Disposition.HANDLER or request.event.waited or request.event.blocked:
        return "graceful", None
    if status.signal:
        return "terminated", "no-handler"
    return ("exited", None) if status.code == 0 else ("crashed", "exit-status")


def _why_unanswered(request: Observation, stop: Stop) -> str:
    event = request.event
    if is_drop(event):
        return "dropped"
    if event.disposition is Disposition.IGNORE:
        return "ignored"
    delivered = any(d.signo == event.signo and d.time_ns >= event.time_ns for d in stop.deliveries)
    if delivered or event.waited:
        return "slow"
    if event.blocked or event.stopped or event.frozen or event.ptraced:
        return "pending"
    return "slow" if event.disposition is Disposition.HANDLER else codes.UNKNOWN


def _ended(outcome: str, request: Observation | None) -> Ended:
    if outcome in ("escalated", "killed"):
        return Ended.KILLED
    if outcome == "terminated":
        return Ended.DEFAULT
    if outcome == "graceful":
        return Ended.HANDLED
    if outcome in ("oom", "crashed"):
        return Ended(outcome)
    return Ended.HANDLED if request else Ended.EXITED
