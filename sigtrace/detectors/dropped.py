"""signal-dropped: a fatal signal for which an init of a PID namespace has no handler (rule: Dropped at PID 1).

The kernel drops it when it is generated (result ignored, disposition default): default actions do not apply to a
namespace's init (sig_task_ignored and SIGNAL_UNKILLABLE in kernel/signal.c). From inside even SIGKILL meets that fate.
What was blocked, or traced, at that time is dropped when it is delivered (get_signal): a late drop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from sigtrace.detectors.advice import for_drop
from sigtrace.detectors.base import ProcessKey, Timers
from sigtrace.detectors.container import Container, kills
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.fold import OPEN_MAX, Fold, Folds
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.shell import is_shell_form, script_of, shell_command
from sigtrace.detectors.stop import is_configured
from sigtrace.detectors.words import among, finding_on, name_of, what_of
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Kind, Result, Task
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "signal-dropped"
#: The processes that were never told come with the listing that the source makes when a container is asked to stop;
#: so long a drop waits for it.
_WAIT_NS: Final = 500_000_000
#: A late drop is one if the process is still there after this.
_LIVES_NS: Final = 100_000_000

_Key = tuple[ProcessKey, int, bool]


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
        and not _sent_itself(event)  # abort(), or a handler that raises its signal again: its end tells
    )


def is_lost(observation: Observation) -> bool:
    """A drop, or the declared stop signal of a container whose default is to be ignored (httpd's SIGWINCH)."""
    event = observation.event
    if is_drop(event):
        return True
    ignored = event.result is Result.IGNORED and event.disposition is Disposition.DEFAULT and not event.exiting
    asks = event.kind is Kind.SIGNAL_GENERATE and observation.main and event.outside
    return asks and ignored and is_configured(observation)


def _sent_itself(event: Event) -> bool:
    return event.sender is not None and event.task is not None and event.sender.key == event.task.key


def is_late_drop(event: Event) -> bool:
    """Whether this signal_deliver is one, if the process lives on: an init with no handler, and no exit of it."""
    return (
        event.kind is Kind.SIGNAL_DELIVER
        and event.ns_init
        and event.disposition is Disposition.DEFAULT
        and event.signo != signals.SIGKILL
        and signals.is_fatal(event.signo)
        and not event.exiting
        and not _sent_itself(event)
        and not _is_forced(event)
    )


def _is_forced(event: Event) -> bool:
    """A fault that the kernel makes of what the process does: it takes the init's protection (force_sig_info_to_task).

    It ends by it, though perhaps much later: it may have a core to write first. A tracer keeps the protection.
    """
    return signals.is_fault(event.signo) and (event.si_code or 0) > 0 and not event.ptraced


class Dropped:
    """A :class:`sigtrace.detectors.base.Detector`. Keys: the init, the signal, whether it came from outside."""

    def __init__(self, containers: Containers, timers: Timers) -> None:
        self._containers = containers
        self._timers = timers
        self._folds: Folds[_Key] = Folds()
        self._by_init: OrderedDict[ProcessKey, set[_Key]] = OrderedDict()

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event = observation.event
        if event.task is None:
            return
        init = event.task.key
        if event.kind is Kind.TASK:
            for key in self._by_init.get(init, ()):
                if (waiting := self._folds.get(key)) and not waiting.told:
                    self._timers.at(event.time_ns + 1, self, key)  # the whole listing has this time
        elif event.kind is Kind.EXIT:
            for key in sorted(self._by_init.pop(init, ())):
                fold = self._folds.close(key)
                died_of_it = event.wait_status is not None and event.wait_status.signal == key[1]
                if fold and not (_is_unproven(fold) and died_of_it):
                    yield self._tell(fold)
        elif self._containers.of(observation) is None:
            return
        elif is_lost(observation):
            yield from self._dropped(observation, (init, event.signo, event.outside), _WAIT_NS)
        elif is_late_drop(event):
            yield from self._dropped(observation, (init, event.signo, True), _LIVES_NS)
        elif kills(event) and observation.main:
            yield from self._raised(observation)

    def _raised(self, kill: Observation) -> Iterable[Finding]:
        """SIGKILL had to end a PID 1 that had handled its stop signal and then wanted to die of it."""
        container = self._containers.of(kill)
        request = container.stop.request_of_kill() if container and container.stop.kill is kill else None
        raised = container.raised if container else None
        if container is None or request is None or raised is None or raised.event.signo != request.event.signo:
            return
        if raised.event.time_ns < request.event.time_ns:
            return
        name = signals.name(raised.event.signo)
        yield finding_on(
            raised,
            CODE,
            "no-handler",
            certainty=Certainty.OBSERVED,
            subject=container.main,
            time_ns=kill.event.time_ns,
            wall_ns=kill.event.wall_ns,
            message=f"PID 1 handled {name}, and then sent it to itself to end by it: the kernel dropped that, because "
            f"default actions don't apply to a namespace's init. It has to call exit instead",
            evidence=(request.event, raised.event, kill.event),
            sender_role=role_of(raised),
        )

    def _dropped(self, observation: Observation, key: _Key, wait_ns: int) -> Iterable[Finding]:
        event = observation.event
        fold = self._folds.get(key)
        if fold and self._folds.is_quiet(key, event.time_ns):
            if (ended := self._folds.close(key)) and ended.told:
                yield self._tell(ended)
            fold = None
        if fold is None:
            self._folds.open(key, observation)
            self._by_init.setdefault(key[0], set()).add(key)
            if len(self._by_init) > OPEN_MAX:
                self._by_init.popitem(last=False)
            self._timers.at(event.time_ns + wait_ns, self, key)
        elif fold.add(event):
            yield self._tell(fold)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """Tell what has waited long enough, end what has been quiet."""
        key: _Key = token
        fold = self._folds.get(key)
        if fold is None:
            return
        if not fold.told:
            if _is_unproven(fold) and now_ns < fold.first.event.time_ns + _LIVES_NS:
                return
            yield self._tell(fold)
            self._timers.at(now_ns + self._folds.quiet_ns, self, key)
        elif self._folds.is_quiet(key, now_ns):
            keys = self._by_init.get(key[0], set())
            keys.discard(key)
            if not keys:
                self._by_init.pop(key[0], None)
            if ended := self._folds.close(key):
                yield self._tell(ended)
        else:
            self._timers.at(fold.last_ns + self._folds.quiet_ns, self, key)

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """What waits for the listing is told without; a late drop that is not proven is none."""
        for fold in self._folds.close_all():
            if fold.told or not _is_unproven(fold):
                yield self._tell(fold)

    def _tell(self, fold: Fold) -> Finding:
        first = fold.first
        event = first.event
        container = self._containers.of(first)
        init = event.task or Task(0, 0)
        others: list[Task] = []
        listed = False
        if container:
            init = container.known(init)
            others = [m.task for m in container.others() if m.task.key != init.key]
            listed = container.listed_ns >= event.time_ns
        fold.cause = fold.cause or _cause(event, init, others, listed=listed)
        by_shell = fold.cause in ("shell-form", "script-without-exec")
        certain = fold.cause in ("late-drop", "from-inside", "no-handler") or (by_shell and listed)
        fold.told = fold.count
        return finding_on(
            first,
            CODE,
            fold.cause,
            nested=not first.main,
            certainty=Certainty.OBSERVED if certain else Certainty.INFERRED,
            time_ns=fold.last_ns,
            wall_ns=fold.wall_ns,
            subject=init,
            count=fold.count,
            window_s=fold.window_s,
            message=_message(fold, init, others, container),
            evidence=fold.evidence,
            sender_role=role_of(_sent(first, container)),
            advice=for_drop(first, fold.cause),
        )


def _sent(first: Observation, container: Container | None) -> Observation:
    """A delivery says nothing of its sender; the stop signal does."""
    requests = container.stop.requests if container and first.event.kind is Kind.SIGNAL_DELIVER else []
    return next((r for r in reversed(requests) if r.event.signo == first.event.signo), first)


def _is_unproven(fold: Fold) -> bool:
    return fold.first.event.kind is Kind.SIGNAL_DELIVER and not fold.told


def _cause(event: Event, init: Task, others: list[Task], *, listed: bool) -> str:
    """By PID 1's argv; what comes from inside its namespace is by the kernel's design.

    ``listed``: ``others`` is known. If it is not, a shell in front is taken to have a child.
    """
    if event.kind is Kind.SIGNAL_DELIVER and not event.ptraced:
        return "late-drop"
    inside = event.sender is not None and not event.outside
    if event.kind is Kind.SIGNAL_GENERATE and (inside or event.signo == signals.SIGKILL):
        return "from-inside"  # a SIGKILL from outside is never dropped; one of a timer has no sender
    if init.argv is None:
        return "unknown"
    if (others or not listed) and is_shell_form(init.argv):
        return "shell-form"
    if (others or not listed) and script_of(init.argv):
        return "script-without-exec"
    return "no-handler"


def _message(fold: Fold, init: Task, others: list[Task], container: Container | None) -> str:
    event, main = fold.first.event, fold.first.main
    name = signals.name(event.signo)
    again = f" at least {fold.count} times" if fold.count > 1 else ""  # records: the limiter may have kept some
    if fold.cause == "from-inside":
        nested = "" if main else "a nested "
        who = f"{name_of(event.sender)} sent {name}" if event.sender else name
        return (
            f"{who}{again} to {nested}PID 1 ({what_of(init)}) from inside, and the kernel dropped it: from inside even "
            f"SIGKILL cannot end a namespace's init"
        )
    which = "PID 1" if main else "the init of a nested PID namespace"
    if fold.cause == "late-drop":
        return (
            f"the kernel dropped {name}{again} when {which} unblocked it: it had no handler for it by then, and "
            f"default actions don't apply to a namespace's init"
        )
    reason = "default actions don't apply to a namespace's init"
    if not signals.is_fatal(event.signo):
        reason = "the default is to ignore it"
    text = f"the kernel dropped {name}{again}: {which} has no handler for it, and {reason}"
    if not others or container is None or not main:
        return text
    if fold.cause == "shell-form" and init.argv:
        words = shell_command(init.argv).removeprefix("exec ").split()
        wanted = words[0].rsplit("/", 1)[-1] if words else ""
        others = sorted(others, key=lambda t: t.comm != wanted[:15])
    return f"{text}; {among(others)} {'were' if len(others) > 1 else 'was'} never told"
