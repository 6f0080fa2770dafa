"""The processes that are known: from forks, execs and exits as they are told, and from /proc when more is asked."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator

from sigtrace.model.event import Task
from sigtrace.sources.proc_events import ProcEvent, Seen
from sigtrace.sources.ptrace.processes import TICK_NS, Process, ProcReader
from sigtrace.sources.ptrace.wire import Told

#: Processes that are gone are remembered for signals that they sent and that are told after them.
_GONE_MAX = 2048
_GENERATIONS = 64
_YOUNG_MAX = 64
_FRESH_NS = 50_000_000


class Table:
    """By pid, as the reader's PID namespace numbers them."""

    def __init__(self, reader: ProcReader) -> None:
        self._reader = reader
        self._processes: dict[int, Process] = {}
        self._gone: OrderedDict[int, Process] = OrderedDict()
        self._asked: dict[int, int] = {}
        """when a sender was looked at last"""
        self._inside: dict[tuple[int, int], int] = {}
        """(PID namespace, number in it) → pid"""

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._processes.values()))

    def __len__(self) -> int:
        return len(self._processes)

    def get(self, pid: int) -> Process | None:
        """What is known, without a look."""
        return self._processes.get(pid)

    def look(self, pid: int) -> Process | None:
        """What is known, read from /proc if it was not yet; None if there is no such process."""
        known = self._processes.get(pid)
        return known if known is not None and known.read else self.refresh(pid)

    def refresh(self, pid: int, *, executed: bool = False) -> Process | None:
        """Look at it now. Who it is, and how it came into its cgroup, stays as it was unless it ``executed``."""
        known = self._processes.get(pid)
        # A parent that is new itself is read first, or nobody could say whether its child entered a cgroup.
        seen = self._reader.read(pid, self._parent)
        if seen is None:
            if executed and known is not None:  # gone already: where a runtime had moved it, nobody can say
                known.task = dataclasses.replace(known.task, argv=None, cgroup_id=0)
                return None
            return known
        if known is not None and abs(known.task.start_ns - seen.task.start_ns) > TICK_NS:
            self.remove(pid)
            known = None
        if known is not None:
            self._keep(known, seen, executed=executed)
        self._processes[pid] = seen
        if seen.task.pidns:
            self._inside[seen.task.pidns, seen.task.ns_pid] = pid
        return seen

    def is_leaving(self, process: Process) -> bool:
        """Whether it is on its way out, or gone, as /proc has it now."""
        seen = self._reader.read(process.task.pid)
        return seen is None or seen.exiting or seen.zombie or seen.task.start_ns - process.task.start_ns > TICK_NS

    def _parent(self, pid: int) -> Process | None:
        known = self._processes.get(pid)
        if known is None or (not known.read and not known.zombie):
            known = self._reader.read(pid) or known
            if known is not None:
                self._processes[pid] = known
        return known

    @staticmethod
    def _keep(known: Process, seen: Process, *, executed: bool) -> None:
        """What the kernel tells no more, or told better."""
        old = known.task
        seen.exit_ns, seen.exit_status = known.exit_ns, known.exit_status
        seen.ended, seen.exit_told = known.ended, known.exit_told
        seen.waits = 0 if executed else known.waits
        seen.zombie = seen.zombie or known.zombie
        # Between its exit and its last thread's end the status in /proc may be the leader's own.
        seen.status = known.status if known.status is not None else seen.status
        keep: dict[str, object] = {"start_ns": old.start_ns}
        if old.argv and not executed:
            keep["argv"] = old.argv
        if not seen.task.pidns and old.pidns:
            keep |= {"pidns": old.pidns, "ns_pid": old.ns_pid}
            seen.level, seen.init = known.level, known.init
        if not seen.task.cgroup_id and not executed:  # on its way to an exec a runtime moves it
            keep["cgroup_id"] = old.cgroup_id
        if seen.task.parent_pid == old.parent_pid and not seen.task.parent_start_ns:
            keep |= {"parent_start_ns": old.parent_start_ns, "parent_cgroup_id": old.parent_cgroup_id}
        if known.read and not executed:
            seen.entered, seen.parent_outside = known.entered, known.parent_outside
        seen.task = dataclasses.replace(seen.task, **keep)  # type: ignore[arg-type]

    def born(self, event: ProcEvent) -> Process:
        """A fork: the child is what its parent is, until somebody looks."""
        known = self._processes.get(event.tgid)
        if known is not None:
            if known.read and 0 <= event.time_ns - known.task.start_ns < 2 * TICK_NS:
                return known  # somebody has looked before the fork was told
            self.remove(event.tgid)
        parent = self._processes.get(event.parent)
        above = parent.task if parent else Task(event.parent, 0)
        child = Process(
            Task(
                pid=event.tgid,
                start_ns=event.time_ns - event.time_ns % TICK_NS,
                comm=above.comm,
                tid=event.tgid,
                uid=above.uid,
                cgroup_id=above.cgroup_id,
                parent_pid=event.parent,
                parent_start_ns=above.start_ns,
                parent_cgroup_id=above.cgroup_id,
            ),
            read=False,
            forked=True,
        )
        self._processes[event.tgid] = child
        return child

    def place(self, told: Told) -> None:
        """Where the tracer found it, if nobody has looked at it yet."""
        process = self.look(told.tgid)
        if process is None or process.task.pidns or not told.caught:
            return
        process.level = told.blocked - 1 + (not self._reader.is_first)
        process.init = process.level > 0 and told.ignored == 1
        process.task = dataclasses.replace(process.task, pidns=told.caught, ns_pid=told.ignored)
        self._inside[told.caught, told.ignored] = told.tgid

    def remove(self, pid: int) -> Process | None:
        """It is gone, or another has its number."""
        gone = self._processes.pop(pid, None)
        if gone is not None:
            self._gone[pid] = gone
            if self._inside.get((gone.task.pidns, gone.task.ns_pid)) == pid:
                del self._inside[gone.task.pidns, gone.task.ns_pid]
            if len(self._gone) > _GONE_MAX:
                self._gone.popitem(last=False)
        return gone

    def parent_of(self, process: Process, pid: int = 0) -> Task:
        """Its parent, as far as it is known. ``pid``: if somebody has told who that is."""
        pid = pid or process.task.parent_pid
        parent = self.look(pid) if pid else None
        if parent is not None:
            return parent.task
        return Task(pid, process.task.parent_start_ns if pid == process.task.parent_pid else 0)

    def sender(self, number: int, target: Process, time_ns: int) -> Process | None:
        """Who had this number in the target's PID namespace then; None if it can't be told."""
        if target.task.pidns in (0, self._reader.own_pidns):
            pid = number if target.task.pidns else 0
        else:
            pid = self._inside.get((target.task.pidns, number), 0)
        found = self._sender_now(pid, target, time_ns) if pid else None
        if (found is None or found.task.start_ns > time_ns) and (gone := self._gone.get(pid)):
            found = gone
        return found if found is not None and found.task.start_ns <= time_ns else None

    def _sender_now(self, pid: int, target: Process, time_ns: int) -> Process | None:
        """It may have become another program since; in a storm that is not asked each time."""
        known = self._processes.get(pid)
        if known is not None and known.read and (known is target or time_ns - self._asked.get(pid, 0) < _FRESH_NS):
            return known
        if len(self._asked) > _GONE_MAX:
            self._asked.clear()
        self._asked[pid] = time_ns
        return self.refresh(pid)

    def is_below(self, process: Process, ancestor: int) -> bool:
        """Whether it descends from ``ancestor``, as far as its ancestors are there."""
        pid = process.task.parent_pid
        for _ in range(_GENERATIONS):
            if pid == ancestor:
                return True
            above = self.look(pid) if pid > 1 else None
            if above is None:
                return False
            pid = above.task.parent_pid
        return False

    def look_at_young(self) -> None:
        """Read the youngest of those that are known by a fork alone: one of them may be asked for by its number."""
        young = [one for one in self._processes.values() if not one.read and not one.ended]
        for process in young[-_YOUNG_MAX:]:
            self.refresh(process.task.pid)

    def init_of(self, process: Process) -> Process | None:
        """The init of its PID namespace, if that is not the first."""
        pid = self._inside.get((process.task.pidns, 1))
        found = self._processes.get(pid) if pid else None
        return found if found is not None and found.init else None

    def is_another(self, process: Process) -> bool:
        """Whether it seems to have executed another program since, or to have been moved."""
        seen = self.peek(process.task.pid)
        return seen is not None and seen.face != f"{process.task.comm} {process.task.cgroup_id}"

    def peek(self, pid: int) -> Seen | None:
        """For :class:`sigtrace.sources.proc_events.Scan`."""
        seen = self._reader.read(pid)
        if seen is None:
            return None
        face = f"{seen.task.comm} {seen.task.cgroup_id}" if not seen.zombie else ""
        return Seen(seen.task.start_ns, seen.task.parent_pid, seen.zombie, seen.status, face)
