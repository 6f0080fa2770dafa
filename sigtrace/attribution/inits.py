"""Which inits of PID namespaces are a container's own, and which began inside one. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, TypeVar

from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import Workload, WorkloadKind

#: Kinds of workloads that have a main process.
WITH_MAIN: Final = (WorkloadKind.CONTAINER, WorkloadKind.SANDBOX)
#: Far more than a node has.
_KNOWN_MAX: Final = 20_000
#: Inits that have exited are known so long: a zombie may still get signals and be listed.
_ENDED_MAX: Final = 1_024

_EXEC, _TASK = Kind.EXEC, Kind.TASK
K = TypeVar("K")
V = TypeVar("V")


class Inits:
    """Decides once for each: its parent may die, and an outsider adopt it."""

    def __init__(self, workload_of: Callable[[int, int], Workload | None]) -> None:
        """``workload_of``: whose a cgroup is, by its id, at a time (CLOCK_BOOTTIME ns)."""
        self._workload_of = workload_of
        self._nested: OrderedDict[tuple[int, int], bool] = OrderedDict()
        """inits, and whether they began inside a container"""
        self._ended: deque[tuple[int, int]] = deque()
        """of these, those that have exited"""
        self._born: OrderedDict[tuple[int, int], int] = OrderedDict()
        """inits whose parent lived in their own cgroup, which is no container's: that cgroup"""
        self._began: OrderedDict[int, int] = OrderedDict()
        """cgroups in which an init was seen, and when it started"""

    def is_nested(self, event: Event, task: Task) -> bool:
        """Whether an init began inside a container."""
        nested = self._nested.get(task.key)
        return self._decide(event, task) if nested is None else nested

    def _decide(self, event: Event, task: Task) -> bool:
        own = self._workload_of(task.cgroup_id, event.time_ns)
        if own is None or own.kind not in WITH_MAIN:
            # A runtime's stage on its way to its container's cgroup; or a sandbox, which stays. When its parent dies,
            # an outsider adopts it, and that makes no container of the unit or the session that it runs in.
            if self._born.get(task.key) == task.cgroup_id:
                return True
            if not event.container_init:
                _keep(self._born, task.key, task.cgroup_id)
                return False
        nested = not event.container_init or self._is_below(task, event.time_ns)
        _keep(self._nested, task.key, nested)
        return nested

    def _is_below(self, task: Task, now: int) -> bool:
        """The kernel compares cgroups; an init in a cgroup below its parent's container's is not a container's own."""
        own, parent = self._workload_of(task.cgroup_id, now), self._workload_of(task.parent_cgroup_id, now)
        return own is not None and parent is not None and parent.kind in WITH_MAIN and parent.cgroup == own.cgroup

    def began(self, event: Event, task: Task) -> bool:
        """Whether a container's own init or its program begins with this, or it is new in its cgroup."""
        fresh = event.kind is _EXEC or event.kind is _TASK or self._began.get(task.cgroup_id) != task.start_ns
        if fresh:
            _keep(self._began, task.cgroup_id, task.start_ns)
        return fresh

    def ended(self, task: Task) -> None:
        """It has exited."""
        self._ended.append(task.key)
        if len(self._ended) > _ENDED_MAX:
            ended = self._ended.popleft()
            self._nested.pop(ended, None)
            self._born.pop(ended, None)

    def forget(self, cgroup: int) -> None:
        """It is gone."""
        self._began.pop(cgroup, None)


def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    if len(table) > _KNOWN_MAX:
        table.popitem(last=False)
