"""What becomes of processes, whoever tells it: the proc connector (netlink.py), or a look at /proc now and then."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple, Protocol

import psutil

#: A process this young may still become another program; later that is not looked for, where nobody tells of it.
_YOUNG_NS = 3_000_000_000


class What(Enum):
    """What happened to a process, or to one of its threads."""

    FORK = auto()
    EXEC = auto()
    EXIT = auto()


class ProcEvent(NamedTuple):
    """One change. ``pid`` is a thread's number, ``tgid`` the process's."""

    what: What
    time_ns: int
    """CLOCK_BOOTTIME; of what was found by looking, when it was found"""
    pid: int
    tgid: int
    parent: int = 0
    """tgid of the parent; 0 if it is not told"""
    status: int | None = None
    """of EXIT: the thread's wait status; None if nobody knows it"""


class ProcEvents(Protocol):
    """Where these come from."""

    fd: int
    """to poll, or -1"""
    exact: bool
    """no process is missed, however short it lives"""

    def read(self, now_ns: int) -> list[ProcEvent]:
        """What happened since the last call, in the order of time."""

    def take_lost(self) -> bool:
        """Whether events were lost since the last call: only a look at /proc can mend that."""

    def close(self) -> None:
        """No more."""


class Seen(NamedTuple):
    """What a look at one process shows; whoever looks decides how (``Scan``)."""

    start_ns: int
    parent: int
    zombie: bool
    status: int | None
    face: str
    """changes when it executes another program"""


class Scan:
    """A look at all of /proc at intervals. What lives shorter than an interval is not seen."""

    fd = -1
    exact = False

    def __init__(self, look: Callable[[int], Seen | None], interval_s: float) -> None:
        """``look``: at one process; None if it is gone."""
        self._look = look
        self._interval_ns = int(interval_s * 1e9)
        self._next_ns = 0
        self._known: dict[int, Seen] = {}
        self._exited: set[int] = set()

    def read(self, now_ns: int) -> list[ProcEvent]:
        """Not before an interval has passed."""
        if now_ns < self._next_ns:
            return []
        self._next_ns = now_ns + self._interval_ns
        return self.scan(now_ns)

    def scan(self, now_ns: int) -> list[ProcEvent]:
        """Look now."""
        events: list[ProcEvent] = []
        found: dict[int, Seen] = {}
        for pid in psutil.pids():
            known = self._known.get(pid)
            # Of an old one it is enough that it is there: a pid comes around again after thousands of others.
            young = known is None or known.zombie or now_ns - known.start_ns < _YOUNG_NS
            seen = self._look(pid) if young or pid % 8 == now_ns % 8 else known
            if seen is None:
                continue
            found[pid] = seen
            if known is not None and known.start_ns != seen.start_ns:
                events += self._end(pid, None, now_ns)
                known = None
            if known is None:
                # At its start, however late we look: that and its number are who it is.
                events.append(ProcEvent(What.FORK, seen.start_ns, pid, pid, seen.parent))
            if not seen.zombie and (known is None or known.face != seen.face):
                events.append(ProcEvent(What.EXEC, now_ns, pid, pid))
            if seen.zombie and not (known and known.zombie):
                events += self._end(pid, seen.status, now_ns, seen.parent)
        for pid in self._known.keys() - found.keys():
            events += self._end(pid, None, now_ns)
            self._exited.discard(pid)
        self._known = found
        return events

    def _end(self, pid: int, status: int | None, now_ns: int, parent: int = 0) -> list[ProcEvent]:
        """Once: a zombie that is reaped had ended before."""
        if pid in self._exited:
            self._exited.discard(pid)
            return []
        self._exited.add(pid)
        return [ProcEvent(What.EXIT, now_ns, pid, pid, parent, status)]

    def take_lost(self) -> bool:
        """What a look does not show is not known to be lost."""
        return False

    def close(self) -> None:
        """Nothing is open."""
