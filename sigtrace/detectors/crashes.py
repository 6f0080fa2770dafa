"""crashed and crash-masked: a program that dies of a fault or fails, and the supervisor that hides it.

Of the main process every end by itself with a status other than 0. Of the others a fault of their own; and where the
children of one parent end so again and again, each replaced by a new one, a loop that no restart of the container shows
(rule: Masked crash loop). A script that tries again until a server answers is no such loop: its commands fail by a
status and at once, and count only if they ran for a while or are what their parent is, as forked workers are.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sigtrace.detectors.base import SECOND_NS, ProcessKey, Thresholds, Timers
from sigtrace.detectors.container import Container
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.judge import is_own_doing
from sigtrace.detectors.shell import SHELLS
from sigtrace.detectors.words import finding_on, name_of, times
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, Finding
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation

_KEPT: Final = 512
_LOOPS_MAX: Final = 2_000
#: Names of one container that are told apart; those of all others are one.
_NAMES_MAX: Final = 16
_OTHERS: Final = ((0, 0), "")
#: A command that fails later than this was at work; what is sooner may be a script that tries again, or a time limit.
_AT_WORK_NS: Final = 30_000_000_000
#: From here on the limiter may have kept some.
_EXACT: Final = 500
#: Statuses by which a program's own children leave as it wants them to: a client that PostgreSQL refused or ended
#: (postmaster.c: EXIT_STATUS_1), a worker of Celery's that has done its number of tasks (billiard: EX_RECYCLE).
_ROUTINE: Final = {"postgres": (1,), "celery": (155,), "[celeryd: celer": (155,)}
_Key = tuple[int, ProcessKey, str]
"""container, parent, comm"""


@dataclass(slots=True)
class _Loop:
    """The crashes of one parent's children of one name."""

    parent: Task
    crashes: deque[Observation] = field(default_factory=lambda: deque(maxlen=_KEPT))
    count: int = 0
    """in the loop, since it began"""
    told: int = 0
    held: Observation | None = None
    """a first fault, which is told alone if it makes no loop"""
    alone_ns: int | None = None
    """when one was told alone last"""


class Crashes:
    """A :class:`sigtrace.detectors.base.Detector` for all but the main process, which the judge of shutdowns tells."""

    def __init__(self, containers: Containers, timers: Timers, thresholds: Thresholds) -> None:
        self._containers = containers
        self._timers = timers
        self._hold_ns = int(thresholds.crash_hold_s * SECOND_NS)
        self._window_ns = int(thresholds.loop_window_s * SECOND_NS)
        self._enough = thresholds.loop_crashes
        self._loops: dict[_Key, _Loop] = {}
        self._names: Counter[int] = Counter()
        """loops of each container"""
        self._sweeps = False
        """a timer for it is set"""

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if event.kind is not Kind.EXIT or task is None or event.parent is None:
            return
        container = self._containers.of(observation)
        if container is None:
            return
        if observation.main:
            yield from self._main_ended(container, observation)
            return
        member = container.members.get(task.key)
        if container.stopping(event.time_ns) or event.cgroup_entered or (member and container.came_in(member)):
            return
        fault = self._is_fault(container, observation)
        if not fault and not _failed_at_work(event, event.parent, task):
            return
        key = self._key_of(container.workload.cgroup_id, event, event.parent.key, task.comm)
        loop = self._loops.get(key)
        if loop is None:
            if len(self._loops) >= _LOOPS_MAX:
                self._forget(next(iter(self._loops)))
            loop = self._loops[key] = _Loop(event.parent)
            self._names[key[0]] += 1
            self._sweep_later(event.time_ns)
        while loop.crashes and event.time_ns - loop.crashes[0].event.time_ns > self._window_ns:
            loop.crashes.popleft()
        loop.crashes.append(observation)
        loop.count += 1
        if key[1:] != _OTHERS and self._is_loop(loop):  # of processes of many parents nobody replaces each
            loop.held = None
            if not loop.told:
                loop.count = len(loop.crashes)
                self._timers.at(event.time_ns + self._window_ns + 1, self, key)
            if not loop.told or loop.count >= 10 * loop.told:
                yield self._tell(container, loop)
        elif fault and loop.held is None:
            loop.held = observation
            self._timers.at(event.time_ns + self._hold_ns, self, key)

    def _key_of(self, container: int, event: Event, parent: ProcessKey, comm: str) -> _Key:
        """Whoever gives each of its processes another name has sixteen that are told apart."""
        key = (container, parent, comm)
        if key in self._loops or self._names[container] < _NAMES_MAX:
            return key
        self._sweep([k for k in self._loops if k[0] == container], event.time_ns)
        return key if self._names[container] < _NAMES_MAX else (container, *_OTHERS)

    def _sweep(self, keys: Iterable[_Key], now_ns: int) -> None:
        """Forgets what became no loop; one that did has a timer of its own."""
        for key in keys:
            loop = self._loops[key]
            if not loop.told and loop.held is None and now_ns - loop.crashes[-1].event.time_ns > self._window_ns:
                self._forget(key)

    def _sweep_later(self, now_ns: int) -> None:
        if not self._sweeps and self._loops:
            self._sweeps = True
            self._timers.at(now_ns + max(self._window_ns, SECOND_NS) + 1, self, None)

    def _forget(self, key: _Key) -> _Loop:
        self._names[key[0]] -= 1
        if not self._names[key[0]]:
            del self._names[key[0]]
        return self._loops.pop(key)

    def _is_loop(self, loop: _Loop) -> bool:
        if loop.told:
            return True
        first = min(o.event.time_ns for o in loop.crashes)
        replaced = sum(1 for o in loop.crashes if o.event.task and o.event.task.start_ns >= first)
        return len(loop.crashes) >= self._enough and replaced >= self._enough - 1

    @staticmethod
    def _is_fault(container: Container, observation: Observation) -> bool:
        """A fault of its own, not a signal of that number that somebody sent."""
        task, status = observation.event.task, observation.event.wait_status
        if task is None or status is None or status.signal is None or not signals.is_fault(status.signal):
            return False
        member = container.members.get(task.key)
        return is_own_doing(member.sent if member else None, task, status.signal)

    def _main_ended(self, container: Container, exit_: Observation) -> Iterable[Finding]:
        """Nothing is restarted any more: the last counts, and what was held, unless the main process passed it on."""
        status = exit_.event.wait_status or WaitStatus(0)
        for key in [k for k in self._loops if k[0] == container.workload.cgroup_id]:
            loop = self._forget(key)
            if loop.told and loop.count > loop.told:
                yield self._tell(container, loop, closing=True)
            held = loop.held
            if held and held.event.wait_status and held.event.wait_status.code != status.code:
                yield self._alone(container, held)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """It made no loop so far, or its loop has ended; None: all are looked at."""
        if token is None:
            self._sweep(list(self._loops), now_ns)
            self._sweeps = False
            self._sweep_later(now_ns)
            return
        loop = self._loops.get(token)
        if loop is None or not loop.crashes:
            return
        container = self._containers.of(loop.crashes[-1])
        held = loop.held
        if held and held.event.time_ns + self._hold_ns <= now_ns:
            loop.held = None
            if container and (loop.alone_ns is None or now_ns - loop.alone_ns > self._window_ns):
                loop.alone_ns = now_ns
                yield self._alone(container, held)
        if loop.told:
            quiet_ns = loop.crashes[-1].event.time_ns + self._window_ns + 1
            if quiet_ns > now_ns:
                self._timers.at(quiet_ns, self, token)
                return
            if container and loop.count > loop.told:
                yield self._tell(container, loop, closing=True)
            self._forget(token)

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """What is held, and the last counts."""
        for loop in self._loops.values():
            container = self._containers.of(loop.crashes[0]) if loop.crashes else None
            if container is None:
                continue
            if loop.held and loop.alone_ns is None:
                yield self._alone(container, loop.held)
            if loop.told and loop.count > loop.told:
                yield self._tell(container, loop, closing=True)
        self._loops.clear()
        self._names.clear()

    def _alone(self, container: Container, crash: Observation) -> Finding:
        event = crash.event
        task, parent, status = event.task or Task(0, 0), event.parent or Task(0, 0), event.wait_status
        by = "PID 1" if container.is_main(parent) and container.main_is_init else name_of(parent)
        return finding_on(
            crash,
            "crashed",
            "fatal-signal",
            certainty=Certainty.OBSERVED,
            subject=container.known(task),
            parent=container.known(parent),
            signo=(status.signal if status else None) or 0,
            message=f"{name_of(task)}, a child of {by}, died of a fault: {status}; the container runs on",
        )

    def _tell(self, container: Container, loop: _Loop, *, closing: bool = False) -> Finding:
        loop.told = loop.count
        least = "at least " if loop.count >= _EXACT else ""
        last, first = loop.crashes[-1], loop.crashes[0]
        event = last.event
        task, status = event.task or Task(0, 0), event.wait_status or WaitStatus(0)
        parent = container.known(loop.parent)
        window_s = (event.time_ns - first.event.time_ns) / 1e9
        age_s = (event.time_ns - task.start_ns) / 1e9
        hidden_by = f"PID 1 ({parent.comm})" if parent.ns_pid == 1 else name_of(parent)
        before = Counter(_short(o.event.wait_status) for o in list(loop.crashes)[:-1]).most_common(3)
        earlier = ", ".join(f"{n} × {what}" for what, n in before)
        every = all(o.event.wait_status and o.event.wait_status.signal for o in loop.crashes)
        return finding_on(
            last,
            "crash-masked",
            "supervisor-restarts",
            certainty=Certainty.OBSERVED if every else Certainty.INFERRED,
            subject=task,
            parent=parent,
            signo=status.signal or 0,
            count=loop.count,
            window_s=window_s,
            first_wall_ns=first.event.wall_ns,
            first_ns=first.event.time_ns,
            closing=closing,
            message=f"{least}{times(loop.count, 'process', 'processes')} died in {_span(window_s)}, and "
            f"{hidden_by} replaced each: the last was {name_of(task)}, {_short(status)}, {_span(age_s)} old; "
            f"before it {earlier}",
            evidence=tuple([o.event for o in list(loop.crashes)[-EVIDENCE_MAX:]]),
        )


def _failed_at_work(event: Event, parent: Task, task: Task) -> bool:
    status = event.wait_status
    if status is None or not status.exit_code or status.exit_code in _ROUTINE.get(parent.comm, ()):
        return False
    worker = event.forked and task.comm == parent.comm and parent.comm not in SHELLS  # a shell's are its subshells
    return worker or event.time_ns - task.start_ns >= _AT_WORK_NS


def _short(status: WaitStatus | None) -> str:
    if status is None or status.signal is None:
        return f"exit {status.code if status else '?'}"
    return str(status).partition(" + ")[2]


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
