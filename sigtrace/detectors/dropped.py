"""signal-dropped: a fatal signal for which an init of a PID namespace has no handler (rule: Dropped at PID 1).

The kernel drops it when it is generated (result ignored, disposition default): default actions do not apply to a
namespace's init (sig_task_ignored and SIGNAL_UNKILLABLE in kernel/signal.c). From inside even SIGKILL meets that fate.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sigtrace.detectors.processes import Processes, ProcessKey
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.shell import is_shell_form, script_of, shell_command
from sigtrace.model import codes, signals
from sigtrace.model.event import Disposition, Event, Kind, Result, Task
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, Finding
from sigtrace.model.text import command_line
from sigtrace.model.workload import Observation

CODE: Final = "signal-dropped"
#: The processes that were never told come with the snapshot that the source takes when a container is asked to stop;
#: so long a drop waits for it.
_WAIT_NS: Final = 500_000_000
#: A repeat that does not come for so long has ended.
_QUIET_NS: Final = 60_000_000_000
_SWEEP_NS: Final = 1_000_000_000
_OPEN_MAX: Final = 10_000


def is_drop(event: Event) -> bool:
    """Whether this signal_generate is one: never SIG_IGN by choice, never a process that was already dying."""
    return (
        event.kind is Kind.SIGNAL_GENERATE
        and event.ns_init
        and event.result is Result.IGNORED
        and event.disposition is Disposition.DEFAULT
        and signals.is_fatal(event.signo)
        and not event.exiting
        and not event.teardown
    )


@dataclass(slots=True)
class _Open:
    first: Observation
    due_ns: int
    last_ns: int
    count: int = 1
    told: int = 0
    evidence: list[Event] = field(default_factory=list)
    cause: str = ""


class Dropped:
    """A :class:`sigtrace.detectors.base.Detector`. Repeats are folded: told at 1, 10, 100 … and at the end."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._open: OrderedDict[ProcessKey, dict[tuple[int, bool], _Open]] = OrderedDict()
        """by init, then by signal and whether it came from outside"""
        self._waiting: dict[tuple[ProcessKey, int, bool], _Open] = {}
        """those not told yet"""
        self._swept_ns = 0

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event = observation.event
        if event.task is None:
            return
        key = event.task.key
        if event.kind is Kind.TASK:
            for case in self._open.get(key, {}).values():
                case.due_ns = min(case.due_ns, event.time_ns)  # the whole snapshot has this time
        elif event.kind is Kind.EXIT and key in self._open:
            yield from self._close(key)
        elif is_drop(event):
            cases = self._open.setdefault(key, {})
            repeated = cases.get((event.signo, event.outside))
            if repeated is None:
                case = _Open(observation, event.time_ns + _WAIT_NS, event.time_ns, evidence=[event])
                cases[event.signo, event.outside] = self._waiting[key, event.signo, event.outside] = case
                if len(self._open) > _OPEN_MAX:
                    yield from self._close(next(iter(self._open)))
                return
            repeated.count += 1
            repeated.last_ns = event.time_ns
            if len(repeated.evidence) < EVIDENCE_MAX:
                repeated.evidence.append(event)
            if repeated.told and repeated.count == 10 * repeated.told:
                yield self._tell(repeated)

    def tick(self, now_ns: int) -> Iterable[Finding]:
        """Tell what has waited long enough, end what has been quiet."""
        for key, case in [(k, c) for k, c in self._waiting.items() if c.due_ns <= now_ns]:
            del self._waiting[key]
            yield self._tell(case)
        if now_ns - self._swept_ns < _SWEEP_NS:
            return
        self._swept_ns = now_ns
        for init, cases in list(self._open.items()):
            if all(case.last_ns + _QUIET_NS <= now_ns for case in cases.values()):
                yield from self._close(init)

    def deadline(self) -> int | None:
        """The first finding that waits."""
        return min((case.due_ns for case in self._waiting.values()), default=None)

    def _close(self, init: ProcessKey) -> Iterable[Finding]:
        for (signo, outside), case in self._open.pop(init).items():
            self._waiting.pop((init, signo, outside), None)
            yield from self._end(case)

    def _end(self, case: _Open) -> Iterable[Finding]:
        if case.count > case.told:
            yield self._tell(case)

    def _tell(self, case: _Open) -> Finding:
        first = case.first.event
        init = self._processes.known(first.task) if first.task else Task(0, 0)
        others = self._processes.others(init)
        listed = self._processes.listed_ns(init.pidns) >= first.time_ns
        case.cause = case.cause or _cause(first, init, others, listed=listed)
        by_shell = case.cause in ("shell-form", "script-without-exec")
        case.told = case.count
        return Finding(
            code=CODE,
            cause=case.cause,
            severity=codes.severity(CODE, case.cause, nested=not first.container_init),
            certainty=Certainty.INFERRED if init.argv is None or (by_shell and not listed) else Certainty.OBSERVED,
            time_ns=case.last_ns,
            wall_ns=first.wall_ns + (case.last_ns - first.time_ns),
            workload=case.first.workload,
            subject=init,
            signo=first.signo,
            count=case.count,
            first_wall_ns=first.wall_ns,
            window_s=(case.last_ns - first.time_ns) / 1e9 if case.count > 1 else None,
            message=_message(case, init, others),
            advice=codes.advice(CODE, case.cause),
            evidence=tuple(case.evidence),
            sender_role=role_of(case.first),
        )


def _cause(event: Event, init: Task, others: list[Task], *, listed: bool) -> str:
    """By PID 1's argv; what comes from inside its namespace is by the kernel's design.

    ``listed``: ``others`` is known. If it is not, a shell in front is taken to have a child.
    """
    if event.sender is not None and not event.outside:
        return "from-inside"
    if init.argv is None:
        return "unknown"
    if (others or not listed) and is_shell_form(init.argv):
        return "shell-form"
    if (others or not listed) and script_of(init.argv):
        return "script-without-exec"
    return "no-handler"


def name_of(task: Task) -> str:
    """``gunicorn (pid 8)``, with the pid that the container knows."""
    return f"{task.comm} (pid {task.ns_pid or task.pid})"


def _which(case: _Open) -> str:
    return "PID 1" if case.first.event.container_init else "the init of a nested PID namespace"


def _message(case: _Open, init: Task, others: list[Task]) -> str:
    name = signals.name(case.first.event.signo)
    times = f" at least {case.count} times" if case.count > 1 else ""  # records: the limiter may have kept some
    what = command_line(init.argv, 60) if init.argv else init.comm
    if case.cause == "from-inside":
        nested = "" if case.first.event.container_init else "a nested "
        sender = case.first.event.sender
        who = (
            f"{name_of(sender)} sent {name}{times} to {nested}PID 1 ({what})" if sender else f"{name}{times} to {what}"
        )
        return f"{who} from inside, and the kernel dropped it: from inside even SIGKILL cannot end a namespace's init"
    text = (
        f"the kernel dropped {name}{times}: {_which(case)} has no handler for it, and default actions don't apply to a "
        f"namespace's init"
    )
    if not others:
        return text
    if case.cause == "shell-form" and init.argv:
        words = shell_command(init.argv).removeprefix("exec ").split()
        wanted = words[0].rsplit("/", 1)[-1] if words else ""
        others = sorted(others, key=lambda t: t.comm != wanted[:15])
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"{text}; {name_of(others[0])}{more} {'were' if more else 'was'} never told"
