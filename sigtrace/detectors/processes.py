"""What is known of the processes in PID namespaces: argv, and who is in there with whom. Shared by the detectors."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sigtrace.model.event import Event, Kind, Task

_MAX: Final = 50_000

ProcessKey = tuple[int, int]


class Processes:
    """Processes seen by a snapshot, an exec or any other event, until they exit."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[ProcessKey, Task] = OrderedDict()
        self._members: dict[int, set[ProcessKey]] = {}
        self._seen: dict[ProcessKey, int] = {}
        self._snapshots: dict[int, int] = {}
        """when a namespace's processes were last listed: who has not been seen since is gone"""

    def feed(self, event: Event) -> None:
        """Take in what an event says of its process."""
        task = event.task
        if task is None or not task.pidns:
            return
        if event.kind in (Kind.EXIT, Kind.REAP) or event.zombie:
            self._forget(task.key, task.pidns)
            return
        known = self._tasks.get(task.key)
        if known is None and event.ns_init:
            # A namespace's inode number is used again once the namespace is gone: who is older than its init was of
            # the one before.
            for key in [k for k in self._members.get(task.pidns, ()) if k[1] < task.start_ns]:
                self._forget(key, task.pidns, keep=True)
        if known is None or task.argv or known.comm != task.comm:
            self._tasks[task.key] = task
            self._members.setdefault(task.pidns, set()).add(task.key)
        self._seen[task.key] = event.time_ns
        if event.kind is Kind.TASK:
            self._snapshots[task.pidns] = event.time_ns
        if len(self._tasks) > _MAX:
            key, oldest = next(iter(self._tasks.items()))
            self._forget(key, oldest.pidns)

    def _forget(self, key: ProcessKey, pidns: int, *, keep: bool = False) -> None:
        self._tasks.pop(key, None)
        self._seen.pop(key, None)
        members = self._members.get(pidns)
        if members:
            members.discard(key)
            if not members and not keep:
                del self._members[pidns]
                self._snapshots.pop(pidns, None)

    def listed_ns(self, pidns: int) -> int:
        """When the namespace's processes were last listed (CLOCK_BOOTTIME ns); 0: never."""
        return self._snapshots.get(pidns, 0)

    def known(self, task: Task) -> Task:
        """The task with what is known of it: its argv."""
        return self._tasks.get(task.key, task) if task.argv is None else task

    def others(self, init: Task) -> list[Task]:
        """The processes in the namespace besides its init, the oldest first."""
        since = self._snapshots.get(init.pidns, 0)
        keys = [k for k in self._members.get(init.pidns, ()) if k != init.key and self._seen[k] >= since]
        return sorted((self._tasks[k] for k in keys), key=lambda t: (t.start_ns, t.pid))
