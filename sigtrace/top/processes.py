"""The processes of a container, from its cgroup and /proc (proc_pid_stat(5)). What can't be read is left out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from sigtrace.model.text import argv_of, printable
from sigtrace.model.workload import Workload
from sigtrace.sources.host import read_host
from sigtrace.tui.feed import Process

_PROCESSES_MAX: Final = 2_000
_CGROUPS_MAX: Final = 200
_ARGV_MAX: Final = 4096
_HZ: Final = os.sysconf("SC_CLK_TCK")


def processes_of(workload: Workload) -> tuple[Process, ...]:
    """Those in the container's cgroup and below, the oldest first; zombies have left their cgroup and are not there."""
    hierarchy = read_host().hierarchy
    if hierarchy is None or not workload.cgroup:
        return ()
    top = os.path.normpath(f"{hierarchy.mount}/{workload.cgroup.lstrip('/')}")
    if not _is(top, workload.cgroup_id):
        return ()
    uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    found = (_process(pid, uptime_s) for pid in _pids(top))
    return tuple(sorted((p for p in found if p), key=lambda process: (-process.age_s, process.pid)))


def _is(path: str, cgroup_id: int) -> bool:
    """Its inode's number is its id: another container's cgroup may have this path by now."""
    try:
        return os.stat(path).st_ino == cgroup_id
    except OSError:
        return False


def _pids(top: str) -> Iterator[int]:
    count = 0
    for at, (path, _, _) in enumerate(os.walk(top)):
        if at >= _CGROUPS_MAX:
            return
        try:
            with open(f"{path}/cgroup.procs", "rb") as file:
                words = file.read(1 << 20).split()
        except OSError:
            continue
        for word in words:
            count += 1
            if count > _PROCESSES_MAX:
                return
            if word.isdigit() and word != b"0":  # 0: of a PID namespace that is not below ours
                yield int(word)


def _process(pid: int, uptime_s: float) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, tail = file.read(4096).rpartition(b")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            raw = file.read(_ARGV_MAX + 1)
        with open(f"/proc/{pid}/status", "rb") as file:
            status = file.read(8192)
        fields = tail.split()
        inner = [line.split() for line in status.splitlines() if line.startswith(b"NSpid:")]
        return Process(
            pid,
            int(inner[0][-1]) if inner else 0,
            int(fields[1]),
            printable(fields[0][:1]),
            printable(head.partition(b"(")[2]),
            argv_of(raw[:_ARGV_MAX], truncated=len(raw) > _ARGV_MAX),
            max(uptime_s - int(fields[19]) / _HZ, 0.0),
        )
    except (OSError, IndexError, ValueError):
        return None
