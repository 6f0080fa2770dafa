"""What the screens are fed by, wherever it comes from: an agent, a capture of our own, a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sigtrace.audit.rows import Audit
from sigtrace.model.finding import Verdict
from sigtrace.model.overview import Row, Snapshot


@dataclass(frozen=True, slots=True)
class Process:
    """A process in a container, as /proc shows it. Text is printable."""

    pid: int
    ns_pid: int
    parent_pid: int
    state: str
    """one letter: R S D Z T t I"""
    comm: str
    argv: tuple[str, ...] = ()
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Inside:
    """What is looked up when a container is opened."""

    audit: Audit | None = None
    processes: tuple[Process, ...] = ()
    note: str = ""
    """why there is no more of it"""


class Player(Protocol):
    """A recording that is played: the clock of the screens."""

    speed: float
    """seconds of the recording a second"""
    paused: bool

    def seek(self, seconds: float) -> None:
        """So much on, or back."""

    @property
    def place(self) -> tuple[float, float | None]:
        """Seconds since the beginning, and of how many; None: not read to its end yet."""


class Feed(Protocol):
    """Where data come from. ``newest`` and ``state`` never wait; the others may, and are called in a thread."""

    player: Player | None

    @property
    def failure(self) -> BaseException | None:
        """What ended it for good."""

    def newest(self) -> Snapshot | None:
        """The newest snapshot; the same object as before if there is none newer."""

    @property
    def state(self) -> str:
        """Why nothing new comes; empty: all is well."""

    def verdicts(self) -> list[Verdict]:
        """The last ones in full, the oldest first. Raises SigtraceError."""

    def inside(self, row: Row) -> Inside:
        """What is in a container now. Raises SigtraceError."""
