"""Events in, observations out: each with the workload of its target and of its sender."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Final

from sigtrace.attribution.cgroups import Cgroups
from sigtrace.attribution.paths import parse
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import Observation, Workload, WorkloadKind

#: Workloads kept. Far more than a node has; a cgroup that comes back is looked up again.
_CACHE_MAX: Final = 20_000


class Attributor:
    """Knows the workload of a cgroup."""

    def __init__(self, cgroups: Cgroups, node: str | None = None) -> None:
        self._cgroups = cgroups
        self._node = node
        self._workloads: OrderedDict[int, Workload] = OrderedDict()
        self._containers: OrderedDict[str, None] = OrderedDict()
        """paths of cgroups in which an init of a new PID namespace began, though their names say nothing"""

    def observe(self, event: Event) -> Observation:
        """Attribute one event. Events must come in time order."""
        now = event.time_ns
        if event.kind is Kind.CGROUP_MKDIR:
            self._cgroups.made(event.cgroup_id, event.cgroup_parent_id, event.cgroup_name)
            self._workloads.pop(event.cgroup_id, None)
            self._containers.pop(self._cgroups.path(event.cgroup_id, now) or "", None)
            return Observation(event)
        if event.kind is Kind.CGROUP_RMDIR:
            self._cgroups.removed(event.cgroup_id)
            return Observation(event, self._workloads.pop(event.cgroup_id, None))
        task = event.task
        if event.container_init and task is not None:
            if self._is_nested(task, now):
                event = dataclasses.replace(event, container_init=False)
            else:
                self._init_began(task, now)
                self._maybe_sandbox(task, now)
        return Observation(event, self._workload(event.task, now), self._workload(event.sender, now))

    def _is_nested(self, task: Task, now: int) -> bool:
        """The kernel compares cgroups; an init in a cgroup below its parent's container's is not a container's own."""
        own, parent = self._look_up(task.cgroup_id, now), self._look_up(task.parent_cgroup_id, now)
        return parent.kind is WorkloadKind.CONTAINER and parent.cgroup == own.cgroup

    def _init_began(self, task: Task, now: int) -> None:
        path = self._cgroups.path(task.cgroup_id, now)
        if path is None or path == "/" or self._look_up(task.cgroup_id, now).kind is WorkloadKind.CONTAINER:
            return
        self._containers[path] = None
        if len(self._containers) > _CACHE_MAX:
            self._containers.popitem(last=False)
        # What was no container's, here and below, is now this one's.
        below = [c for c, w in self._workloads.items() if w.cgroup and (w.cgroup + "/").startswith(path + "/")]
        for cgroup in below:
            del self._workloads[cgroup]

    def _maybe_sandbox(self, task: Task, now: int) -> None:
        """A pod's pause container, until a runtime tells: by its name, and only in a pod."""
        workload = self._workload(task, now)
        if workload and workload.pod_uid and task.comm == "pause" and workload.kind is WorkloadKind.CONTAINER:
            self._workloads[task.cgroup_id] = dataclasses.replace(workload, kind=WorkloadKind.SANDBOX)

    def _workload(self, task: Task | None, now: int) -> Workload | None:
        if task is None or not task.cgroup_id:
            return None
        workload = self._workloads.get(task.cgroup_id)
        if workload is None:
            workload = self._look_up(task.cgroup_id, now)
            if workload.cgroup is None:
                return workload  # unknown now, perhaps known after the next walk
            self._workloads[task.cgroup_id] = workload
            if len(self._workloads) > _CACHE_MAX:
                self._workloads.popitem(last=False)
        return workload

    def _look_up(self, cgroup: int, now: int) -> Workload:
        path = self._cgroups.path(cgroup, now)
        if path is None:
            return Workload(WorkloadKind.HOST, cgroup, node=self._node)
        info = parse(path)
        if info.container_id and info.container_path:
            return Workload(
                WorkloadKind.CONTAINER,
                self._cgroups.id_of(info.container_path) or cgroup,
                info.container_path,
                runtime=info.runtime,
                container_id=info.container_id,
                pod_uid=info.pod_uid,
                qos=info.qos,
                node=self._node,
            )
        own = next((p for p in _upwards(path) if p in self._containers), None)
        if own:
            return Workload(
                WorkloadKind.CONTAINER,
                self._cgroups.id_of(own) or cgroup,
                own,
                container_name=own.rpartition("/")[2],
                node=self._node,
            )
        kind = WorkloadKind.UNIT if info.unit else WorkloadKind.SESSION if info.session else WorkloadKind.HOST
        return Workload(kind, cgroup, path, container_name=info.unit or info.session, node=self._node)


def _upwards(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 1, -1)]
