"""The records of bpf/include/wire.h as Python reads them. Pure: bytes in, events out.

A test compares every offset here with the compiled object's BTF.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Any, Final

from sigtrace.model.event import Disposition, Event, Info, Kind, Masks, Result, Task
from sigtrace.model.text import argv_of, printable
from sigtrace.model.waitstatus import WaitStatus

COMM_LEN: Final = 16
TEXT_LEN: Final = 480

_TASK = "QQQQIIIIII16s"
_EVENT = "QBBBBIiI" + _TASK + _TASK

TASK = struct.Struct("<" + _TASK)
EVENT = struct.Struct("<" + _EVENT)
LIFE = struct.Struct(f"<{_EVENT}II{TEXT_LEN}s")
SNAPSHOT = struct.Struct("<" + _TASK + "QQQQQII")
COUNT_KEY = struct.Struct("<QI")
SLOT = struct.Struct("<QQQ")
SLOTS: Final = 4096
PROCESS_KEY = struct.Struct("<QII")
ZOMBIE = struct.Struct("<Q" + _TASK + "II")
CONFIG = struct.Struct("<Q4Q4QQQIiIIII")
#: struct local; the last three are counted refusals, by budget
LOCAL = struct.Struct("<QQQQIIQQQQ")

COUNT_SIGNAL: Final = 0x10000
COUNT_EXIT: Final = 0x20000


class Flag(IntFlag):
    """enum flag."""

    BLOCKED = 1 << 0
    REAL_BLOCKED = 1 << 1
    PENDING = 1 << 2
    PTRACED = 1 << 3
    STOPPED = 1 << 4
    FROZEN = 1 << 5
    GROUP = 1 << 6
    NS_INIT = 1 << 7
    CONTAINER_INIT = 1 << 8
    SENDER = 1 << 9
    OUTSIDE = 1 << 10
    TEARDOWN = 1 << 11
    PARENT_OUTSIDE = 1 << 12
    ZOMBIE = 1 << 13
    EXITING = 1 << 14
    TRUNCATED = 1 << 15
    CGROUP_ENTERED = 1 << 16


class Ledger(IntEnum):
    """enum ledger: the index into the ledger map."""

    RECORDED_EVENT = 0
    RECORDED_LIFE = 1
    LIMITED_EVENT = 2
    LIMITED_LIFE = 3
    RING_EVENT = 4
    RING_LIFE = 5
    COUNTS_FULL_SIGNAL = 6
    COUNTS_FULL_EXIT = 7
    ZOMBIES_FULL = 8
    LIMITS_FULL = 9
    STOPPING_FULL = 10
    FOLLOW_FULL = 11


#: enum kind
KINDS: Final = {
    1: Kind.SIGNAL_GENERATE,
    2: Kind.SIGNAL_DELIVER,
    3: Kind.EXIT,
    4: Kind.REAP,
    5: Kind.EXEC,
    6: Kind.OOM_KILL,
    7: Kind.CGROUP_MKDIR,
    8: Kind.CGROUP_RMDIR,
}

_SIGNALS: Final = (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER)
# A value that a later kernel adds is unknown here, not an error.
_RESULTS: Final = {r.value: r for r in Result}
_DISPOSITIONS: Final = {d.value: d for d in Disposition}
_INFOS: Final = {i.value: i for i in Info}
_TASK_FIELDS: Final = 11


def decode(raw: bytes, wall_offset_ns: int) -> Event | None:
    """A record of either ring as an event; None for a kind this version does not know.

    ``wall_offset_ns``: CLOCK_REALTIME - CLOCK_BOOTTIME.
    """
    text = b""
    if len(raw) == LIFE.size:
        *fields, text_len, _, text = LIFE.unpack(raw)
        text = text[:text_len]
    else:
        fields = list(EVENT.unpack(raw))
    time_ns, kind_number, signo, result, disposition, bits, code, info = fields[:8]
    kind = KINDS.get(kind_number)
    if kind is None:
        return None
    wall_ns = time_ns + wall_offset_ns
    target, sender = fields[8 : 8 + _TASK_FIELDS], fields[8 + _TASK_FIELDS :]
    if kind in (Kind.CGROUP_MKDIR, Kind.CGROUP_RMDIR):
        return Event(
            time_ns, wall_ns, kind, cgroup_id=target[1], cgroup_parent_id=target[3], cgroup_name=printable(text)
        )
    is_signal = kind in _SIGNALS
    argv = argv_of(text, truncated=bool(bits & Flag.TRUNCATED)) if kind is Kind.EXEC else None
    ancestry = tuple(_comm(text[i : i + COMM_LEN]) for i in range(0, len(text), COMM_LEN)) if is_signal else ()
    return Event(
        time_ns=time_ns,
        wall_ns=wall_ns,
        kind=kind,
        task=_task(target, argv=argv),
        sender=_task(sender, ancestry=ancestry) if bits & Flag.SENDER else None,
        signo=signo,
        result=_RESULTS.get(result) if kind is Kind.SIGNAL_GENERATE else None,
        disposition=_DISPOSITIONS.get(disposition) if is_signal else None,
        si_code=code if is_signal and info == Info.REAL else None,
        info=_INFOS.get(info) if is_signal else None,
        wait_status=WaitStatus(code) if kind in (Kind.EXIT, Kind.REAP) else None,
        blocked=bool(bits & (Flag.BLOCKED | Flag.REAL_BLOCKED)) if is_signal else None,
        **_states(bits),
    )


def decode_snapshot(raw: bytes, time_ns: int, wall_offset_ns: int) -> list[Event]:
    """What iter/task wrote, as TASK events of one moment."""
    events = []
    for fields in SNAPSHOT.iter_unpack(raw[: len(raw) - len(raw) % SNAPSHOT.size]):
        blocked, real_blocked, pending, caught, ignored, status, bits = fields[_TASK_FIELDS:]
        events.append(
            Event(
                time_ns=time_ns,
                wall_ns=time_ns + wall_offset_ns,
                kind=Kind.TASK,
                task=_task(list(fields[:_TASK_FIELDS])),
                wait_status=WaitStatus(status) if bits & Flag.ZOMBIE else None,
                masks=Masks(blocked, real_blocked, pending, caught, ignored),
                **_states(bits),
            )
        )
    return events


def _states(bits: int) -> dict[str, bool]:
    return {
        "group": bool(bits & Flag.GROUP),
        "waited": bool(bits & Flag.REAL_BLOCKED),
        "pending": bool(bits & Flag.PENDING),
        "ptraced": bool(bits & Flag.PTRACED),
        "stopped": bool(bits & Flag.STOPPED),
        "frozen": bool(bits & Flag.FROZEN),
        "exiting": bool(bits & Flag.EXITING),
        "ns_init": bool(bits & Flag.NS_INIT),
        "container_init": bool(bits & Flag.CONTAINER_INIT),
        "outside": bool(bits & Flag.OUTSIDE),
        "teardown": bool(bits & Flag.TEARDOWN),
        "parent_outside": bool(bits & Flag.PARENT_OUTSIDE),
        "cgroup_entered": bool(bits & Flag.CGROUP_ENTERED),
        "zombie": bool(bits & Flag.ZOMBIE),
    }


def _comm(raw: bytes) -> str:
    return printable(raw.split(b"\0", 1)[0])


def _task(fields: list[Any], argv: tuple[str, ...] | None = None, ancestry: tuple[str, ...] = ()) -> Task:
    start_ns, cgroup, parent_start_ns, parent_cgroup, tgid, tid, nspid, pidns, uid, parent_tgid, comm = fields
    return Task(
        pid=tgid,
        start_ns=start_ns,
        comm=_comm(comm),
        tid=tid,
        ns_pid=nspid,
        pidns=pidns,
        uid=uid,
        cgroup_id=cgroup,
        parent_pid=parent_tgid,
        parent_start_ns=parent_start_ns,
        parent_cgroup_id=parent_cgroup,
        argv=argv,
        ancestry=ancestry,
    )
