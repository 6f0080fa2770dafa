"""A traced process as the tracer knows it, and what it asks /proc."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from sigtrace.sources.ptrace.wire import ALL_BITS

_SECOND: Final = 1_000_000_000
#: Stop signals are limited apart from the rest, so that no other storm hides one.
_BURST: Final = 500
#: Looks at the masks a second: each costs more than all the rest of a stop.
_LOOKS: Final = 1000
_MASK: Final = 25
"""bytes of a line like ``SigIgn:\\t0000000000000000\\n``"""


#: Nobody blocks all signals: SIGKILL's bit is never set.
UNKNOWN: Final = (ALL_BITS, ALL_BITS, ALL_BITS)


class Group:
    """A process: its threads, how it is traced, and what may still be told of it."""

    def __init__(self, tgid: int, want: int) -> None:
        self.tgid = tgid
        self.want = want
        self.tids: set[int] = set()
        self.stopped = False
        """in a group stop"""
        self.letting_go = False
        self._status = -1
        self._tokens = [float(_BURST), float(_BURST)]
        self._filled_ns = self._next_ns = 0
        self._looks = float(_LOOKS)
        self._looked_ns = 0

    def admit(self, now_ns: int, rate: int, *, asks: bool) -> bool:
        """Whether one more may be told: ``rate`` a second, a burst in advance."""
        if now_ns < self._next_ns and not asks:
            return False  # in a storm nearly always: no more is to be reckoned for these
        more = (now_ns - self._filled_ns) * rate / _SECOND
        self._filled_ns = now_ns
        self._tokens = [min(_BURST, tokens + more) for tokens in self._tokens]
        if self._tokens[asks] < 1:
            if not asks:
                self._next_ns = now_ns + int((1 - self._tokens[False]) * _SECOND / rate)
            return False
        self._tokens[asks] -= 1
        return True

    def may_look(self, now_ns: int) -> bool:
        """Whether its masks may be read once more: in a storm that nobody limits, most are told without."""
        self._looks = min(_LOOKS, self._looks + (now_ns - self._looked_ns) * _LOOKS / _SECOND)
        self._looked_ns = now_ns
        if self._looks < 1:
            return False
        self._looks -= 1
        return True

    def masks(self) -> tuple[int, int, int]:
        """(blocked, ignored, caught) as /proc has them now, bit (signo - 1); UNKNOWN if it cannot be read."""
        try:
            if self._status < 0:
                self._status = os.open(f"/proc/{self.tgid}/status", os.O_RDONLY)
            raw = os.pread(self._status, 4096, 0)
        except OSError:
            return UNKNOWN
        # The last: what comes before holds the name that the process gives itself.
        at = raw.rfind(b"SigBlk:\t") + 8
        if at < 8:
            return UNKNOWN
        ignored, caught = at + _MASK, at + 2 * _MASK
        return int(raw[at : at + 16], 16), int(raw[ignored : ignored + 16], 16), int(raw[caught : caught + 16], 16)

    def handles(self, signo: int) -> bool:
        """Whether a handler takes it."""
        caught = self.masks()[2]
        return caught != ALL_BITS and bool(caught >> (signo - 1) & 1)

    def is_init(self) -> bool:
        """Whether it is the first process of a PID namespace."""
        return _words(self.tgid, b"NSpid")[-1:] == [b"1"]

    def close(self) -> None:
        """It is gone."""
        if self._status >= 0:
            os.close(self._status)
            self._status = -1


def threads_of(tgid: int) -> set[int]:
    """Its threads; none if it is gone."""
    try:
        return {int(name) for name in os.listdir(f"/proc/{tgid}/task")}
    except OSError:
        return set()


def children_of(tgid: int) -> list[int]:
    """Its children; none where the kernel does not list them (CONFIG_PROC_CHILDREN)."""
    found: list[int] = []
    for tid in threads_of(tgid):
        with contextlib.suppress(OSError), open(f"/proc/{tgid}/task/{tid}/children", "rb") as f:
            found += [int(word) for word in f.read().split()]
    return found


def _words(pid: int, name: bytes) -> list[bytes]:
    """A line of /proc/PID/status; none if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as f:
            raw = f.read()
    except OSError:
        return []
    # After the name, which may hold anything but a newline.
    return raw.partition(b"\n" + name + b":\t")[2].partition(b"\n")[0].split()


def _field(pid: int, name: bytes) -> int:
    """A number of /proc/PID/status; 0 if it is gone."""
    return int((_words(pid, name) or [b"0"])[0])


def tgid_of(tid: int) -> int:
    """Whose thread it is."""
    return _field(tid, b"Tgid")


def place_of(pid: int) -> tuple[int, int, int]:
    """(inode number of its PID namespace, its number in there, numbers it has); zeros for what can't be read."""
    numbers = _words(pid, b"NSpid")
    try:
        inode = int(os.readlink(f"/proc/{pid}/ns/pid")[len("pid:[") : -1])
    except (OSError, ValueError):
        inode = 0
    return inode, int(numbers[-1]) if numbers else 0, len(numbers)


def parent_of(pid: int) -> int:
    """Its real parent, whoever traces it."""
    return _field(pid, b"PPid")


def tracer_of(pid: int) -> int:
    """Who traces it; 0 if nobody does."""
    return _field(pid, b"TracerPid")
