"""Ends of processes, in the order in which they began: exits, who is torn down with an init, zombies and their reaping.

When a container's init exits, the kernel kills the rest of its PID namespace and waits for it before anybody is told of
the init's own end (zap_pid_ns_processes in kernel/pid_namespace.c). So the others' ends come first here. They are held
until the init's is known, and told after it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Final

from sigtrace.model import signals
from sigtrace.model.event import Event, Kind
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.sources.ptrace.processes import Process, argv_of_pid
from sigtrace.sources.ptrace.table import Table

_CENSUS_NS: Final = 1_000_000_000
#: An init that is on its way out is waited for at most so long.
_HOLD_NS: Final = 1_000_000_000


class Held:
    """Ends that wait for their init's."""

    def __init__(self) -> None:
        self._by_namespace: dict[int, list[Event]] = {}

    def hold(self, pidns: int, events: Iterable[Event]) -> None:
        """Until :meth:`release`, or time is up."""
        if added := list(events):
            self._by_namespace.setdefault(pidns, []).extend(added)

    def holds(self, pidns: int) -> bool:
        """Whether it holds any of this namespace."""
        return pidns in self._by_namespace

    def release(self, pidns: int) -> list[Event]:
        """The namespace's init has ended as well."""
        return self._by_namespace.pop(pidns, [])

    def overdue(self, now_ns: int) -> list[Event]:
        """Those whose init took too long."""
        late = [ns for ns, events in self._by_namespace.items() if now_ns - events[0].time_ns > _HOLD_NS]
        return [event for pidns in late for event in self.release(pidns)]

    def everything(self) -> list[Event]:
        """Nothing more comes."""
        return [event for pidns in list(self._by_namespace) for event in self.release(pidns)]

    def oldest_ns(self) -> int | None:
        """When the first of them was; None if there is none."""
        return min((event.time_ns for events in self._by_namespace.values() for event in events), default=None)


def is_torn_down(process: Process, init: Process | None, table: Table) -> bool:
    """Whether a process that SIGKILL ended went with its init."""
    if init is None or init is process or process.status is None or process.status & 0x7F != signals.SIGKILL:
        return False
    return init.ended or table.is_leaving(init)


def before_its_namespace(own: list[Event], held: list[Event]) -> list[Event]:
    """An init's end, then the others': its exit had begun before the kernel killed the first of them."""
    if not held or not own:
        return own + held
    late = max(0, own[-1].time_ns - min(event.time_ns for event in held) + 2)
    return [dataclasses.replace(e, time_ns=e.time_ns - late, wall_ns=e.wall_ns - late) for e in own] + held


class Census:
    """Zombies that are old enough, each with the parent that it has now, and those that are gone."""

    def __init__(self, table: Table, zombie_after_s: float) -> None:
        self._table = table
        self._after_ns = int(zombie_after_s * 1e9)
        self.next_ns = 0
        """when it is to be asked again (CLOCK_BOOTTIME)"""
        self._told: dict[int, Event] = {}
        self._since: dict[tuple[int, int], int] = {}
        """of those that were there before us"""

    def due(self, now_ns: int, wall_ns: int, *, reaps: bool) -> list[Event]:
        """TASK and REAP events, once a second. ``reaps``: tell of every reaping."""
        if now_ns < self.next_ns:
            return []
        self.next_ns = now_ns + _CENSUS_NS
        try:
            there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        except OSError:
            return []
        events: list[Event] = []
        for process in [one for one in self._table if one.zombie and one.ended]:
            pid = process.task.pid
            if pid not in there:
                self._table.remove(pid)
                gone = self._told.pop(pid, None) or (base_event(process, now_ns, wall_ns) if reaps else None)
                if gone:
                    events.append(dataclasses.replace(gone, time_ns=now_ns, wall_ns=now_ns + wall_ns, kind=Kind.REAP))
            elif self._is_old(process, now_ns):
                events += self._tell(process, now_ns, wall_ns)
        return events

    def _is_old(self, process: Process, now_ns: int) -> bool:
        since = process.exit_ns or self._since.setdefault(process.task.key, now_ns)
        if len(self._since) > 100_000:
            self._since.clear()
        return now_ns - since >= self._after_ns

    def _tell(self, process: Process, now_ns: int, wall_ns: int) -> list[Event]:
        seen = self._table.refresh(process.task.pid)
        if seen is None or not seen.zombie:
            return []  # another process has its number
        parent = self._table.look(seen.task.parent_pid)
        known = self._told.get(seen.task.pid)
        if parent is None or (known and known.parent and known.parent.key == parent.task.key):
            return []
        owes = dataclasses.replace(parent.task, argv=parent.task.argv or argv_of_pid(parent.task.pid))
        seen.task = dataclasses.replace(seen.task, parent_start_ns=owes.start_ns, parent_cgroup_id=owes.cgroup_id)
        event = dataclasses.replace(base_event(seen, now_ns, wall_ns), parent=owes)
        self._told[seen.task.pid] = event
        return [event]


def base_event(process: Process, time_ns: int, wall_ns: int, *, watched: bool = False) -> Event:
    """A TASK event: the process and its states."""
    status = process.status if process.zombie else None
    return Event(
        time_ns,
        time_ns + wall_ns,
        Kind.TASK,
        process.task,
        ns_init=process.init,
        container_init=process.container_init,
        watched=watched,
        parent_outside=process.parent_outside,
        cgroup_entered=process.entered,
        ptraced=bool(process.tracer),
        stopped=process.stopped,
        zombie=process.zombie,
        exit_ns=process.exit_ns,
        wait_status=None if status is None else WaitStatus(status),
        masks=None if process.zombie else process.masks,
    )
