"""The source of an audit without BPF: it traces nobody, and its snapshot says all that decides about a signal.

Each thread's masks, what it waits for, what the process has a signalfd for. What /proc does not show to us is unknown,
and so is what a signal would meet.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Final

from sigtrace.errors import HostError
from sigtrace.model.event import Event, Masks
from sigtrace.sources.base import Batch
from sigtrace.sources.ptrace.ends import base_event
from sigtrace.sources.ptrace.forwarders import waits_of
from sigtrace.sources.ptrace.frozen import Freezers
from sigtrace.sources.ptrace.groups import threads_of
from sigtrace.sources.ptrace.processes import Process, ProcReader, argv_of_pid
from sigtrace.sources.ptrace.refusals import ptrace_refusals
from sigtrace.sources.ptrace.source import PtraceSource
from sigtrace.sources.ptrace.table import Table

#: Looks at one thread, at most; one is enough but where it begins or ends to wait just then.
_TRIES: Final = 5


class Onlooker(PtraceSource):
    """A :class:`sigtrace.sources.base.Source` that is asked for its snapshot alone."""

    def open(self) -> None:
        """Attaches to nobody. Raises HostError where there are no cgroups."""
        from sigtrace.sources.host import read_host

        host = read_host()
        for refusal in ptrace_refusals(host):
            raise HostError(f"cannot use ptrace: {refusal.what}: {refusal.why}", next_step=refusal.fix)
        self._reader = ProcReader(host.hierarchy)
        self._freezers = Freezers()

    def read(self, timeout_s: float) -> Batch:  # noqa: ARG002  # there is nothing to wait for
        """Nothing happens here."""
        return Batch([], time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def snapshot(self) -> list[Event]:
        """Every process as it is now."""
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall_ns = time.time_ns() - before
        table = Table(self._reader)
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            table.look(pid)
        return [self._closely(process, base_event(process, before, wall_ns), table) for process in table]

    def _closely(self, process: Process, event: Event, table: Table) -> Event:
        task = process.task
        if process.zombie and not task.cgroup_id:
            # /proc shows it no more: it was most likely where its parent is.
            parent = table.get(task.parent_pid)
            task = dataclasses.replace(task, cgroup_id=parent.task.cgroup_id if parent else 0)
            return dataclasses.replace(event, task=task)
        if process.zombie or not (process.init or process.entered):
            return event
        return dataclasses.replace(
            event,
            task=dataclasses.replace(task, argv=argv_of_pid(task.pid)),
            masks=masks_of(task.pid, event.masks),
            frozen=self._freezers.holds(task.pid),
            exiting=process.exiting,
        )


def masks_of(pid: int, known: Masks | None) -> Masks | None:
    """Its masks in full; None if it is gone, or if /proc does not show all to us. ``known``: as its leader has them."""
    if known is None:
        return None
    try:
        states = [_state(pid, tid) for tid in sorted(threads_of(pid), key=lambda tid: (tid != pid, tid))]
        taken = _signalfds(pid)
    except (OSError, ValueError):
        return None
    if not states:
        return None
    others = tuple(dict.fromkeys(state for state in states[1:] if state != states[0]))
    blocked, real_blocked = states[0]
    threads = (states[0], *others) if others else ()
    return dataclasses.replace(known, blocked=blocked, real_blocked=real_blocked, signalfd=taken, threads=threads)


def _state(pid: int, tid: int) -> tuple[int, int]:
    """(blocked, real_blocked) of a thread. In sigwait the kernel unblocks what it waits for (do_sigtimedwait).

    Two files tell it: who begins to wait between the two would look as if it heard everything. Raises ValueError if it
    comes and goes too fast to be seen.
    """
    waits = waits_of(pid, tid)
    for _ in range(_TRIES):
        with open(f"/proc/{pid}/task/{tid}/status", "rb") as f:
            raw = f.read()
        before, waits = waits, waits_of(pid, tid)
        if waits == before:
            blocked = int(raw[raw.rfind(b"SigBlk:\t") + 8 :][:16], 16)
            return blocked, blocked | waits if waits else 0
    raise ValueError(f"thread {tid} begins and ends to wait all the time")


def _signalfds(pid: int) -> int:
    """The signals for which it has a descriptor (proc_pid_fdinfo(5)), bit (signo - 1)."""
    mask = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") != "anon_inode:[signalfd]":
                continue
            with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii") as f:
                lines = dict(line.split(":", 1) for line in f.read().splitlines())
        except FileNotFoundError:
            continue  # closed meanwhile
        mask |= int(lines["sigmask"], 16) if "sigmask" in lines else 0
    return mask
