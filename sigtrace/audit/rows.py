"""What an audit says of a container. Its words are a contract with scripts (docs/audit.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Task
from sigtrace.model.workload import Workload


class WouldBe(StrEnum):
    """What becomes of the signal."""

    HANDLED = "handled"
    TAKEN = "taken"
    DEFAULT = "default"
    DROPPED = "dropped"
    IGNORED = "ignored"
    PENDING = "pending"
    UNKNOWN = "unknown"


class Reaps(StrEnum):
    """Whether PID 1 waits for the orphans that it inherits."""

    YES = "yes"
    NO = "no"
    PERHAPS = "perhaps"
    UNKNOWN = "unknown"


class SignalSource(StrEnum):
    """Why it is this stop signal."""

    ASKED = "asked"
    CONFIGURED = "configured"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What would become of a signal, and why."""

    would_be: WouldBe
    cause: str


@dataclass(frozen=True, slots=True)
class Debt:
    """Zombies that one parent does not wait for."""

    parent: Task | None
    """None: it was not among the processes that were seen"""
    count: int
    names: tuple[str, ...]
    """comms of the zombies, the most frequent first; three at most"""


@dataclass(frozen=True, slots=True)
class Audit:
    """One running container."""

    event: Event
    """the TASK event of its main process, at the last look"""
    main: Task
    workload: Workload
    signo: int
    signal_source: SignalSource
    would_be: WouldBe
    cause: str
    why: str
    """a clause; empty where there is nothing to say"""
    shell: str | None
    """shell-form or script, if the main process is a shell with something to run"""
    children: tuple[Task, ...]
    """of the main process"""
    unheard: tuple[Task, ...]
    """children of a shell that would never hear of the signal"""
    reaps: Reaps
    zombies: tuple[Debt, ...]
    severity: Severity | None
    """of the worst that was found; None: nothing was"""
    advice: tuple[str, ...]

    @property
    def is_init(self) -> bool:
        """Whether the main process is PID 1 of a namespace, which is spared default actions."""
        return self.event.ns_init

    @property
    def zombie_count(self) -> int:
        """All of the container's."""
        return sum(debt.count for debt in self.zombies)
