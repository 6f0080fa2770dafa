"""Why a prediction is what it is, in a clause; how bad that is, and what mends it."""

from __future__ import annotations

from typing import Final

from sigtrace.audit.predict import waited
from sigtrace.audit.rows import Debt, Prediction, SignalSource, WouldBe
from sigtrace.model import causes, codes, signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Task
from sigtrace.model.workload import Workload

_TRAP: Final = "exec the program, or let the script start it in the background, `wait` and pass the signal on"
_CODES: Final = {
    WouldBe.DROPPED: ("signal-dropped", ("no-handler", "shell-form", "script-without-exec")),
    WouldBe.PENDING: ("signal-pending", ("blocked", "stopped", "frozen")),
}
#: Of what the catalogue of findings does not rate, or rates for signals in general: this one is to end a container.
_RATED: Final[dict[tuple[WouldBe, str], tuple[Severity, str]]] = {
    (WouldBe.IGNORED, "sig-ign"): (Severity.WARNING, codes.advice("signal-ignored", "sig-ign")),
    (WouldBe.IGNORED, "ignored-by-default"): (Severity.WARNING, causes.HANDLER),
    (WouldBe.HANDLED, "shell-trap"): (Severity.INFO, _TRAP),
    (WouldBe.HANDLED, "raises-again"): (
        Severity.INFO,
        "process.on('SIGTERM', …) in the program, or an init as PID 1 (tini, docker run --init)",
    ),
    (WouldBe.DEFAULT, "default-action"): (Severity.INFO, "a handler, if something has to be cleaned up"),
    (WouldBe.DEFAULT, "uncatchable"): (Severity.INFO, "a stop signal that the program can handle"),
    (WouldBe.UNKNOWN, "not-seen"): (Severity.INFO, "run it again"),
    (WouldBe.UNKNOWN, "exiting"): (Severity.INFO, "run it again"),
    (WouldBe.UNKNOWN, "traced"): (Severity.INFO, "detach the tracer, and run it again"),
    (WouldBe.UNKNOWN, "threads"): (Severity.INFO, "block it in every thread before the first is started"),
    (WouldBe.UNKNOWN, "another-thread"): (Severity.INFO, "block it in every thread and wait for it, or a handler"),
    (WouldBe.UNKNOWN, "frozen"): (Severity.INFO, "thaw it, and run it again"),
} | {
    (would_be, cause): (codes.severity(code, cause), codes.advice(code, cause))
    for would_be, (code, its_causes) in _CODES.items()
    for cause in its_causes
}


def judge(
    prediction: Prediction, zombies: tuple[Debt, ...], workload: Workload, main: Task
) -> tuple[Severity | None, tuple[str, ...]]:
    """The worst severity, None if all is well, and what mends each fault."""
    rated = _RATED.get((prediction.would_be, prediction.cause))
    severity, advice = rated or (None, "")
    mends = [advice] if advice else []
    for debt in zombies:
        cause = "pid1-does-not-reap" if _is_init(debt.parent, main) else "parent-never-waits"
        share = debt.count / workload.pids_max if workload.pids_max else None
        worst = codes.severity("zombie-unreaped", cause, pids_share=share)
        severity = worst if severity is None else max(severity, worst)
        mends.append(codes.advice("zombie-unreaped", cause))
    return severity, tuple(dict.fromkeys(mends))


def _is_init(parent: Task | None, main: Task) -> bool:
    return parent is not None and parent.ns_pid == 1 and (parent.key == main.key or parent.pidns == main.pidns)


def why(prediction: Prediction, event: Event, signo: int, source: SignalSource, children: tuple[Task, ...]) -> str:
    """A clause without a full stop; empty where the verdict says it all."""
    name = signals.name(signo)
    clause = _CLAUSES.get(prediction.cause, "").format(
        signal=name,
        who="PID 1" if event.ns_init else "the main process",
        program=event.task.comm if event.task else "the shell",
        child=_among(children),
        later=_later(event, signo),
    )
    if prediction.cause in ("shell-form", "script-without-exec") and children:
        verb = "is its child" if len(children) == 1 else "are its children"
        clause += f"; {_among(children)} {verb} and would never hear of it"
    if source is SignalSource.CONFIGURED:
        clause += f"{'; ' if clause else ''}{name} is the container's own stop signal"
    return clause


_CLAUSES: Final = {
    "shell-form": "shell form: {program} is PID 1 and has no handler for it",
    "script-without-exec": "a script is PID 1 and has no trap for it",
    "no-handler": "PID 1 without a handler",
    "shell-trap": "a trap of the shell: in `wait` it runs at once, but only after {child} has ended if that is in the "
    "foreground; from outside these look alike",
    "raises-again": "{program} catches {signal} itself only to raise it again, which PID 1 is spared; whether the "
    "program has a handler of its own does not show from outside",
    "sigwait": "a thread waits for it (sigwait)",
    "signalfd": "it is read from a signalfd",
    "default-action": "{who} is no PID 1 of a namespace: the default action ends it, and nothing is cleaned up",
    "another-thread": "the first thread blocks it, another does not: the kernel ends even PID 1 by its default action, "
    "or drops it there; builds differ",
    "uncatchable": "nothing can handle it: nothing is cleaned up",
    "sig-ign": "SIG_IGN, by choice or inherited from who started it",
    "ignored-by-default": "it has no handler, and by default {signal} does nothing",
    "blocked": "every thread blocks it and none waits for it; {later}",
    "stopped": "{who} is stopped: {later}",
    "frozen": "it is frozen: {later}",
    "threads": "one thread waits for it and another does not block it: either may get it",
    "traced": "a tracer holds {who}, and what comes of a signal is up to it",
    "not-seen": "its signal masks could not be read",
    "exiting": "{who} is ending already",
}


def _later(event: Event, signo: int) -> str:
    """What follows once nothing holds the signal back any more."""
    masks = event.masks
    when = "after SIGCONT" if event.stopped else "after the thaw" if event.frozen else "should that change"
    if masks is None:
        return f"{when} it shows"
    if signals.in_mask(masks.caught, signo):
        return f"{when} its handler runs"
    if signals.in_mask(waited(masks) | masks.signalfd, signo):
        return f"{when} it is taken"
    if signals.in_mask(masks.ignored, signo):
        return f"{when} it is ignored"
    return f"{when} it is dropped, for want of a handler" if event.ns_init else f"{when} it ends the process"


def _among(children: tuple[Task, ...]) -> str:
    """``gunicorn``, ``gunicorn and 2 more``."""
    if not children:
        return "a child"
    return children[0].comm + (f" and {len(children) - 1} more" if len(children) > 1 else "")
