"""Events in, observations out: each with the workload of its target and of its sender."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from sigtrace.attribution.cgroups import Cgroups
from sigtrace.attribution.inits import WITH_MAIN, Inits
from sigtrace.attribution.mains import Mains
from sigtrace.attribution.paths import PathInfo, container_around, parse, pod_uid_of
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import Observation, OomScope, Workload, WorkloadKind

#: So long the end of a container waits for its names.
_NAMES_NS: Final = 500_000_000
#: Workloads kept. Far more than a node has; a cgroup that comes back is looked up again.
_CACHE_MAX: Final = 20_000

# Looking a member up in its enum takes as long as all else that a comparison does.
_MKDIR, _RMDIR, _OOM = Kind.CGROUP_MKDIR, Kind.CGROUP_RMDIR, Kind.OOM_KILL
_EXEC, _TASK, _EXIT = Kind.EXEC, Kind.TASK, Kind.EXIT


class Names(Protocol):
    """Who knows more of a container than its cgroup's path: its runtime. Nothing here may wait."""

    def get(self, workload: Workload) -> Workload:
        """With its names, as far as they are known by now."""

    def prefetch(self, container_id: str, runtime: str | None = None) -> None:
        """It has begun."""

    def gone(self, container_id: str) -> None:
        """Its cgroup was removed."""

    def pending(self, container_id: str) -> bool:
        """Whether they have been asked for, and an answer may still come."""


class Attributor:
    """Knows the workload of a cgroup."""

    def __init__(
        self,
        cgroups: Cgroups,
        node: str | None = None,
        *,
        on_main: Callable[[int, int], None] | None = None,
        on_stop_signal: Callable[[int], None] | None = None,
        on_gone: Callable[[int], None] | None = None,
        names: Names | None = None,
    ) -> None:
        """``on_main``: told (pid, start_ns) of each main process that is no init, for the source to watch.

        ``on_stop_signal``: told of each stop signal that some container declares. ``on_gone``: told of each cgroup that
        an event is of which happened before we came, as was its removal: nobody else will tell.
        """
        self._cgroups = cgroups
        self._node = node
        self._on_main = on_main
        self._on_stop_signal = on_stop_signal
        self._on_gone = on_gone
        self._names = names
        self._stop_signals: set[int] = set()
        """those that were told"""
        self._mains = Mains()
        self._inits = Inits(self._workload_of)
        self._workloads: OrderedDict[int, Workload] = OrderedDict()
        self._containers: OrderedDict[str, None] = OrderedDict()
        """paths of cgroups in which an init of a new PID namespace began, though their names say nothing"""

    def observe(self, event: Event) -> Observation:
        """Attribute one event. Events must come in time order."""
        now, kind = event.time_ns, event.kind
        if kind is _MKDIR:
            self._cgroups.made(event.cgroup_id, event.cgroup_parent_id, event.cgroup_name, now)
            self._workloads.pop(event.cgroup_id, None)
            self._mains.forget(event.cgroup_id)
            self._cgroups.path(event.cgroup_id, now)  # looks for one whose parent was not known
            path = self._cgroups.own_path(event.cgroup_id) or ""
            self._containers.pop(path, None)
            made = parse(path)
            if self._names is not None and made.container_id and made.container_path == path and self._is_own(made):
                self._names.prefetch(made.container_id, made.runtime)
            return Observation(event)
        if kind is _RMDIR:
            self._forget(event.cgroup_id)
            self._cgroups.removed(event.cgroup_id)
            removed = self._workloads.pop(event.cgroup_id, None)
            own = removed is not None and removed.cgroup_id == event.cgroup_id
            # Started again it has another cgroup at the same place, made before we were told that this one went.
            last = removed is not None and self._cgroups.id_of(removed.cgroup or "") in (None, event.cgroup_id)
            if self._names is not None and removed and removed.container_id and own and last:
                self._names.gone(removed.container_id)
            return Observation(event, removed)
        task = event.task
        if event.ns_init and task is not None:
            if self._inits.is_nested(event, task):
                if event.container_init:
                    event = dataclasses.replace(event, container_init=False)
            elif event.container_init and self._inits.began(event, task):
                self._init_began(task, now)
                self._maybe_sandbox(task, now)
            if kind is _EXIT:
                self._inits.ended(task)
        workload = self._workload(event.task, now)
        if event.zombie and workload and workload.cgroup:
            workload = dataclasses.replace(workload, pids_max=self._cgroups.pids_max(workload.cgroup, now))
        sender = self._workload(event.sender, now)
        if now < self._cgroups.since_ns and workload and self._on_gone and self._cgroups.is_gone(workload.cgroup_id):
            self._on_gone(workload.cgroup_id)
        main = self._is_main(event, workload)
        if main and event.sender and not event.ns_init and not event.outside and not _is_same(workload, sender):
            # In a shared PID namespace the cgroup tells, and the kernel may not have heard yet who is to be watched.
            event = dataclasses.replace(event, outside=True)
        return Observation(
            event,
            workload,
            sender,
            main=main,
            oom_scope=self._oom_scope(event, workload, now) if kind is _OOM else None,
        )

    def _forget(self, cgroup: int) -> None:
        """It is gone, and what was known of it; who lives on is never pushed out by those that come and go."""
        self._inits.forget(cgroup)
        self._containers.pop(self._cgroups.own_path(cgroup) or "", None)
        self._mains.forget(cgroup)

    def _is_main(self, event: Event, workload: Workload | None) -> bool:
        if workload is None or workload.kind not in WITH_MAIN:
            return False
        main = self._mains.is_main(event, workload.cgroup_id, workload.main_pid)
        if main and self._on_main and event.task and not event.ns_init and self._is_news(event, workload):
            self._on_main(*event.task.key)
        return main

    @staticmethod
    def _is_news(event: Event, workload: Workload) -> bool:
        """A main process shows itself when it begins, or late, when the runtime names it."""
        named = event.task is not None and workload.main_pid == event.task.pid and event.kind is not Kind.EXIT
        return event.kind is _EXEC or event.kind is _TASK or named

    def _oom_scope(self, event: Event, workload: Workload | None, now: int) -> OomScope | None:
        """Whose limit was reached: so many levels above the victim's own cgroup."""
        if event.oom_levels is None:
            return OomScope.NODE
        path = self._cgroups.path(event.task.cgroup_id, now) if event.task else None
        if path is None or workload is None or workload.cgroup is None or event.oom_levels < 0:
            return None
        full = path.split("/")[: len(path.split("/")) - event.oom_levels]
        above = "/".join(full)
        if above.startswith(workload.cgroup):
            return OomScope.CONTAINER
        return OomScope.POD if pod_uid_of(above) else OomScope.NODE

    def _init_began(self, task: Task, now: int) -> None:
        known = self._workload_of(task.cgroup_id, now)
        if known is not None and known.kind in WITH_MAIN:
            return
        path = self._cgroups.path(task.cgroup_id, now)
        if path is None or path == "/":
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
        workload = self._workload_of(task.cgroup_id, now)
        if workload and workload.pod_uid and task.comm == "pause" and workload.kind is WorkloadKind.CONTAINER:
            self._workloads[task.cgroup_id] = dataclasses.replace(workload, kind=WorkloadKind.SANDBOX)

    def is_early(self, event: Event, now_ns: int) -> bool:
        """Whether an event should wait a moment: a container ends before its runtime has told its name.

        Its story is told with what is known then, and a container that fails at once is what people look for.
        """
        if event.kind is not Kind.EXIT or not (event.container_init or event.watched) or self._names is None:
            return False
        if event.task is None or now_ns - event.time_ns >= _NAMES_NS:
            return False
        workload = self._workload_of(event.task.cgroup_id, event.time_ns)
        return bool(workload and workload.container_id and self._names.pending(workload.container_id))

    def workload_of(self, cgroup: int, now: int) -> Workload | None:
        """Whose a cgroup is, by its id, at ``now`` (CLOCK_BOOTTIME ns). None for id 0."""
        return self._named(self._workload_of(cgroup, now))

    def _workload(self, task: Task | None, now: int) -> Workload | None:
        return self._named(self._workload_of(task.cgroup_id, now)) if task else None

    def _workload_of(self, cgroup: int, now: int) -> Workload | None:
        if not cgroup:
            return None
        workload = self._workloads.get(cgroup)
        if workload is None:
            workload = self._look_up(cgroup, now)
            if workload.cgroup is None or self._cgroups.is_gone(cgroup):
                return workload  # unknown now, perhaps known after the next walk; or asked about for the last time
            self._workloads[cgroup] = workload
            if len(self._workloads) > _CACHE_MAX:
                self._workloads.popitem(last=False)
        return workload

    def _look_up(self, cgroup: int, now: int) -> Workload:
        path = self._cgroups.path(cgroup, now)
        if path is None:
            return Workload(WorkloadKind.HOST, cgroup, node=self._node)
        info = parse(path)
        if info.container_path and not self._is_own(info):
            # The id is nobody's, and no runtime of the node knows it.
            own_id, name = self._cgroups.id_of(info.container_path), info.container_path.rpartition("/")[2]
            return Workload(
                WorkloadKind.CONTAINER, own_id or cgroup, info.container_path, container_name=name, node=self._node
            )
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
            name = own.rpartition("/")[2]
            cgroup_id = self._cgroups.id_of(own) or cgroup
            return Workload(WorkloadKind.CONTAINER, cgroup_id, own, container_name=name, node=self._node)
        kind = WorkloadKind.UNIT if info.unit else WorkloadKind.SESSION if info.session else WorkloadKind.HOST
        return Workload(kind, cgroup, path, container_name=info.unit or info.session, node=self._node)

    def _is_own(self, info: PathInfo) -> bool:
        """Whether the id is this cgroup's: inside a container, and with a delegated cgroup, anybody gives any name."""
        if info.container_path is None or info.container_id is None:
            return False
        first = self._cgroups.place_of(info.container_id)
        return container_around(info.container_path) == info.container_path and first in (None, info.container_path)

    def _named(self, workload: Workload | None) -> Workload | None:
        """With what its runtime tells by now. The one without stays in the table: names come and change."""
        if self._names is None or workload is None or workload.kind not in WITH_MAIN:
            return workload
        workload = self._names.get(workload)
        signo = workload.stop_signal
        if signo and signo not in self._stop_signals:
            self._stop_signals.add(signo)
            if self._on_stop_signal:
                self._on_stop_signal(signo)
        return workload


def _is_same(one: Workload | None, other: Workload | None) -> bool:
    return one is not None and other is not None and one.cgroup_id == other.cgroup_id


def _upwards(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 1, -1)]
