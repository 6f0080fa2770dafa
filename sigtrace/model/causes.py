"""Severities, and the causes that findings and shutdown outcomes share.

The names are a contract with scripts and dashboards: extend them, don't rename them. A meaning is a plain clause about
what happened, an advice names the fix and stands alone behind the word "fix".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

UNKNOWN: Final = "unknown"


class Severity(IntEnum):
    """How bad a finding is; ordered, so that a threshold is a comparison."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """As records and ``--fail-on`` say it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Severity:
        """``"warning"`` → WARNING. Raises ValueError for what is none."""
        try:
            return cls[word.upper()]
        except KeyError:
            raise ValueError(f"{word!r} is not a severity") from None


INFO, WARNING, ERROR = Severity


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause of an outcome, and what to do about it."""

    name: str
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Cause(Reason):
    """A cause of a finding; its severity is fixed."""

    severity: Severity


EXEC_FORM = (
    'exec form (ENTRYPOINT ["app", "arg"]), or `exec app …` in the shell, or an init that tells all of them: '
    "dumb-init, tini -g (plain tini and --init tell the shell alone)"
)
HANDLER = "a handler for the stop signal, or an init as PID 1 (tini, docker run --init, shareProcessNamespace: true)"
LONGER_GRACE = "a longer terminationGracePeriodSeconds (docker stop -t), or less to do after the stop signal"
LOOK = "look at the evidence, and at the logs of container and runtime at that time"
REAPER = "an init that reaps (tini, --init), or shareProcessNamespace: true, or wait for children in PID 1"
MEMORY = "a higher memory limit, or less memory: look at the limit and at the peak (memory.peak)"
OWN_LOG = "the program's own log and core dump; if it recurs, its backtrace"
OWN_STATUS = "the program's own log: it chose this status (a shell's 126: not executable, 127: not found)"

# What may keep a stop signal from ending a container: causes of the outcome `escalated` and of `stop-unanswered`.
UNANSWERED = (
    Reason(
        "dropped",
        "the kernel dropped the stop signal: PID 1 has no handler, and a namespace's init is spared default actions",
        EXEC_FORM + "; if the program itself is PID 1: " + HANDLER,
    ),
    Reason(
        "ignored",
        "the main process ignores the stop signal (SIG_IGN), by choice or by inheritance from its parent",
        "don't ignore it, reset it before exec, or set STOPSIGNAL to a signal that the program handles",
    ),
    Reason(
        "pending",
        "the stop signal was still pending: the main process blocks it, or is stopped, frozen or traced",
        "unblock it in a thread that handles it; resume, thaw or detach the process",
    ),
    Reason(
        "not-forwarded",
        "PID 1 took the stop signal and waited for its children, but never passed it on to them",
        'exec "$@" in the script, or kill the children in the trap, or an init that tells all: tini -g',
    ),
    Reason("slow", "it handled the stop signal but had not finished when the grace period was over", LONGER_GRACE),
    Reason(
        "grace-shortened",
        "SIGKILL came before the configured grace period was over: --grace-period, eviction, node shutdown, a probe",
        "don't shorten it, or finish within what eviction and node shutdown leave",
    ),
    Reason(
        "pre-stop-overran",
        "the preStop hook used up the grace period, so that little was left for the stop signal",
        "a shorter preStop hook, or a longer terminationGracePeriodSeconds: the hook's time counts against it",
    ),
)

KILLED = (
    Cause(
        "oom", "the OOM killer chose it: it or its cgroup was over a memory limit, or the node was full", MEMORY, ERROR
    ),
    Cause(
        "grace-expired",
        "it was asked to stop, and its grace period ran out",
        LONGER_GRACE + "; see why it did not stop",
        ERROR,
    ),
    Cause(
        "pre-stop-overran",
        "the preStop hook used up the grace period before a stop signal was sent",
        "a shorter preStop hook, or a longer terminationGracePeriodSeconds: the hook's time counts against it",
        WARNING,
    ),
    Cause(
        "grace-shortened",
        "SIGKILL came before the configured grace period was over: --grace-period, eviction, node shutdown, a probe",
        "don't shorten it, or finish within what eviction and node shutdown leave",
        WARNING,
    ),
    Cause(
        "exec-timeout",
        "a process of kubectl exec or an exec probe ran past its timeout, and the runtime killed it",
        "a longer timeoutSeconds of the probe, or a faster command",
        WARNING,
    ),
    Cause(
        "no-stop-signal",
        "the runtime sent SIGKILL with no stop signal before it (docker kill, docker rm -f, ctr kill -9), or its "
        "STOPSIGNAL is SIGKILL",
        "stop it (docker stop, kubectl delete) instead of killing it, by a STOPSIGNAL that it handles, so that it can "
        "clean up",
        WARNING,
    ),
    Cause(
        "unit-stop",
        "systemd killed all of the unit's cgroup, as when its service was stopped",
        "stop containers through their runtime first; look at KillMode and TimeoutStopSec of the unit",
        WARNING,
    ),
    Cause(
        "by-parent",
        "its own parent killed it, as a supervisor does with a worker that hangs; not the OOM killer",
        "look at why the worker hung; the supervisor's timeout (gunicorn --timeout) decides when",
        WARNING,
    ),
    Cause(
        "by-child",
        "one of its own children killed it",
        "look at what the child runs: who sends is in the evidence",
        WARNING,
    ),
    Cause(
        "by-peer",
        "another process of the same container killed it",
        "look at what that process runs: a script with kill -9, pkill or killall?",
        WARNING,
    ),
    Cause(
        "manual",
        "somebody's shell or tool on the node sent SIGKILL (a heuristic: its ancestry is no runtime)",
        "ask who; send SIGTERM first",
        WARNING,
    ),
    Cause(UNKNOWN, "SIGKILL ended it, and who sent it could not be seen", LOOK, WARNING),
)

CRASHED = (
    Cause("fatal-signal", "a fault of its own ended it (SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, …)", OWN_LOG, ERROR),
    Cause(
        "abort-as-pid1",
        "it called abort() as PID 1: SIGABRT is dropped there, so a fault ends it: 139 (arm64: 133), not 134",
        "read 139 as an abort: look for an assertion or an uncaught exception, not for a bad pointer",
        ERROR,
    ),
    Cause("exit-status", "it ended by itself with a status other than 0, and nobody had asked", OWN_STATUS, ERROR),
    Cause(
        "relayed",
        "it passed on the end of a child: it exited 128+n by itself after the child had died of signal n",
        "look at the child: it is the origin",
        ERROR,
    ),
    Cause(UNKNOWN, "it failed, and why could not be seen", OWN_LOG, ERROR),
)


def unknown(severity: Severity) -> Cause:
    """The last cause of each list."""
    return Cause(UNKNOWN, "the reason could not be seen", LOOK, severity)
