"""What only /proc knows: the argv of a process that was there before us, and ancestors (proc_pid_cmdline(5))."""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from typing import Final

from sigtrace.model.event import Event, Task
from sigtrace.model.text import argv_of, printable
from sigtrace.sources.wire import TEXT_LEN

_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_ANCESTORS: Final = 6
#: Parents of senders that are remembered, each with its ancestors' names: some 600 bytes. Who sends for many containers
#: has few parents; each container's own shim is asked for once or twice, and never again when it is gone.
_KNOWN_MAX: Final = 256


def node_name() -> str:
    """Of this node: SIGTRACE_NODE (in a pod the host's name is the pod's own), else the host's name."""
    return printable(os.environ.get("SIGTRACE_NODE") or os.uname().nodename)


def boot_id() -> str:
    """Of the boot that runs; empty if it can't be read (proc_sys_kernel(5))."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""


def argv_of_process(task: Task, argv_len: int) -> tuple[str, ...] | None:
    """Its argv, if /proc may be read and the pid is still this process's. ``argv_len``: bytes of its arguments.

    It may wait for ever (cmdlines.py).
    """
    try:
        with open(f"/proc/{task.pid}/cmdline", "rb") as f:
            raw = f.read(TEXT_LEN + 1)
        start_ns = _stat(task.pid)[2]
    except (OSError, IndexError, ValueError):
        return None
    if abs(start_ns - task.start_ns) > _TICK_NS:
        return None
    # Where a program has overwritten its arguments and their last NUL, the kernel reads on into the environment
    # (get_mm_cmdline in fs/proc/base.c, for setproctitle's sake): never past the arguments.
    raw = raw[:argv_len]
    return argv_of(raw[:TEXT_LEN], truncated=len(raw) > TEXT_LEN) or None


def _stat(pid: int) -> tuple[str, int, int]:
    """(comm, parent's pid, start as CLOCK_BOOTTIME ns, cut to a tick) of proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", "rb") as f:
        # comm may hold spaces and parentheses; the rest begins after the last one with field 3.
        head, _, tail = f.read(4096).rpartition(b")")
    fields = tail.split()
    return printable(head.partition(b"(")[2]), int(fields[1]), int(fields[19]) * _TICK_NS


class Ancestry:
    """comms of a process's ancestors, nearest first, for senders whose record has no room for them."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], tuple[str, ...]] = OrderedDict()
        """those that were asked for last"""

    def complete(self, event: Event) -> Event:
        """The event with its sender's ancestors as /proc has them a moment later; those that are gone are missing."""
        sender = event.sender
        if sender is None or sender.ancestry or not sender.parent_pid:
            return event
        key = sender.parent_key
        ancestry = self._known.get(key)
        if ancestry is None:
            ancestry = self._known[key] = _ancestors(*key)
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return dataclasses.replace(event, sender=dataclasses.replace(sender, ancestry=ancestry)) if ancestry else event


def _ancestors(pid: int, start_ns: int) -> tuple[str, ...]:
    names: list[str] = []
    try:
        while pid and len(names) < _ANCESTORS:
            comm, parent, started_ns = _stat(pid)
            if not names and abs(started_ns - start_ns) > _TICK_NS:
                break  # the parent has gone, and its pid is another's
            names.append(comm)
            pid = parent
    except (OSError, IndexError, ValueError):
        pass  # gone: what is known so far
    return tuple(names)


def last_possible_cpu() -> int:
    """The highest CPU number the kernel may ever use; 0 if it does not say (cpu list format, ``0-3,8``)."""
    try:
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as f:
            return max(int(part.rpartition("-")[2]) for part in f.read().strip().split(","))
    except (OSError, ValueError):
        return (os.cpu_count() or 1) - 1
