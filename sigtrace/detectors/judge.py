"""How a container's main process ended, and why (interface: outcomes, the first row that fits)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sigtrace.detectors.container import Container
from sigtrace.detectors.dropped import is_late_drop, is_lost
from sigtrace.detectors.entered import PreStop, hook_before, hook_that_stopped
from sigtrace.detectors.forwarding import left_untold
from sigtrace.detectors.killers import cause_of_kill
from sigtrace.detectors.pending import why_pending
from sigtrace.detectors.shell import SHELLS
from sigtrace.detectors.stop import is_sent_otherwise
from sigtrace.model import codes, signals
from sigtrace.model.event import Disposition, Event, Task
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation

#: A process that passes on the end of a child does so at once; a loaded machine is slow.
_RELAY_NS: Final = 2_000_000_000
_ANSWER_NS: Final = 1_000_000_000
#: Go's runtime has done nothing else meanwhile; a loaded machine is slow.
_RAISED_NS: Final = 100_000_000
_ASKED_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """The row of the table."""

    outcome: str
    cause: str | None
    request: Observation | None = None
    """the stop signal that counts"""
    hook: PreStop | None = None
    origin: Task | None = None
    """whose end it passed on"""


def is_own_doing(sent: Observation | None, task: Task, signo: int) -> bool:
    """Whether a process died of this signal by a fault or by abort(): nobody else had sent it."""
    if sent is None or sent.event.signo != signo or sent.event.sender is None:
        return True
    return sent.event.sender.key == task.key


def judge(container: Container, exit_: Observation) -> Judgement:
    """By what is known when the main process has exited; ``incomplete`` is decided by its teardown alone."""
    event, stop = exit_.event, container.stop
    status = event.wait_status or WaitStatus(0)
    request = stop.request(event.time_ns)
    ended_ns = stop.kill.event.time_ns if stop.kill else event.time_ns
    hook = hook_before(container, request.event, ended_ns) if request else None
    if status.signal == signals.SIGKILL:
        return _killed(container, request, hook)
    if status.signal:
        return _died(container, exit_, status.signal, request, hook)
    if request and is_sent_otherwise(request) and not _followed(event, status, request):
        request = hook = None  # a thread dump was asked for; the end is another matter
    relayed = _relayed(container, event, status)
    if status.code == 128 + signals.SIGKILL and (victim := _victim(container, event)):
        return Judgement("oom", "relayed", request, hook, victim)
    if request and _raised_by_runtime(container, event, status, request):
        return Judgement("terminated", "no-handler", request, hook)
    if request and _accepted(container, request):
        if relayed and _by_default(container, relayed, request):
            return Judgement("terminated", "no-handler", request, hook, relayed.event.task)
        return Judgement("graceful", None, request, hook)
    stopper = hook_that_stopped(container, event.time_ns) if request is None else None
    asked = _asked(container, event, status) if request is None else None
    if asked and not (stopper and status.code != 128 + asked.event.signo):
        if relayed and _by_default(container, relayed, asked):
            return Judgement("terminated", "no-handler", asked, hook, relayed.event.task)
        return Judgement("graceful", None, asked, hook)
    if stopper and (status.code == 0 or _was_asked_inside(container)):
        return Judgement("graceful", "pre-stop", None, stopper)
    if request is None and event.unheard:
        return _unheard(status, relayed)
    if status.code == 0:
        return Judgement("exited", None, request, hook)
    if relayed:
        return Judgement("crashed", "relayed", request, hook, relayed.event.task)
    return Judgement("crashed", "exit-status", request, hook)


def _unheard(status: WaitStatus, relayed: Observation | None) -> Judgement:
    """Whether it was asked is not known: its status alone may tell that it was."""
    asked = status.code - 128 in signals.STOP_SIGNALS
    if asked and relayed:
        return Judgement("terminated", codes.UNKNOWN, origin=relayed.event.task)
    if asked:
        return Judgement("graceful", codes.UNKNOWN)
    return Judgement("crashed" if status.code else "exited", codes.UNKNOWN)


def _killed(container: Container, request: Observation | None, hook: PreStop | None) -> Judgement:
    stop = container.stop
    if stop.oom:
        victims = {m.event.task.key for m in container.ooms_with(stop.oom) if m.event.task}
        group = stop.oom.event.oom_group and len(victims) > 1
        return Judgement("oom", "group" if group else "main-process", request, hook)
    if stop.kill is None:
        return Judgement("killed", codes.UNKNOWN, request, hook)
    if request is None:
        return Judgement("killed", cause_of_kill(container, stop.kill).cause)
    return Judgement("escalated", why_unanswered(container, request), request, hook)


def _died(
    container: Container, exit_: Observation, signo: int, request: Observation | None, hook: PreStop | None
) -> Judgement:
    """Of another signal than SIGKILL."""
    event, stop = exit_.event, container.stop
    task = event.task or Task(0, 0)
    if signals.is_fault(signo) and is_own_doing(stop.last, task, signo):
        return Judgement("crashed", "abort-as-pid1" if _aborted(container, event) else "fatal-signal", request, hook)
    if request is None or request.event.signo != signo:
        if (
            stop.last is None
            or stop.last.event.signo != signo
            or (stop.last.event.sender is None and signals.is_fault(signo))
        ):
            return Judgement("crashed", "fatal-signal", request, hook)
        request = stop.last  # an unusual one to stop with, but somebody sent it and it did
    if request.event.disposition is Disposition.HANDLER:
        return Judgement("graceful", None, request, hook)  # handled, then raised again
    return Judgement("terminated", "no-handler", request, hook)


def _followed(exit_: Event, status: WaitStatus, request: Observation) -> bool:
    """Whether the end is an answer to a signal that people also send for something else."""
    soon = exit_.time_ns - request.event.time_ns <= _ANSWER_NS
    return soon or status.code in (0, 128 + request.event.signo)


def _asked(container: Container, exit_: Event, status: WaitStatus) -> Observation | None:
    """A signal from a terminal, or from inside (kubectl exec … kill 1), that the main process took and ended by.

    It passed that on as 128 + n; or it was SIGTERM, which a command that had entered sent just before.
    """
    last, sent = container.stop.last, container.from_entry
    if sent and not sent.main and _is_passed_on(container, exit_, status, sent):
        return sent
    if last is None or exit_.time_ns - last.event.time_ns > _ASKED_NS:
        return None
    event = last.event
    if status.code != 128 + event.signo:
        late = exit_.time_ns - event.time_ns > _ANSWER_NS
        if late or last is not container.from_entry or is_sent_otherwise(last):
            return None
    return last if event.disposition is Disposition.HANDLER or event.waited or event.blocked else None


def _is_passed_on(container: Container, exit_: Event, status: WaitStatus, sent: Observation) -> bool:
    """Whether an init or a shell tells as its own the end of the process behind it that this signal had asked."""
    asked = sent.event.task
    if asked is None or status.code != 128 + sent.event.signo:
        return False
    ends = [death.event for death in container.deaths if death.event.task and death.event.task.key == asked.key]
    return any(
        e.wait_status and e.wait_status.code == status.code and exit_.time_ns - e.time_ns <= _RELAY_NS for e in ends
    )


def _raised_by_runtime(container: Container, exit_: Event, status: WaitStatus, request: Observation) -> bool:
    """A Go program that asked for no signals: its runtime has a handler for each, which only raises it again.

    At a PID 1 the kernel drops that, and the runtime exits with 2 (runtime/signal_unix.go: dieFromSignal).
    """
    raised = container.raised
    if status.code != 2 or raised is None or raised.event.signo != request.event.signo:
        return False
    if raised.event.time_ns < request.event.time_ns:
        return False
    return exit_.time_ns - request.event.time_ns <= _RAISED_NS


def _victim(container: Container, exit_: Event) -> Task | None:
    """The child that the OOM killer took and whose end a main process passes on, be it after some cleaning up."""
    for mark in reversed(container.ooms):
        if not mark.main and 0 <= exit_.time_ns - mark.event.time_ns <= _ASKED_NS:
            return mark.event.task
    return None


def _was_asked_inside(container: Container) -> bool:
    """Whether a command from outside sent the main process itself a signal that it handles."""
    last = container.from_entry
    return last is not None and last.main and last.event.disposition is Disposition.HANDLER


def _aborted(container: Container, exit_: Event) -> bool:
    """abort() in PID 1: its SIGABRTs are dropped, then glibc executes an instruction that faults."""
    return container.main_is_init and any(
        sent.time_ns <= exit_.time_ns and exit_.time_ns - sent.time_ns <= _RELAY_NS for sent in container.aborts
    )


def _accepted(container: Container, request: Observation) -> bool:
    """Whether the stop signal was handled or taken."""
    if is_lost(request) or request.event.disposition is Disposition.IGNORE:
        return False
    if container.stop.delivered(request):
        return True
    if _dropped_late(container, request):
        return False
    # What was blocked and is not seen to pend was taken: nothing else became of it, for the process ended by itself.
    may_take = request.event.disposition is Disposition.HANDLER or request.event.blocked
    return bool(may_take) and container.stop.pends(request) is not True


def _dropped_late(container: Container, request: Observation) -> bool:
    """Be it after it was handled: who handles it may then raise it again to end by it."""
    event = request.event
    return any(
        is_late_drop(d) and d.signo == event.signo and d.time_ns >= event.time_ns for d in container.stop.deliveries
    )


def _relayed(container: Container, exit_: Event, status: WaitStatus) -> Observation | None:
    """The child whose end by a signal the main process passed on as 128 + n."""
    for death in reversed(container.deaths):
        ended = death.event.wait_status
        if exit_.time_ns - death.event.time_ns > _RELAY_NS or ended is None:
            break
        if status.code > 128 and (ended.signal or 0) + 128 == status.code:
            return death
    return None


def _by_default(container: Container, death: Observation, request: Observation) -> bool:
    """A forwarder's child that died of the very stop signal, without a handler."""
    status, task = death.event.wait_status, death.event.task
    if status is None or task is None or status.signal != request.event.signo:
        return False
    if task.comm in SHELLS and any(container.handled.values()):
        return False  # a shell in front (dumb-init sh -c …, tini -g): what it ran had heard it, too
    return container.handled.get(task.key) is not True


def why_unanswered(container: Container, request: Observation) -> str:
    """Why a stop signal did not end the main process before a SIGKILL, or at all."""
    event, stop = request.event, container.stop
    if is_lost(request):
        return "dropped"
    raised = container.raised
    if raised and raised.event.signo == event.signo and raised.event.time_ns >= event.time_ns:
        return "dropped"  # it handled it, and then wanted to end by it
    if event.disposition is Disposition.IGNORE:
        return "ignored"
    if _dropped_late(container, request):
        return "dropped"
    if not stop.delivered(request):
        if why_pending(event) and stop.pends(request) is not False:
            return "pending"
        if event.disposition is not Disposition.HANDLER:
            return codes.UNKNOWN
    if stop.kill:
        reason = cause_of_kill(container, stop.kill).cause
        if reason in ("grace-shortened", "pre-stop-overran"):
            return reason
        return "not-forwarded" if container.kept_waiting else "slow"
    return "not-forwarded" if left_untold(container, request) else "slow"
