"""What the BPF source is to tell, and how much room it gets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from sigtrace.model.hierarchy import Hierarchy
from sigtrace.sources import wire
from sigtrace.sources.spares import has_spares

_SECOND: Final = 1_000_000_000
#: How long a stop signal, and the exit of a container's init, mark its PID namespace as stopping.
_STOPPING_NS: Final = 600 * _SECOND
_TORN_DOWN_NS: Final = 5 * _SECOND


@dataclass(frozen=True, slots=True)
class BpfOptions:
    """What to tell and how much room to give it."""

    signal_mask: int = (1 << 64) - 1
    """tell only these signals; all are counted"""
    tell_all: bool = False
    """tell every signal, exit, exec and reap, without a limit"""
    follow: tuple[int, ...] = ()
    """tell only of these processes (tgid)"""
    children: bool = False
    """and of their descendants"""
    filtered: bool = False
    """leave out what concerns nobody but cgroups that turn out to be unwanted (``BpfSource.unwanted``)"""
    max_tracees: int = 500
    """of ptrace: so many processes are traced at once, inits first"""
    whole: bool = False
    """of ptrace: trace all processes of containers, not only their main processes"""
    signalfds: bool = False
    """say in the first listing who reads signals from a descriptor"""
    pin: str | None = None
    """a folder in a bpffs: what is loaded is pinned there and goes on when we end, and what is there is taken over"""
    events_bytes: int = 4 << 20
    lives_bytes: int = 2 << 20
    """room for 3,158 records: six cgroups can burst before the reader comes"""
    zombie_after_s: float = 10.0
    """a process that nobody has waited for in so long is told as a zombie"""
    counts: int = 16384
    """keys of the counting table"""
    events_per_s: int = 50
    """records a cgroup may make in the long run"""
    lives_per_s: int = 500
    """the same of the life-cycle ring: stop signals from outside, and again ends"""
    burst: int = 500
    """and so many in advance, of each kind"""

    def constants(self, hierarchy: Hierarchy | None) -> bytes:
        """Struct config of bpf/include/wire.h."""
        unlimited = self.tell_all or bool(self.follow) or self.children
        event, life = _SECOND // self.events_per_s, _SECOND // self.lives_per_s
        # enum budget: event, stop, kill, exit, exec, mkdir, nested, rmdir
        intervals = (0,) * 8 if unlimited else (event, life, life, life, event, life, event, life)
        return wire.CONFIG.pack(
            self.signal_mask,
            *intervals,
            *(interval * self.burst for interval in intervals),
            _STOPPING_NS,
            _TORN_DOWN_NS,
            int(self.zombie_after_s * _SECOND),
            hierarchy.kind if hierarchy else 0,
            hierarchy.number if hierarchy else 0,
            self.tell_all,
            bool(self.follow) or self.children,
            self.children,
            (2 << 20) // os.sysconf("SC_PAGE_SIZE"),
            self.filtered,
            has_spares(os.uname().release),
        )
