"""killed: why a process of a container got SIGKILL. The main process once; of the others what is nobody's routine.

After the main process's end, or beside its SIGKILL, the others' are collateral: teardown, cgroup.kill, a runtime that
cleans up. And a process that dies with its parent (PR_SET_PDEATHSIG) was meant to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sigtrace.detectors.advice import for_kill, is_within_stop
from sigtrace.detectors.base import ProcessKey, Timers
from sigtrace.detectors.container import Container, kills
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.fold import Fold, Folds
from sigtrace.detectors.judge import why_unanswered
from sigtrace.detectors.killers import Killing, cause_of_kill, mechanism_of
from sigtrace.detectors.senders import role_of, same_sender
from sigtrace.detectors.stop import OOM_NS
from sigtrace.detectors.words import finding_on, name_of, times, who_sent
from sigtrace.model import codes, signals
from sigtrace.model.event import Info, Kind, Task
from sigtrace.model.finding import Certainty, Finding, Mechanism
from sigtrace.model.workload import Observation

CODE: Final = "killed"
_WAITING_MAX: Final = 10_000
#: What would be told as 0.0 s.
_AT_ONCE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Quiet:
    """A timer's token: this fold may have ended."""

    key: tuple[int, str]


class Killed:
    """A :class:`sigtrace.detectors.base.Detector`."""

    def __init__(self, containers: Containers, timers: Timers) -> None:
        self._containers = containers
        self._timers = timers
        self._waiting: dict[ProcessKey, Observation] = {}
        """SIGKILLs that may turn out to be the OOM killer's, or collateral"""
        self._folds: Folds[tuple[int, str]] = Folds()
        """of other processes than the main one: by container and cause"""

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if task is None:
            return
        if event.kind is Kind.EXIT:
            if observation.main and observation.workload:
                cgroup = observation.workload.cgroup_id
                for key, kill in list(self._waiting.items()):
                    if kill.workload and kill.workload.cgroup_id == cgroup and not self._may_be_marked(kill, key):
                        yield from self._judge(self._waiting.pop(key))
        elif event.kind is Kind.SIGNAL_GENERATE and kills(event) and not event.teardown:
            container = self._containers.of(observation)
            if container is None or container.exit or task.key in self._waiting:
                return
            if observation.main and event.info is not Info.PRIV:
                if container.stop.kill is observation:
                    yield self._tell(container, observation, cause_of_kill(container, observation), None)
            elif len(self._waiting) < _WAITING_MAX:
                self._waiting[task.key] = observation
                self._timers.at(event.time_ns + OOM_NS, self, task.key)

    def _may_be_marked(self, kill: Observation, key: ProcessKey) -> bool:
        """The kernel's own SIGKILL: the OOM killer's mark may come even after the exit."""
        container = self._containers.of(kill)
        marked = container.oom_near(kill.event.time_ns, key) if container else None
        return kill.event.info is Info.PRIV and marked is None

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """No mark came; or a fold may have ended."""
        if isinstance(token, _Quiet):
            yield from self._quiet(token, now_ns)
            return
        if kill := self._waiting.pop(token, None):
            yield from self._judge(kill)

    def _quiet(self, token: _Quiet, now_ns: int) -> Iterable[Finding]:
        fold = self._folds.get(token.key)
        if fold is None:
            return
        if not self._folds.is_quiet(token.key, now_ns):
            self._timers.at(fold.last_ns + self._folds.quiet_ns, self, token)
        elif self._folds.close(token.key) and (container := self._containers.of(fold.first)):
            yield self._tell(container, fold.first, _as_told(container, fold), fold)

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """What waited for the OOM killer's mark, and the last counts."""
        for key, kill in list(self._waiting.items()):
            del self._waiting[key]
            yield from self._judge(kill)
        for fold in self._folds.close_all():
            if container := self._containers.of(fold.first):
                yield self._tell(container, fold.first, _as_told(container, fold), fold)

    def _judge(self, kill: Observation) -> Iterable[Finding]:
        container, event = self._containers.of(kill), kill.event
        if container is None or event.task is None:
            return
        killing = cause_of_kill(container, kill)
        if kill.main:
            if container.stop.kill is kill:
                yield self._tell(container, kill, killing, None)
            return
        if self._is_collateral(container, kill, killing):
            return
        key = (container.workload.cgroup_id, killing.cause)
        fold = self._folds.get(key)
        if fold and self._folds.is_quiet(key, event.time_ns):
            if ended := self._folds.close(key):
                yield self._tell(container, ended.first, killing, ended)
            fold = None
        if fold is None:
            fold = self._folds.open(key, kill)
            fold.cause = killing.cause
            self._timers.at(event.time_ns + self._folds.quiet_ns, self, _Quiet(key))
            yield self._tell(container, kill, killing, fold)
        elif fold.add(event):
            yield self._tell(container, kill, killing, fold)

    @staticmethod
    def _is_collateral(container: Container, kill: Observation, killing: Killing) -> bool:
        event = kill.event
        if killing.cause == "oom":
            # One OOM kill may take many: the first stands for them, and the main process for all.
            first = container.oom_near(event.time_ns, event.task.key if event.task else None)
            marks = [m for m in container.ooms if first and abs(m.event.time_ns - first.event.time_ns) <= OOM_NS]
            return container.stop.oom in marks or (bool(marks) and first is not marks[0])
        if container.oom_near(event.time_ns) and event.info is Info.PRIV:
            return True  # it shares the victim's memory
        if event.sender and event.task and event.sender.key == event.task.key:
            return True  # its own doing (kill -9 $$)
        if event.info is Info.NOINFO and event.group:
            return True  # its parent's death signal
        main_kill = container.stop.kill
        if main_kill is None:
            return False
        # Whoever kills all of them may begin with any.
        early_ns = OOM_NS if same_sender(event, main_kill.event) else 0
        return event.time_ns - main_kill.event.time_ns >= -early_ns

    def _tell(self, container: Container, kill: Observation, killing: Killing, fold: Fold | None) -> Finding:
        event = kill.event
        oom = killing.cause == "oom"
        fields: dict[str, Any] = {"evidence": tuple([o.event for o in (killing.request, kill) if o])}
        count = 1
        if fold:
            fold.told = count = fold.count
            fields = {"evidence": fold.evidence, "count": count, "window_s": fold.window_s}
            fields["first_wall_ns"] = fold.first.event.wall_ns
            fields["first_ns"] = fold.first.event.time_ns
            fields |= {"time_ns": fold.last_ns, "wall_ns": fold.wall_ns}
        mechanism = mechanism_of(kill, oom=oom)
        if oom and event.task and (mark := container.oom_near(event.time_ns, event.task.key)):
            fields["evidence"] = (*fields["evidence"], mark.event)
        return finding_on(
            kill,
            CODE,
            killing.cause,
            certainty=killing.certainty,
            subject=container.known(event.task) if event.task else None,
            message=_message(container, kill, killing, count),
            mechanism=mechanism,
            sender_role=role_of(kill),
            advice=for_kill(container, kill, killing),
            **fields,
        )


def _as_told(container: Container, fold: Fold) -> Killing:
    """Of a fold that ends: its container may have ended before, and with it what its cause was known by."""
    killing = cause_of_kill(container, fold.first)
    if killing.cause == fold.cause:
        return killing
    return Killing(fold.cause, Certainty.OBSERVED if fold.cause == "oom" else Certainty.INFERRED)


def _message(container: Container, kill: Observation, killing: Killing, count: int) -> str:
    event = kill.event
    victim = "the main process" if kill.main else name_of(event.task or Task(0, 0))
    more = f"; {times(count, 'time', 'times')} so far" if count > 1 else ""
    if killing.cause == "oom":
        where = _scope(container, kill)
        lives = "" if kill.main else "; the main process was not chosen"
        return f"the OOM killer chose {victim}{where}{lives}{more}"
    how = "ended it through cgroup.kill" if mechanism_of(kill, oom=False) is Mechanism.CGROUP_KILL else "sent SIGKILL"
    if killing.request is None:
        to = "" if kill.main else f" to {victim}"
        # Without a siginfo (ptrace) nobody knows who sent it, and not of every OOM kill that it was one.
        memory = "whether it was the OOM killer was not seen" if event.info is None else "not the OOM killer"
        to += " while the container was stopping" if is_within_stop(container, kill, killing) else ""
        return f"{who_sent(kill)} {how}{to}; {memory}{_before(container, kill)}{more}"
    request = killing.request
    after_s = (event.time_ns - request.event.time_ns) / 1e9
    after = "right" if after_s < _AT_ONCE_S else f"{after_s:.1f} s"
    text = f"{who_sent(kill)} {how} {after} after {signals.name(request.event.signo)}, {_fate(container, request)}"
    if killing.hook:
        text += f"; the preStop hook had taken {killing.hook.seconds:.1f} s before it"
    return text


def _before(container: Container, kill: Observation) -> str:
    """A stop signal that came from somebody else."""
    asked = container.stop.before(kill) if kill.main else None
    if asked is None:
        return ""
    ago_s = (kill.event.time_ns - asked.event.time_ns) / 1e9
    return f"; {signals.name(asked.event.signo)} had come {ago_s:.1f} s before, from {who_sent(asked)}"


def _scope(container: Container, kill: Observation) -> str:
    mark = container.oom_near(kill.event.time_ns, kill.event.task.key if kill.event.task else None)
    if mark is None or mark.oom_scope is None:
        return ""
    return {
        "container": ": its container was at its memory limit",
        "pod": ": its pod was at its memory limit",
        "node": ": the node, or a cgroup above the pod, was out of memory",
    }[mark.oom_scope.value]


#: What became of the stop signal, in words that end a sentence.
_FATES: Final = {
    "dropped": "which the kernel had dropped",
    "ignored": "which the process ignores",
    "pending": "which was still pending",
    "not-forwarded": "which the process got and passed on to nobody",
    codes.UNKNOWN: "which did not end it",
}


def _fate(container: Container, request: Observation) -> str:
    return _FATES.get(why_unanswered(container, request), "which the process got and did not finish in time")
