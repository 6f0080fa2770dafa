"""What the tracer, a process of its own, and the source say to each other. Pure: bytes in, tuples out."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

#: A mask that could not be read.
ALL_BITS: Final = (1 << 64) - 1


class Order(IntEnum):
    """What the source asks for."""

    SEIZE = 1
    FORGET = 2
    """let it go when it stops next"""


class Want(IntFlag):
    """How a process is traced."""

    CHILDREN = 1
    """its children too, and theirs, from their birth"""
    MAIN = 2
    """a container's main process: when it is asked to end, its descendants are seized before it hears of it"""


class Report(IntEnum):
    """What the tracer tells."""

    SIGNAL = 1
    """a signal is about to be delivered: number, tgid, tid, si_code, si_pid, si_uid, masks"""
    EXIT = 2
    """value: the wait status; masks: of a main process, as it left them, UNKNOWN if they can't be read"""
    SEIZED = 3
    """value: 0, or the errno; other: how many threads; masks: its place, see groups.place_of"""
    BORN = 4
    """a child that is traced; other: its parent; masks: its place"""
    EXEC = 5
    """value: the thread that executed"""
    STOPPED = 6
    """a group stop; number: of what"""
    CONTINUED = 7
    LOST = 8
    """value: so many signals were not told: limited; other: so many reports had no room"""
    FULL = 9
    """not seized: the budget is used up; value: how many"""
    LET_GO = 10


ORDER: Final = struct.Struct("=BBxxi")
SETTINGS: Final = struct.Struct("=QQIIB7x")
"""mask of signals to tell, mask of stop signals, processes at most, signals a second, tell all"""
REPORT: Final = struct.Struct("=QQQQiiiiIBB2x")
_iterate = REPORT.iter_unpack


class Told(NamedTuple):
    """One report. Times are CLOCK_BOOTTIME ns; masks as /proc has them."""

    time_ns: int
    caught: int
    ignored: int
    blocked: int
    tgid: int
    tid: int
    value: int
    """si_code, wait status, errno, …"""
    other: int
    """si_pid, …"""
    uid: int
    kind: int
    number: int
    """a signal"""


def split(raw: bytes) -> tuple[list[Told], bytes]:
    """The whole reports, and the beginning of the next."""
    whole = len(raw) - len(raw) % REPORT.size
    return [Told._make(one) for one in _iterate(raw[:whole])], raw[whole:]
