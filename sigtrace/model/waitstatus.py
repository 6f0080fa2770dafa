"""Wait statuses, as wait(2) and ``task->exit_code`` hold them.

Low 7 bits: the signal, or 0; bit 7: a core was dumped (not part of the signal's number); bits 8-15: the exit code.
"""

from __future__ import annotations

from dataclasses import dataclass

from sigtrace.model import signals

_CORE_FLAG = 0x80


@dataclass(frozen=True, slots=True)
class WaitStatus:
    """How a process ended."""

    raw: int

    @property
    def signal(self) -> int | None:
        """The signal that ended it, or None."""
        return self.raw & 0x7F or None

    @property
    def exit_code(self) -> int | None:
        """The code it exited with, or None if a signal ended it."""
        return None if self.signal else self.raw >> 8 & 0xFF

    @property
    def core_dumped(self) -> bool:
        """Whether the kernel wrote a core."""
        return bool(self.signal and self.raw & _CORE_FLAG)

    @property
    def code(self) -> int:
        """One number as shells and runtimes print it: the exit code, or 128 + the signal."""
        return 128 + self.signal if self.signal else self.raw >> 8 & 0xFF

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit {self.code}"
        core = ", core dumped" if self.core_dumped else ""
        return f"exit {self.code} = 128 + {signals.name(self.signal)}{core}"

    def as_record(self) -> dict[str, int | str]:
        """``{"exited": n}`` or ``{"signaled": name}``."""
        if self.signal is None:
            return {"exited": self.code}
        return {"signaled": signals.name(self.signal)}
