"""The outcomes of a shutdown: how a container's main process ended, and why."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sigtrace.model.causes import CRASHED, ERROR, KILLED, MEMORY, UNANSWERED, UNKNOWN, WARNING, Reason, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a container's main process ended. ``causes`` may be empty or, where ``may_be_null``, may not apply."""

    name: str
    meaning: str
    causes: Mapping[str, Reason]
    may_be_null: bool = False


def _reasons(*reasons: Reason) -> Mapping[str, Reason]:
    """Of an outcome, by name; a finding's causes lose their severity here, for an outcome has none."""
    return MappingProxyType({one.name: Reason(one.name, one.meaning, one.advice) for one in reasons})


#: Of an end that is no trouble.
UNHEARD: Final = Reason(
    UNKNOWN,
    "whether it was asked to end is not known: ptrace sees no signal that is taken by sigwait or from a signalfd",
    "nothing, or the backend bpf, which sees all",
)

_OUTCOMES = (
    Outcome(
        "oom",
        "The OOM killer took the main process.",
        _reasons(
            Reason("main-process", "the OOM killer chose the main process itself", MEMORY),
            Reason(
                "group",
                "memory.oom.group is set, so that one process over the limit took all of the container with it",
                MEMORY + "; the first victim is named",
            ),
            Reason(
                "relayed",
                "the OOM killer took a child, and the main process passed its end on (137) by itself",
                MEMORY + " of the child",
            ),
            unknown(ERROR),
        ),
    ),
    Outcome("crashed", "The main process died of a fault, or failed by itself.", _reasons(*CRASHED)),
    Outcome(
        "escalated",
        "The main process was asked to stop, and SIGKILL had to end it.",
        _reasons(*UNANSWERED, unknown(WARNING)),
    ),
    Outcome("killed", "SIGKILL, with no stop signal before it.", _reasons(*KILLED)),
    Outcome(
        "incomplete",
        "The main process left in time; others that were still at work were torn down with it.",
        _reasons(
            Reason(
                "main-exited-first",
                "the end of PID 1 is the end of its PID namespace: the kernel sends SIGKILL to all that are left",
                "wait for the children before PID 1 leaves, or an init that passes the signal to all (tini -g)",
            ),
            unknown(WARNING),
        ),
    ),
    Outcome(
        "terminated",
        "It left in time, but by the default action of the signal: nothing was cleaned up.",
        _reasons(
            Reason(
                "no-handler",
                "the program has no handler for the stop signal (as a plain program under tini)",
                "a handler for the stop signal, if there is something to finish, flush or hand over",
            ),
            unknown(WARNING),
        ),
    ),
    Outcome(
        "graceful",
        "It left in time, and what got the stop signal handled it (also if it then ended with 143).",
        _reasons(Reason("pre-stop", "a preStop command ended it, before any stop signal", "nothing to mend"), UNHEARD),
        may_be_null=True,
    ),
    Outcome(
        "exited",
        "It ended by itself with status 0, and nobody had asked: jobs, init containers.",
        _reasons(UNHEARD),
        may_be_null=True,
    ),
)

OUTCOMES: Final[Mapping[str, Outcome]] = MappingProxyType({outcome.name: outcome for outcome in _OUTCOMES})
