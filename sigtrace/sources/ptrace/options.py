"""What the ptrace source is to tell, and how much it may trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sigtrace.sources.ptrace.wire import SETTINGS

#: What programs, runtimes and terminals send all day: SIGCHLD, SIGURG.
_CHURN: Final = 1 << 16 | 1 << 22
#: SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGRTMIN+3.
STOP_SIGNALS: Final = sum(1 << (signo - 1) for signo in (1, 2, 3, 15, 37))

MAX_TRACEES: Final = 500


@dataclass(frozen=True, slots=True)
class PtraceOptions:
    """As :class:`sigtrace.sources.options.BpfOptions`, as far as ptrace can do it."""

    signal_mask: int = (1 << 64) - 1
    """tell only these signals"""
    tell_all: bool = False
    """tell every signal and exit, without a limit"""
    follow: tuple[int, ...] = ()
    """trace only these processes (tgid)"""
    children: bool = False
    """and their descendants"""
    whole: bool = False
    """trace all processes of containers, not only their main processes"""
    max_tracees: int = MAX_TRACEES
    """processes traced at once, inits first: each signal to one of them costs it two context switches"""
    below: int = 0
    """trace only descendants of this process; 0: whoever is in a container"""
    zombie_after_s: float = 10.0
    """a process that nobody has waited for in so long is told as a zombie"""
    interval_s: float = 0.25
    """how often /proc is looked at where the kernel tells of no process"""
    signals_per_s: int = 50
    """signals that are told of one process in the long run"""
    proc_events: bool = True
    """ask the kernel for forks, execs and exits (the proc connector), where it tells"""

    @property
    def unlimited(self) -> bool:
        """Whether somebody asked for these processes, or for everything."""
        return self.tell_all or bool(self.follow)

    def settings(self) -> bytes:
        """For the tracer."""
        everything = self.unlimited
        tell = self.signal_mask if everything else self.signal_mask & ~_CHURN
        rate = 0 if everything else self.signals_per_s
        return SETTINGS.pack(
            tell & (1 << 64) - 1, STOP_SIGNALS, max(1, self.max_tracees), rate, everything and tell == (1 << 64) - 1
        )
