"""The containers that are there or went lately: whose a cgroup is, what it counted, and its zombies."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sigtrace.model.event import Event, Kind
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sinks.metrics.totals import Totals

ProcessKey = tuple[int, int]
WorkloadOf = Callable[[int], Workload | None]

_MADE_MAX: Final = 4096
_ZOMBIES_MAX: Final = 100_000
_OTHERS_MAX: Final = 8192
#: The last counts of a cgroup come within 12 s of its end (sources.counters); a container that makes and removes more
#: cgroups below its own in this time than are kept may lose the last counts of some.
_LAST_NS: Final = 30_000_000_000
_REMOVED_MAX: Final = 8192
_RESTARTS_MAX: Final = 1024
#: A runtime has told by then whether it is a container or a pod's sandbox, of which nothing is told.
_NAMELESS_NS: Final = 3_000_000_000


@dataclass(slots=True)
class Tracked:
    """A container. Times: ns, CLOCK_BOOTTIME but for those called wall."""

    workload: Workload | None
    """None: all that found no room"""
    first_wall_ns: int
    seen_ns: int
    gone_ns: int | None = None
    gone_wall_ns: int | None = None
    cgroups: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    """of these: their last counts are still to come"""
    given: Totals = field(default_factory=Totals)
    """what cgroups of it that were removed had counted"""
    zombies: dict[ProcessKey, int] = field(default_factory=dict)
    """and since when each has been one"""

    def is_told(self, now_ns: int) -> bool:
        """Whether it is certain enough that it is a container."""
        workload = self.workload
        if workload is None or workload.is_definite or workload.container_id is None:
            return True
        return self.gone_ns is not None or now_ns - self.seen_ns >= _NAMELESS_NS


class Containers:
    """Kept up to date by the observations; bounded."""

    def __init__(self, room: int, linger_ns: int, start_wall_ns: int) -> None:
        """``room``: containers at most; ``linger_ns``: how long those that are gone stay."""
        self._room = room
        self._linger_ns = linger_ns
        self.start_wall_ns = start_wall_ns
        self._all: OrderedDict[int, Tracked] = OrderedDict()
        """by their own cgroup"""
        self._ids: dict[str, int] = {}
        """their own cgroups, by the runtime's id"""
        self._owners: dict[int, Tracked] = {}
        """by any cgroup of theirs"""
        self._others: set[int] = set()
        """cgroups of nobody"""
        self._made: OrderedDict[int, int] = OrderedDict()
        """when cgroups were made (wall)"""
        self._removed: deque[tuple[int, int]] = deque()
        """(when, cgroup) of sub-cgroups: their last counts are still to come"""
        self._before: deque[int] = deque()
        """own cgroups of containers that were restarted in another: late events of them are theirs"""
        self._zombies: dict[ProcessKey, Tracked] = {}
        self._forgotten: list[Tracked] = []
        self.rest: Tracked | None = None
        """for those that found no room"""
        self.refused = 0
        self.workload_of: WorkloadOf = lambda _: None

    def __iter__(self) -> Iterator[Tracked]:
        yield from self._all.values()
        if self.rest:
            yield self.rest

    # ---- what happens

    def observe(self, observation: Observation) -> None:
        """One event."""
        event, workload = observation.event, observation.workload
        if event.kind is Kind.CGROUP_MKDIR:
            self._cgroup_made(event)
        elif event.kind is Kind.CGROUP_RMDIR:
            self._cgroup_removed(event)
        elif event.task is not None:
            if event.kind is Kind.REAP:
                self._reaped(event.task.key)
            if workload is None or workload.kind not in (WorkloadKind.CONTAINER, WorkloadKind.SANDBOX):
                return
            tracked = self._see(workload, event)
            if tracked:
                if event.task.cgroup_id:
                    self._owns(tracked, event.task.cgroup_id)
                if event.zombie and event.kind is Kind.TASK:
                    self._zombie(tracked, event)

    def _see(self, workload: Workload, event: Event) -> Tracked | None:
        own = workload.cgroup_id
        tracked = self._all.get(own)
        if workload.kind is WorkloadKind.SANDBOX:
            if tracked:  # as its runtime tells now
                self._drop(own)
            return None
        if tracked is None:
            was_there = event.kind is Kind.TASK
            return self._add(workload, self.start_wall_ns if was_there else event.wall_ns, event.time_ns)
        if tracked.workload is not workload:
            tracked.workload = workload
        return tracked

    def _add(self, workload: Workload, wall_ns: int, now_ns: int) -> Tracked:
        own = workload.cgroup_id
        if workload.container_id and (before := self._ids.get(workload.container_id)):
            return self._restarted(before, workload)
        if len(self._all) >= self._room and not self._forget_oldest():
            if self.rest is None:
                self.rest = Tracked(None, wall_ns, now_ns)
            if self._owners.get(own) is not self.rest:
                self.refused += 1
                self._owns(self.rest, own)
            return self.rest
        tracked = self._all[own] = Tracked(workload, self._made.pop(own, wall_ns), now_ns)
        self._owns(tracked, own)
        if workload.container_id:
            self._ids[workload.container_id] = own
        return tracked

    def _restarted(self, before: int, workload: Workload) -> Tracked:
        """The same container in another cgroup (docker restart): it goes on counting."""
        tracked, own = self._all[before], workload.cgroup_id
        if own in tracked.removed or (own in tracked.cgroups and tracked.gone_ns is None):
            return tracked  # a late event of the cgroup before
        self._all[own] = self._all.pop(before)
        self._before.append(before)
        if len(self._before) > _RESTARTS_MAX and (oldest := self._before.popleft()) not in self._all:
            self._disown(oldest)
        tracked.workload, tracked.gone_ns, tracked.gone_wall_ns = workload, None, None
        if workload.container_id:
            self._ids[workload.container_id] = own
        self._owns(tracked, own)
        return tracked

    def _owns(self, tracked: Tracked, cgroup: int) -> None:
        owner = self._owners.get(cgroup)
        if owner is tracked:
            return
        if owner:
            owner.cgroups.discard(cgroup)
        self._owners[cgroup] = tracked
        tracked.cgroups.add(cgroup)
        self._others.discard(cgroup)

    def _cgroup_made(self, event: Event) -> None:
        self._made[event.cgroup_id] = event.wall_ns
        if len(self._made) > _MADE_MAX:
            self._made.popitem(last=False)
        self._others.discard(event.cgroup_id)
        above = self._owners.get(event.cgroup_parent_id)
        if above and above.gone_ns is None:  # else it may be removed before anything happens in it that is told
            self._owns(above, event.cgroup_id)

    def _cgroup_removed(self, event: Event) -> None:
        self._made.pop(event.cgroup_id, None)
        self._others.discard(event.cgroup_id)
        owner = self._owners.get(event.cgroup_id)
        if owner:
            owner.removed.add(event.cgroup_id)
        tracked = self._all.get(event.cgroup_id)
        if tracked:
            tracked.gone_ns, tracked.gone_wall_ns = event.time_ns, event.wall_ns
            self._all.move_to_end(event.cgroup_id)
            for zombie in tracked.zombies:
                self._zombies.pop(zombie, None)
            tracked.zombies.clear()
        elif owner:
            self._removed.append((event.time_ns, event.cgroup_id))
            if len(self._removed) > _REMOVED_MAX:
                self._disown(self._removed.popleft()[1])

    def _disown(self, cgroup: int) -> None:
        """It has been gone for long."""
        if tracked := self._owners.pop(cgroup, None):
            tracked.cgroups.discard(cgroup)
            tracked.removed.discard(cgroup)

    def _zombie(self, tracked: Tracked, event: Event) -> None:
        if event.task is None or (event.task.key not in self._zombies and len(self._zombies) >= _ZOMBIES_MAX):
            return
        self._reaped(event.task.key)  # by another container's count
        self._zombies[event.task.key] = tracked
        tracked.zombies[event.task.key] = event.exit_ns or event.time_ns

    def _reaped(self, zombie: ProcessKey) -> None:
        if tracked := self._zombies.pop(zombie, None):
            tracked.zombies.pop(zombie, None)

    # ---- when somebody looks

    def owner(self, cgroup: int, now_ns: int) -> Tracked | None:
        """Whose cgroup it is, also one of which nothing was told."""
        tracked = self._owners.get(cgroup)
        if tracked is not None or cgroup in self._others:
            return tracked
        workload = self.workload_of(cgroup)
        if workload is None or not workload.is_container:
            if len(self._others) >= _OTHERS_MAX:
                self._others.clear()
            self._others.add(cgroup)
            return None
        tracked = self._all.get(workload.cgroup_id) or self._add(workload, self.start_wall_ns, now_ns)
        self._owns(tracked, cgroup)
        return tracked

    def known(self, cgroup: int) -> Tracked | None:
        """Whose it was, as far as it was seen."""
        return self._owners.get(cgroup)

    def has(self, own: int) -> bool:
        """Whether it is a container's own cgroup."""
        return own in self._all

    def of(self, workload: Workload) -> Tracked | None:
        """By the container's own cgroup."""
        return self._all.get(workload.cgroup_id)

    def refresh(self) -> None:
        """Names that came late."""
        for own, tracked in list(self._all.items()):
            if tracked.gone_ns is not None or tracked.workload is None or tracked.workload.is_definite:
                continue
            workload = self.workload_of(own)
            if workload is None or workload.cgroup_id != own:
                continue
            if workload.kind is WorkloadKind.SANDBOX:
                self._drop(own)
            elif workload.is_container:
                tracked.workload = workload

    def expire(self, now_ns: int) -> None:
        """Forgets what has been gone for long."""
        long_ago = now_ns - self._linger_ns
        while self._removed and self._removed[0][0] < now_ns - _LAST_NS:
            self._disown(self._removed.popleft()[1])
        for own, tracked in list(self._all.items()):
            if tracked.gone_ns is not None and tracked.gone_ns < long_ago:
                self._forget(own)

    def take_forgotten(self) -> list[Tracked]:
        """Those that were forgotten since the last call."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def _forget_oldest(self) -> bool:
        """Makes room, if one is gone."""
        oldest = next((own for own, tracked in self._all.items() if tracked.gone_ns is not None), None)
        if oldest is not None:
            self._forget(oldest)
        return oldest is not None

    def _forget(self, own: int) -> None:
        self._forgotten.append(self._drop(own))
        if len(self._forgotten) > self._room:  # nobody collects
            del self._forgotten[0]

    def _drop(self, own: int) -> Tracked:
        tracked = self._all.pop(own)
        if tracked.workload and tracked.workload.container_id:
            self._ids.pop(tracked.workload.container_id, None)
        for cgroup in tracked.cgroups:
            self._owners.pop(cgroup, None)
        for zombie in tracked.zombies:
            self._zombies.pop(zombie, None)
        return tracked
