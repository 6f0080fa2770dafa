"""What the lab really did to a container."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sigtrace.model.waitstatus import WaitStatus


@dataclass(frozen=True, slots=True)
class Sent:
    """A signal that PID 1 was sent."""

    signo: int
    time_ns: int
    """CLOCK_BOOTTIME ns, just before kill"""
    sender: str = ""
    """comm of the process on the host that sent it; empty: the lab itself"""


@dataclass(frozen=True, slots=True)
class Stop:
    """What a stop really did."""

    signals: tuple[Sent, ...]
    """empty if PID 1 had left by itself"""
    exited_ns: int
    """CLOCK_BOOTTIME ns when the lab saw PID 1 dead and its namespace empty"""
    wait_status: WaitStatus
    """of PID 1"""

    @property
    def killed(self) -> bool:
        """Whether SIGKILL had to end it."""
        return any(sent.signo == signal.SIGKILL for sent in self.signals)

    @property
    def duration_s(self) -> float:
        """Seconds from the first signal to the exit; 0 without a signal."""
        return (self.exited_ns - self.signals[0].time_ns) / 1e9 if self.signals else 0.0
