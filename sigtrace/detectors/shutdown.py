"""The shutdown record: how a container's main process ended, told once (interface: outcomes)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sigtrace.detectors.advice import NOT_STARTED
from sigtrace.detectors.base import ProcessKey, Timers
from sigtrace.detectors.container import Container, Member
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.ends import end_of, main_ended, slowest, was_killed
from sigtrace.detectors.forwarding import at_work, exited_first, kept_waiting_unlisted
from sigtrace.detectors.judge import Judgement, judge
from sigtrace.detectors.pods import SCOPE_NS, Pods
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.stop import OOM_NS
from sigtrace.detectors.words import finding_on, name_of, what_of
from sigtrace.model import codes, signals
from sigtrace.model.event import Info, Kind, Task
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, Finding, ProcessEnd, SenderRole, Shutdown, Verdict
from sigtrace.model.stages import is_stage
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, PreStopKind, WorkloadKind

#: The runtime kills the rest after the exit of the main process; longer than this nobody waits for them.
_TEARDOWN_NS: Final = 200_000_000
#: After the exit of a PID namespace's init the kernel does, and its exit is not over before theirs, which takes a while
#: on a machine that is busy with something else.
_BY_KERNEL_NS: Final = 1_000_000_000
#: The kernel's SIGKILLs to those who are left come at once; who had not been seen before is seen then.
_LEFT_NS: Final = 20_000_000
#: A main process that fails so soon after the OOM killer took another of its container may well fail for that.
_AFTER_OOM_NS: Final = 10_000_000_000
#: Ends that are remembered until the story is told, and processes in it, at most.
_ENDS_MAX: Final = 4_096
_TOLD_MAX: Final = 128
_FOUND_MAX: Final = 10_000
_IN_TIME: Final = ("terminated", "graceful")


@dataclass(slots=True)
class _Ending:
    """A container whose main process has exited, while the rest is torn down."""

    container: Container
    exit: Observation
    main: Task
    judgement: Judgement
    left: dict[ProcessKey, Member]
    """those that were there, and have not been seen to end yet"""
    torn_down: list[Member] = field(default_factory=list)
    least_ns: int = 0
    """nothing is told before"""
    due_ns: int = 0
    """longer than this it is not waited for them"""
    by_kernel: bool = False
    """the kernel was seen to kill some of them: somebody was left"""


class Shutdowns:
    """A :class:`sigtrace.detectors.base.Detector`, the last in line: it is shown what the others found."""

    def __init__(self, containers: Containers, timers: Timers) -> None:
        self._containers = containers
        self._timers = timers
        self._endings: dict[int, _Ending] = {}
        """by container"""
        self._codes: OrderedDict[int, list[str]] = OrderedDict()
        self._pods = Pods(containers)

    def found(self, verdict: Verdict) -> None:
        """Another detector's finding: it belongs to its container's story."""
        if isinstance(verdict, Finding) and verdict.workload and self._containers.has(verdict.workload.cgroup_id):
            self._note(verdict.workload.cgroup_id, verdict.code)

    def _note(self, cgroup: int, code: str) -> None:
        found = self._codes.setdefault(cgroup, [])
        if code not in found:
            found.append(code)
        if len(self._codes) > _FOUND_MAX:
            self._codes.popitem(last=False)

    def feed(self, observation: Observation) -> Iterable[Verdict]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if task is None or event.zombie:
            return
        if observation.workload and observation.workload.kind is WorkloadKind.SANDBOX:
            self._pods.note(observation)
            return
        ending = self._endings.get(observation.workload.cgroup_id) if observation.workload else None
        if ending and observation.main and task.key != ending.main.key:
            yield from self._tell(ending)  # its successor is there already
            ending = None
        container = self._containers.of(observation)
        doomed = event.teardown and not event.leaving
        # Listed after the end of the namespace's init: the kernel has not come to it yet (a stolen CPU), and will.
        doomed = doomed or (event.kind is Kind.TASK and container is not None and container.main_is_init)
        if ending and doomed and container and not observation.main:
            if (member := container.members.get(task.key)) and task.key not in ending.left:
                ending.left[task.key] = member
            ending.by_kernel = True
            ending.due_ns = max(ending.least_ns, ending.exit.event.time_ns + _teardown_ns(container))
            return
        if event.kind is not Kind.EXIT or event.wait_status is None:
            return
        if container is None:
            return
        if observation.main:
            if not ending:
                yield from self._began(container, observation, task)
        elif ending:
            member = ending.left.pop(task.key, None) or container.members.get(task.key)
            self._ended(container, observation, ending)
            if member and event.wait_status.signal == signals.SIGKILL and not was_killed(member, ending.exit):
                ending.torn_down.append(member)
            least_ns = max(ending.least_ns, ending.exit.event.time_ns + _LEFT_NS)
            if not ending.left and least_ns <= event.time_ns:
                yield from self._tell(ending, waited=True)
            elif not ending.left:
                ending.due_ns = least_ns
                self._timers.at(least_ns, self, container.workload.cgroup_id)
        elif container.stopping(event.time_ns):
            self._ended(container, observation, None)

    def _began(self, container: Container, observation: Observation, task: Task) -> Iterable[Verdict]:
        container.exit = observation
        main = container.known(task)
        judgement = judge(container, observation)
        if judgement.outcome == "crashed":
            crash = _crash(observation, main, judgement)
            self._note(container.workload.cgroup_id, crash.code)
            yield crash
        container.main = main
        began = judgement.request or container.stop.kill or observation
        since = began.event.time_ns
        left = {m.task.key: m for m in container.others() if m.seen_ns >= since}  # who was not seen since may be gone
        for member in left.values():
            member.entered = container.came_in(member)  # its ancestors will be gone when the story is told
        ending = _Ending(container, observation, main, judgement, left)
        self._endings[container.workload.cgroup_id] = ending
        # Asked and gone before anybody could list it: who else there is, the kernel's SIGKILLs tell, and where PID 1 is
        # throttled they come after its next period (100 ms).
        unlisted = judgement.request is not None and container.listed_ns < judgement.request.event.time_ns
        alone_ns = _TEARDOWN_NS if unlisted and container.main_is_init else _LEFT_NS
        ending.due_ns = observation.event.time_ns + (_teardown_ns(container) if left else alone_ns)
        kill = container.stop.kill
        if kill and kill.event.info is Info.PRIV:  # the OOM killer's marks may come after the exit
            ending.due_ns = ending.least_ns = max(ending.due_ns, kill.event.time_ns + OOM_NS)
        if container.workload.pod_uid and judgement.request:
            ending.due_ns = ending.least_ns = max(ending.due_ns, observation.event.time_ns + SCOPE_NS)
        self._timers.at(ending.due_ns, self, container.workload.cgroup_id)

    def due(self, token: Any, now_ns: int) -> Iterable[Verdict]:
        """The teardown takes too long."""
        ending = self._endings.get(token)
        if ending and ending.due_ns <= now_ns:
            yield from self._tell(ending, waited=True)
        elif ending:
            self._timers.at(ending.due_ns, self, token)

    def end(self, _now_ns: int) -> Iterable[Verdict]:
        """Stories that wait for the teardown."""
        for ending in list(self._endings.values()):
            yield from self._tell(ending)

    def _ended(self, container: Container, exit_: Observation, ending: _Ending | None) -> None:
        if len(container.ends) < _ENDS_MAX:
            end = end_of(container, exit_, ending.exit if ending else None)
            container.ends.append((exit_.event.time_ns, end))

    def _tell(self, ending: _Ending, *, waited: bool = False) -> Iterable[Verdict]:
        container, exit_ = ending.container, ending.exit
        if ending.least_ns:
            ending.judgement = judge(container, exit_)
        judgement = ending.judgement
        key = container.workload.cgroup_id
        self._endings.pop(key, None)
        # Where the kernel kills some, those that are not seen to end are killed as well: it lets nobody outlive its
        # namespace's init. Where it kills nobody they had ended before, and their exits were limited away.
        still = list(ending.left.values()) if ending.by_kernel else []
        outcome, cause = judgement.outcome, judgement.cause
        signo = judgement.request.event.signo if judgement.request else signals.SIGTERM
        torn_down = at_work(container, [m for m in [*ending.torn_down, *still] if not container.came_in(m)], signo)
        if outcome in _IN_TIME and judgement.request and judgement.request.main and torn_down:
            outcome, cause = "incomplete", "main-exited-first"
            finding = exited_first(exit_, container, ending.main, judgement.request, torn_down)
            if finding:
                self.found(finding)
                yield finding
        if (outcome, cause) == ("escalated", "slow") and judgement.request:
            finding = kept_waiting_unlisted(container, ending.main, judgement.request, torn_down)
            if finding:
                cause = "not-forwarded"
                self.found(finding)
                yield finding
        yield self._story(ending, outcome, cause, waited=waited)
        self._containers.retire(container)

    def _story(self, ending: _Ending, outcome: str, cause: str | None, *, waited: bool) -> Shutdown:
        container, judgement, event = ending.container, ending.judgement, ending.exit.event
        key, stop, request = container.workload.cgroup_id, container.stop, judgement.request
        began = request or stop.kill
        until = stop.kill.event if stop.kill else event
        own = ProcessEnd(
            ending.main,
            request.event.wall_ns if request and request.main else None,
            event.wall_ns,
            main_ended(outcome, judgement, stop.kill is not None),
        )
        since_ns = (began.event if began else event).time_ns  # before it: of a stop that came to nothing
        others = [end for at_ns, end in container.ends if at_ns >= since_ns]
        ends = [*others, *(ProcessEnd(m.task) for m in ending.left.values())]
        told = slowest(ends, _TOLD_MAX - 1)
        earlier = stop.before(stop.kill) if request is None and stop.kill else None
        basis = [o.event for o in (request or earlier, stop.kill) if o]
        hook = judgement.hook
        mark = _mark_of(container, judgement) if outcome == "oom" else None
        if outcome == "crashed" and container.ooms and event.time_ns - container.ooms[-1].event.time_ns < _AFTER_OOM_NS:
            mark = container.ooms[-1]  # of another process; that it is why cannot be known
        return Shutdown(
            outcome=outcome,
            cause=cause,
            time_ns=event.time_ns,
            wall_ns=event.wall_ns,
            workload=container.workload,
            main=ending.main,
            wait_status=event.wait_status or WaitStatus(0),
            stop_signo=request.event.signo if request else 0,
            requested_by=role_of(began) if began else SenderRole.UNKNOWN if event.unheard else None,
            grace_s=(until.time_ns - request.event.time_ns) / 1e9 if request else None,
            grace_limit_s=container.workload.grace_limit_s,
            pre_stop_s=hook.seconds if hook else None,
            pre_stop_kind="exec" if hook else _declared_hook(container),
            duration_s=(event.time_ns - began.event.time_ns) / 1e9 if began else None,
            processes=(own, *told),
            processes_omitted=len(ends) - len(told),
            findings=tuple(self._codes.pop(key, ())),
            evidence=(*basis[:EVIDENCE_MAX], event),
            oom_scope=mark.oom_scope if mark else None,
            first_victim=container.ooms_with(mark)[0].event.task if mark else None,
            origin=judgement.origin,
            scope=self._pods.scope_of(container, ending.due_ns, waited=request is not None and waited),
        )


def _teardown_ns(container: Container) -> int:
    return _BY_KERNEL_NS if container.main_is_init else _TEARDOWN_NS


def _declared_hook(container: Container) -> str | None:
    """HttpGet and sleep are seen by nobody, so that they are told as declared."""
    hook = container.workload.pre_stop
    return hook.kind.value if hook and hook.kind is not PreStopKind.EXEC else None


def _mark_of(container: Container, judgement: Judgement) -> Observation | None:
    """The OOM killer's mark on the main process, else on the one whose end it passed on."""
    origin = judgement.origin
    marks = [m for m in container.ooms if origin and m.event.task and m.event.task.key == origin.key]
    return container.stop.oom or (marks[-1] if marks else None)


def _certainty_of(judgement: Judgement) -> Certainty:
    if judgement.cause == codes.UNKNOWN:
        return Certainty.HEURISTIC
    return Certainty.INFERRED if judgement.origin else Certainty.OBSERVED


def _asked_in_vain(judgement: Judgement) -> str:
    """Of one that failed by itself: whatever it was asked, it had not heard."""
    request = judgement.request
    return f"it had not heard {signals.name(request.event.signo)}" if request else "nobody had asked"


def _crash(exit_: Observation, main: Task, judgement: Judgement) -> Finding:
    """The main process's own crash."""
    status = exit_.event.wait_status or WaitStatus(0)
    cause = judgement.cause or codes.UNKNOWN
    text = {
        "fatal-signal": f"{what_of(main)} died of a fault: {status}",
        "abort-as-pid1": f"{what_of(main)} called abort(): as PID 1 it is spared SIGABRT, so it ended with {status}",
        "exit-status": f"{what_of(main)} ended by itself with {status}, and {_asked_in_vain(judgement)}",
        codes.UNKNOWN: f"{what_of(main)} ended with {status}; whether it had been asked to is not known",
    }.get(cause, f"{what_of(main)} ended with {status}")
    if judgement.origin:
        signo = status.code - 128
        text = f"{what_of(main)} ended with {status}: it passed on the end of {name_of(judgement.origin)}"
        text += f", which {signals.name(signo)} had ended" if signo > 0 else ""
    if unstarted := cause == "exit-status" and is_stage(main):
        text = f"the runtime could not start the program: its own process, {main.comm}, ended with {status}"
    return finding_on(
        exit_,
        "crashed",
        cause,
        certainty=_certainty_of(judgement),
        subject=main,
        signo=status.signal or 0,
        message=text,
        origin=judgement.origin,
        advice=NOT_STARTED if unstarted else None,
    )
