"""The catalogue of findings: what each code and cause means, how bad it is, how it is mended.

interface.md's table, in code. Detectors take severity and advice from here, `sigtrace explain` the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sigtrace.model.causes import (
    CRASHED,
    ERROR,
    EXEC_FORM,
    HANDLER,
    INFO,
    KILLED,
    REAPER,
    UNANSWERED,
    UNKNOWN,
    WARNING,
    Cause,
    Severity,
    unknown,
)
from sigtrace.model.outcomes import OUTCOMES, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CODES",
    "OUTCOMES",
    "UNKNOWN",
    "Cause",
    "Code",
    "Outcome",
    "Severity",
    "advice",
    "find",
    "meaning",
    "severity",
]


@dataclass(frozen=True, slots=True)
class Code:
    """A finding's code."""

    name: str
    meaning: str
    causes: Mapping[str, Cause]


def _causes(*causes: Cause) -> Mapping[str, Cause]:
    return MappingProxyType({cause.name: cause for cause in causes})


_CODES = (
    Code(
        "signal-dropped",
        "A signal that would have ended the process was dropped by the kernel: an init of a PID namespace (PID 1 of a "
        "container) is spared default actions.",
        _causes(
            Cause(
                "shell-form",
                "PID 1 is `sh -c …`, which stays in front of the program and handles no signals",
                EXEC_FORM,
                ERROR,
            ),
            Cause(
                "script-without-exec",
                "PID 1 is a script that started the program as a child instead of becoming it",
                'exec "$@" (or exec app …) as the last line of the script, or a trap that passes the signal on',
                ERROR,
            ),
            Cause("no-handler", "the program is PID 1 itself and has no handler for the signal", HANDLER, ERROR),
            Cause(
                "late-drop",
                "the signal was blocked at first, and was dropped when PID 1 unblocked it: it had no handler by then",
                "a handler for the signal that is there when it is unblocked (in Node process.on('SIGTERM')), or an "
                "init as PID 1 (tini, docker run --init)",
                ERROR,
            ),
            Cause(
                "from-inside",
                "the same container sent it: from inside not even SIGKILL ends PID 1, and kill(2) returns 0",
                "end PID 1 with a signal that it handles, or stop the container from outside",
                INFO,
            ),
            unknown(ERROR),
        ),
    ),
    Code(
        "signal-ignored",
        "The process ignores the signal (SIG_IGN): the kernel threw it away, as it was told to.",
        _causes(
            Cause(
                "sig-ign",
                "the handler is SIG_IGN, set by the program or inherited through exec (nohup, a shell's trap '')",
                "nothing if it is meant; otherwise reset it to a handler, or set STOPSIGNAL to one that it handles",
                INFO,
            ),
            unknown(INFO),
        ),
    ),
    Code(
        "signal-pending",
        "The signal was queued, and the process has not taken it for too long.",
        _causes(
            Cause(
                "blocked",
                "every thread blocks the signal, and none waits for it (sigwait, signalfd)",
                "unblock it in one thread that handles it; masks are inherited through fork and exec",
                WARNING,
            ),
            Cause("stopped", "the process is stopped (SIGSTOP, Ctrl-Z)", "kill -CONT it", WARNING),
            Cause("frozen", "its cgroup is frozen (docker pause, a checkpoint)", "thaw it (docker unpause)", WARNING),
            Cause("traced", "a debugger or strace holds it", "let the tracer continue or detach", WARNING),
            unknown(WARNING),
        ),
    ),
    Code(
        "signal-not-forwarded",
        "PID 1 got the stop signal, and those who do the work never did.",
        _causes(
            Cause(
                "main-exited-first",
                "PID 1 left at once, and the kernel tore its children down in the middle of their work",
                'exec "$@" in the script, or wait for the children after passing the signal on, or an init (tini -g)',
                WARNING,
            ),
            Cause(
                "main-kept-waiting",
                "PID 1 took the signal and went on waiting for children that knew of nothing",
                'exec "$@" in the script, or kill the children in the trap, or an init that tells all: tini -g',
                WARNING,
            ),
            unknown(WARNING),
        ),
    ),
    Code(
        "stop-unanswered",
        "A stop signal that nothing followed: the process neither left nor was killed.",
        _causes(*(Cause(one.name, one.meaning, one.advice, WARNING) for one in UNANSWERED), unknown(WARNING)),
    ),
    Code("killed", "SIGKILL ended it.", _causes(*KILLED)),
    Code(
        "zombie-unreaped",
        "Processes have exited and nobody waits for them: each keeps its PID, and the container runs out of them.",
        _causes(
            Cause(
                "pid1-does-not-reap",
                "PID 1 inherits orphans and does not wait for them (most programs don't)",
                REAPER,
                WARNING,
            ),
            Cause(
                "parent-never-waits",
                "their parent is alive and does not call wait; an init can't help while it lives",
                "wait in the parent (waitpid on SIGCHLD), or set SIGCHLD to SIG_IGN there",
                WARNING,
            ),
            unknown(WARNING),
        ),
    ),
    Code(
        "crash-masked",
        "Processes crash again and again, and no restart of the container shows it.",
        _causes(
            Cause(
                "supervisor-restarts",
                "a supervisor inside the container replaces each one (gunicorn, nginx, php-fpm, a shell's loop)",
                "mend the crash; let the supervisor give up after some, or watch its workers, so that it shows",
                ERROR,
            ),
            unknown(ERROR),
        ),
    ),
    Code("crashed", "It died of a fault, or failed by itself.", _causes(*CRASHED)),
    Code(
        "events-lost",
        "Events were lost by sigtrace, and it says so: stories may have gaps. Only kernel-missed costs counts, too.",
        _causes(
            Cause(
                "ring-full",
                "the ring between kernel and sigtrace was full: more came than it could read",
                "more CPU for sigtrace: a higher request in its manifest, or less beside it",
                WARNING,
            ),
            Cause(
                "rate-limited",
                "one cgroup (a container, or the host's own processes) made more records than it may; all are counted",
                "find it with sigtrace trace: such a storm is rarely meant",
                WARNING,
            ),
            Cause(
                "queue-full",
                "a stage of sigtrace (an exporter, a terminal) was slower than the events",
                "a faster reader or backend, or filters",
                WARNING,
            ),
            Cause(
                "table-full",
                "a table in the kernel was full; what did not fit is counted as other",
                "fewer containers on the node, or fewer that come and go at once",
                WARNING,
            ),
            Cause(
                "kernel-missed",
                "the kernel skipped a program that was already running on that CPU",
                "nothing, if they are few; other tracers on the node make them more",
                WARNING,
            ),
            unknown(WARNING),
        ),
    ),
)

CODES: Final[Mapping[str, Code]] = MappingProxyType({code.name: code for code in _CODES})


def find(code: str, cause: str) -> Cause:
    """The catalogue's entry of a finding. Raises KeyError for what is not in it."""
    try:
        return CODES[code].causes[cause]
    except KeyError:
        raise KeyError(f"no finding {code}/{cause}") from None


def severity(code: str, cause: str, *, nested: bool = False, pids_share: float | None = None) -> Severity:
    """How bad it is: fixed per code and cause, but for two facts.

    ``nested``: the init is none of a container's but one inside (a browser's sandbox, bwrap), where a dropped signal is
    nobody's fault. ``pids_share``: zombies / pids.max (0 to 1); above half the container is about to run out of PIDs.
    """
    fixed = find(code, cause).severity
    if code == "signal-dropped" and nested:
        return INFO
    if code == "zombie-unreaped" and pids_share is not None and pids_share > 0.5:
        return ERROR
    return fixed


def meaning(code: str, cause: str) -> str:
    """What happened: a clause without a full stop, to follow "… because" or a colon."""
    return find(code, cause).meaning


def advice(code: str, cause: str) -> str:
    """What mends it."""
    return find(code, cause).advice
