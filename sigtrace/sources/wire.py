"""The records of bpf/include/wire.h as Python reads them. Pure: bytes in, events out.

A test compares every offset here with the compiled object's BTF.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import replace
from enum import IntEnum, IntFlag
from functools import lru_cache
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
SNAPSHOT = struct.Struct("<" + _TASK + "QQQQQQQII")
_MASKS = struct.Struct("<QQQQQQQII")
SIGNALFD = struct.Struct("<QQII")
GATE = struct.Struct("<QII")
COUNT_KEY = struct.Struct("<QI")
SLOT = struct.Struct("<QQQ")
SLOTS: Final = 4096
PROCESS_KEY = struct.Struct("<QII")
ZOMBIE = struct.Struct("<Q" + _TASK + "II")
CONFIG = struct.Struct("<Q8Q8QQQQIiIIIIII")
#: struct local: what this CPU refused, by budget, is at [6:14]
LOCAL = struct.Struct("<QQQQII8Q" + _EVENT)

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
    LEAVING = 1 << 17
    MAIN = 1 << 18
    OOM_GROUP = 1 << 19
    THREAD = 1 << 20
    PARENT = 1 << 21
    FORKED = 1 << 22
    YOUNG = 1 << 23


class Ledger(IntEnum):
    """enum ledger: the index into the ledger map."""

    LIMITED_EVENT = 0
    LIMITED_LIFE = 1
    RING_EVENT = 2
    RING_LIFE = 3
    COUNTS_FULL_SIGNAL = 4
    COUNTS_FULL_EXIT = 5
    ZOMBIES_FULL = 6
    LIMITS_FULL = 7
    STOPPING_FULL = 8
    FOLLOW_FULL = 9
    GONE_FULL = 10
    ZOMBIES_STALE = 11
    PAYERS_FULL = 12
    LIMITED_MARK = 13
    RECORDED_BY_SPARE_EXIT = 14
    RECORDED_BY_SPARE_EXEC = 15


#: enum kind
KINDS: Final = {
    1: Kind.SIGNAL_GENERATE,
    2: Kind.SIGNAL_DELIVER,
    3: Kind.EXIT,
    4: Kind.REAP,
    5: Kind.EXEC,
    6: Kind.OOM_KILL,
    7: Kind.CGROUP_MKDIR,
}

#: cgroup and PID namespace of a struct task_ref
_PLACE: Final = struct.Struct("<8xQ8x8x4x4x4xI")
_SIGNALS: Final = (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER)
_ENDS: Final = (Kind.EXIT, Kind.REAP)
# A value that a later kernel adds is unknown here, not an error.
_RESULTS: Final = {r.value: r for r in Result}
_DISPOSITIONS: Final = {d.value: d for d in Disposition}
_INFOS: Final = {i.value: i for i in Info}

_HEADER: Final = struct.Struct("<QBBBBIiI")
_TEXT: Final = struct.Struct(f"<II{TEXT_LEN}s")
_TARGET: Final = slice(_HEADER.size, _HEADER.size + TASK.size)
_SENDER: Final = slice(_TARGET.stop, _TARGET.stop + TASK.size)
# Plain numbers: an operation with an IntFlag makes another, at a microsecond each.
_SENDER_BIT: Final = int(Flag.SENDER)
_THREAD_BIT: Final = int(Flag.THREAD)
_PARENT_BIT: Final = int(Flag.PARENT)
_YOUNG_BIT: Final = int(Flag.YOUNG)
_BLOCKED_BITS: Final = int(Flag.BLOCKED | Flag.REAL_BLOCKED)
_STATES: Final = (
    *tuple(
        (name.lower(), int(flag))
        for name, flag in Flag.__members__.items()
        if name not in ("SENDER", "TRUNCATED", "BLOCKED", "REAL_BLOCKED", "MAIN", "THREAD", "PARENT", "YOUNG")
    ),
    ("waited", int(Flag.REAL_BLOCKED)),
    ("watched", int(Flag.MAIN)),
)


def decode(raw: bytes, wall_offset_ns: int) -> Event | None:
    """A record of either ring as an event; None for a kind this version does not know.

    ``wall_offset_ns``: CLOCK_REALTIME - CLOCK_BOOTTIME.
    """
    time_ns, kind_number, signo, result, disposition, bits, code, info = _HEADER.unpack_from(raw)
    kind = KINDS.get(kind_number)
    if kind is None:
        return None
    text = b""
    if len(raw) == LIFE.size:
        text_len, _, text = _TEXT.unpack_from(raw, EVENT.size)
        text = text[:text_len]
    wall_ns = time_ns + wall_offset_ns
    task = _task(raw[_TARGET])
    if kind is Kind.CGROUP_MKDIR:
        return Event(
            time_ns,
            wall_ns,
            kind,
            cgroup_id=task.cgroup_id,
            cgroup_parent_id=task.parent_cgroup_id,
            cgroup_name=printable(text),
        )
    if kind not in _SIGNALS:
        if kind is Kind.EXEC:
            task = replace(task, argv=argv_of(text, truncated=bool(bits & int(Flag.TRUNCATED))))
        return Event(
            time_ns,
            wall_ns,
            kind,
            task,
            parent=_task(raw[_SENDER]) if kind is Kind.EXIT else None,
            wait_status=WaitStatus(code) if kind in _ENDS else None,
            oom_levels=result - 1 if kind is Kind.OOM_KILL and result else None,
            **_states(bits),
        )
    sender = None
    if bits & _SENDER_BIT:
        sender = _sender(raw[_SENDER], text) if text else _task(raw[_SENDER])
    return Event(
        time_ns,
        wall_ns,
        kind,
        task,
        sender,
        signo,
        _RESULTS.get(result) if kind is Kind.SIGNAL_GENERATE else None,
        _DISPOSITIONS.get(disposition),
        code if info == Info.REAL.value else None,
        _INFOS.get(info),
        blocked=bits & _BLOCKED_BITS != 0,
        **_states(bits),
    )


def time_of(raw: bytes) -> int:
    """A record's CLOCK_BOOTTIME ns."""
    return int.from_bytes(raw[:8], "little")


def decode_snapshot(
    raw: bytes,
    time_ns: int,
    wall_offset_ns: int,
    only: tuple[Collection[int], Collection[int]] | None = None,
) -> list[Event]:
    """What iter/task wrote, as TASK events of one moment; ``only``: of these PID namespaces and these cgroups.

    A process's masks are those of all its threads: blocked is what each of them blocks, for a signal to the process
    goes to any that does not; waited for is what one of them waits for. A zombie's parent is in its event.
    """
    found: dict[tuple[int, int], Event] = {}
    threads: dict[tuple[int, int], list[tuple[int, int]]] = {}
    zombie: Event | None = None
    for start in range(0, len(raw) - SNAPSHOT.size + 1, SNAPSHOT.size):
        if only is not None:
            cgroup, pidns = _PLACE.unpack_from(raw, start)
            if pidns not in only[0] and cgroup not in only[1]:
                continue
        *masks, exit_ns, argv_len, status, bits = _MASKS.unpack_from(raw, start + TASK.size)
        task = _task(raw[start : start + TASK.size])
        if bits & _THREAD_BIT:
            threads.setdefault(task.key, []).append((masks[0], masks[1]))
        elif bits & _PARENT_BIT:
            if zombie is not None and zombie.task is not None:
                found[zombie.task.key] = replace(zombie, parent=task, argv_len=argv_len)
        else:
            zombie = found[task.key] = Event(
                time_ns,
                time_ns + wall_offset_ns,
                Kind.TASK,
                task,
                wait_status=WaitStatus(status) if bits & int(Flag.ZOMBIE) else None,
                masks=Masks(*masks),
                exit_ns=exit_ns,
                argv_len=argv_len,
                **_states(bits),
            )
    for key, theirs in threads.items():
        if (leader := found.get(key)) and leader.masks:
            blocked, waited = leader.masks.blocked, leader.masks.real_blocked
            for thread_blocked, thread_waited in theirs:
                blocked &= thread_blocked
                waited |= thread_waited
            each = ((leader.masks.blocked, leader.masks.real_blocked), *dict.fromkeys(theirs))
            found[key] = replace(
                leader, masks=replace(leader.masks, blocked=blocked, real_blocked=waited, threads=each)
            )
    return list(found.values())


def young_zombies(raw: bytes) -> tuple[list[int], bytes]:
    """Of a listing of zombies: since when those are one that are too young (CLOCK_BOOTTIME ns); the others' records."""
    size = SNAPSHOT.size
    since, others = [], []
    for start in range(0, len(raw) - size + 1, size):
        *_, exit_ns, _, _, bits = _MASKS.unpack_from(raw, start + TASK.size)
        if bits & _YOUNG_BIT:
            since.append(exit_ns)
        else:
            others.append(raw[start : start + size])
    return since, b"".join(others)


def decode_signalfds(raw: bytes) -> dict[tuple[int, int], int]:
    """(tgid, start) → the signals it takes from descriptors, bit (signo - 1)."""
    taken: dict[tuple[int, int], int] = {}
    for start_ns, mask, tgid, _ in SIGNALFD.iter_unpack(raw[: len(raw) - len(raw) % SIGNALFD.size]):
        taken[tgid, start_ns] = taken.get((tgid, start_ns), 0) | mask
    return taken


@lru_cache(maxsize=1024)
def _states(bits: int) -> dict[str, Any]:
    return {name: bits & bit != 0 for name, bit in _STATES}


def _comm(raw: bytes) -> str:
    return printable(raw.split(b"\0", 1)[0])


@lru_cache(maxsize=4096)
def _task(raw: bytes) -> Task:
    """Struct task_ref. Cached: in a storm the same processes come again and again, and a Task is frozen."""
    start_ns, cgroup, parent_start_ns, parent_cgroup, tgid, tid, nspid, pidns, uid, parent_tgid, comm = TASK.unpack(raw)
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
    )


@lru_cache(maxsize=1024)
def _sender(raw: bytes, text: bytes) -> Task:
    """With its ancestors' names, the parent's first. Cached like :func:`_task`."""
    ancestry = tuple([_comm(text[i : i + COMM_LEN]) for i in range(0, len(text), COMM_LEN)])
    return replace(_task(raw), ancestry=ancestry)
