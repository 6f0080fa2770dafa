"""Processes as /proc shows them (proc_pid_stat(5), proc_pid_status(5)); what can't be read is empty, never guessed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sigtrace.model.event import Masks, Task
from sigtrace.model.hierarchy import Hierarchy
from sigtrace.model.text import argv_of, printable
from sigtrace.sources.wire import TEXT_LEN

TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PF_EXITING: Final = 0x4
PF_FORKNOEXEC: Final = 0x40
_INIT_PIDNS: Final = 4026531836


@dataclass(slots=True)
class Process:
    """One process, as it was when it was last looked at."""

    task: Task
    level: int = 0
    """PID namespaces below the first"""
    init: bool = False
    """of a PID namespace other than the first"""
    entered: bool = False
    """its parent's cgroup is another"""
    parent_outside: bool = False
    read: bool = True
    """from /proc; else only what a fork tells"""
    zombie: bool = False
    stopped: bool = False
    forked: bool = False
    """it executed no program of its own"""
    exiting: bool = False
    tracer: int = 0
    status: int | None = None
    """of a zombie: its wait status, if it may be read"""
    masks: Masks | None = None
    threads: int = 0
    """besides its leader"""
    ended: bool = False
    """its end was told, or was before us"""
    exit_told: bool = False
    exit_status: int | None = None
    """as the kernel told it of one that is traced"""
    waits: int = 0
    """signals that it may have taken without a stop, bit (signo - 1): it waited for them when it was looked at
    (sigwait), or blocked them when it exited, as who takes them by sigwait or signalfd does"""
    exit_ns: int = 0
    """when it exited (CLOCK_BOOTTIME); 0: it has not, or before we looked"""

    @property
    def container_init(self) -> bool:
        """Whether it began in a cgroup that was not its parent's."""
        return self.init and self.entered


class ProcReader:
    """Reads /proc; knows the cgroup hierarchy and which PID namespace it sees from."""

    def __init__(self, hierarchy: Hierarchy | None, on_cgroup: Callable[[int, int, str], None] | None = None) -> None:
        """``on_cgroup``: told (id, parent's id, name) of each cgroup when it is first met."""
        self._hierarchy = hierarchy
        self._on_cgroup = on_cgroup
        self._met: dict[int, str] = {}
        self.own_pidns = pidns_of(os.getpid())
        self.is_first = self.own_pidns == _INIT_PIDNS

    def read(self, pid: int, parent: Callable[[int], Process | None] = lambda _: None) -> Process | None:
        """One process; None if it is gone. ``parent``: who knows its parent."""
        # First of all: if it is not on its way out after this, it was not before.
        cgroup = self.cgroup_of(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as f:
                head, _, tail = f.read(4096).rpartition(b")")
            with open(f"/proc/{pid}/status", "rb") as f:
                status = _status(f.read(8192))
            fields = tail.split()
            # Fields 3, 4, 9, 22; below 20 and 52.
            state, ppid, flags, start_ns = fields[0], int(fields[1]), int(fields[6]), int(fields[19]) * TICK_NS
            numbers = [int(n) for n in status.get(b"NSpid", b"").split()] or [pid]
            threads, exit_code = int(fields[17]), int(fields[49])
            uid = int(status[b"Uid"].split()[1])
            masks = _masks(status)
        except (OSError, IndexError, ValueError, KeyError):
            return None
        dead = state in (b"Z", b"X")
        zombie = dead and threads <= 1  # else only its leader has left
        known = parent(ppid) if ppid else None
        # Of who is on its way out the cgroup reads as the root of v1, or as deleted.
        exiting = bool(flags & PF_EXITING)
        lives = self._living(pid) if dead and not zombie else pid
        cgroup = self.cgroup_of(lives) if lives != pid else 0 if exiting or dead else cgroup
        above = known.task.cgroup_id if known else 0
        level = len(numbers) - 1 + (not self.is_first)
        return Process(
            Task(
                pid=pid,
                start_ns=start_ns,
                comm=printable(head.partition(b"(")[2]),
                tid=pid,
                ns_pid=numbers[-1],
                pidns=self.own_pidns if len(numbers) == 1 else pidns_of(lives),
                uid=uid,
                cgroup_id=cgroup,
                parent_pid=ppid,
                parent_start_ns=known.task.start_ns if known else 0,
                parent_cgroup_id=above,
            ),
            level=level,
            init=level > 0 and numbers[-1] == 1,
            # Whose parent is out of sight was put here by a runtime.
            entered=cgroup != above if known and cgroup and above else not ppid and not self.is_first,
            parent_outside=level > known.level if known else not ppid and not self.is_first,
            zombie=zombie,
            stopped=state == b"T",
            forked=bool(flags & PF_FORKNOEXEC),
            exiting=exiting,
            tracer=int(status.get(b"TracerPid", b"0")),
            # Who may not trace it reads a 0; and not its namespace either.
            status=exit_code & 0xFFFF if zombie and (exit_code or pidns_of(pid)) else None,
            masks=masks,
            threads=max(0, threads - 1),
        )

    @staticmethod
    def _living(pid: int) -> int:
        """A thread that lives, where the leader has left: the youngest."""
        try:
            return max(int(name) for name in os.listdir(f"/proc/{pid}/task"))
        except (OSError, ValueError):
            return pid

    def cgroup_of(self, pid: int) -> int:
        """The kernfs id of its cgroup where containers live; 0 if it can't be told."""
        if self._hierarchy is None:
            return 0
        try:
            with open(f"/proc/{pid}/cgroup", "rb") as f:
                raw = f.read(65536)
        except OSError:
            return 0
        wanted = str(self._hierarchy.number).encode()
        for line in raw.split(b"\n"):  # a cgroup may be named with any other line break
            number, _, rest = line.partition(b":")
            if number == wanted:
                return self._id_of(os.fsdecode(rest.partition(b":")[2]))
        return 0

    def _id_of(self, path: str) -> int:
        assert self._hierarchy is not None  # noqa: S101  # asked by the caller
        try:
            cgroup = os.stat(self._hierarchy.mount + path.rstrip("/")).st_ino
        except OSError:
            return 0  # removed, or out of sight in a cgroup namespace
        if self._on_cgroup and self._met.get(cgroup) != path:
            if len(self._met) > 50_000:
                self._met.clear()
            self._met[cgroup] = path
            if path != "/":
                above, _, name = path.rpartition("/")
                self._on_cgroup(cgroup, self._id_of(above or "/"), printable(os.fsencode(name)))
        return cgroup


def _status(raw: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b":")
        found.setdefault(key, value.strip())
    return found


def _masks(status: dict[bytes, bytes]) -> Masks:
    def mask(*names: bytes) -> int:
        bits = 0
        for name in names:
            bits |= int(status[name], 16)
        return bits

    return Masks(
        blocked=mask(b"SigBlk"),
        pending=mask(b"SigPnd", b"ShdPnd"),
        caught=mask(b"SigCgt"),
        ignored=mask(b"SigIgn"),
    )


def pidns_of(pid: int) -> int:
    """Inode number of its PID namespace; 0 if it may not be read."""
    try:
        return int(os.readlink(f"/proc/{pid}/ns/pid")[len("pid:[") : -1])
    except (OSError, ValueError):
        return 0


def argv_of_pid(pid: int) -> tuple[str, ...] | None:
    """Its argv; None if it can't be read or has none.

    Where a program has overwritten its arguments and their last NUL, the kernel reads on into the environment
    (get_mm_cmdline in fs/proc/base.c): cut where they ended, if /proc shows us that.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            raw = f.read(TEXT_LEN + 1)
        with open(f"/proc/{pid}/stat", "rb") as f:
            start, end = map(int, f.read(4096).rpartition(b")")[2].split()[45:47])
    except (OSError, ValueError):
        return None
    raw = raw[: end - start] if end > start else raw
    return argv_of(raw[:TEXT_LEN], truncated=len(raw) > TEXT_LEN) or None


def ancestry_of(pid: int, look: Callable[[int], Process | None]) -> tuple[str, ...]:
    """The comms of its ancestors, nearest first, six at most."""
    names: list[str] = []
    while pid and len(names) < 6 and (process := look(pid)):
        names.append(process.task.comm)
        pid = process.task.parent_pid
    return tuple(names)
