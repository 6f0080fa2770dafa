"""What the kernel's iterators list, and when they are asked: all at the start, a container's when it stops, zombies.

A listing costs 1 ms and some microseconds for each process of the node. So containers are listed only when somebody
outside asks them to end, all that are asked within 20 ms share one listing, and zombies are looked for in the kernel
when one can be old enough to be told.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from sigtrace.model.event import Event, Kind, Task
from sigtrace.sources import wire
from sigtrace.sources.cmdlines import Cmdlines, with_argv

if TYPE_CHECKING:
    from sigtrace.sources._libbpf import Object

ProcessKey = tuple[int, int]

_MS: Final = 1_000_000
_LISTING_NS: Final = 20 * _MS
_CENSUS_NS: Final = 1_000 * _MS
#: A stop signal that could not be taken at once: whether it still pends is looked at again after these times.
_AGAIN_NS: Final = (150 * _MS, 1_000 * _MS, 5_000 * _MS)
#: ASKS_TO_END of bpf/signal.bpf.h, but for SIGKILL: who got that is hardly there any more. Bit (signo - 1).
_STOP_SIGNALS: Final = sum(1 << (signo - 1) for signo in (2, 3, 15, 37))
_ASKED_MAX: Final = 1_000
_REPEAT_NS: Final = 1_000 * _MS
_PARENTS_MAX: Final = 1_000
_NEVER: Final = 1 << 63


def _asks(event: Event, stop_signals: int) -> bool:
    main = event.container_init or event.watched
    asks = event.signo and stop_signals >> (event.signo - 1) & 1
    return event.kind is Kind.SIGNAL_GENERATE and main and event.outside and bool(asks)


def _after(events: list[Event], now_ns: int) -> int:
    """The time of a listing: they were read after the look at the clock, and it follows the one that asked for it."""
    return max([now_ns, *[event.time_ns for event in events]])


def _may_pend(event: Event) -> bool:
    return bool(event.blocked or event.stopped or event.frozen or event.ptraced)


class Listings:
    """The iterators of one loaded object."""

    def __init__(self, bpf: Object, *, signalfds: bool, census: bool, zombie_ns: int) -> None:
        """``census``: look for zombies of that age (ns). ``signalfds``: their program was loaded."""
        self._bpf = bpf
        self._all = bpf.attach("snapshot_tasks")
        self._zombies = bpf.attach("snapshot_zombies") if census else None
        self._signalfds = bpf.attach("snapshot_signalfds") if signalfds else None
        self.cmdlines = Cmdlines()
        self._signalled: OrderedDict[tuple[int, int, int], int] = OrderedDict()
        """(pid, start, signal) → when it asked for a listing, of the last second"""
        self._asked: dict[ProcessKey, Task] = {}
        """main processes that were just asked to end: those they live with are to be listed"""
        self._again: dict[ProcessKey, tuple[Task, list[int]]] = {}
        """at whom to look again, and when"""
        self._listed_ns = 0
        self._apart_ns = _LISTING_NS
        """between two listings: on a large node one takes longer, and may take a tenth of the time"""
        self._census_at_ns = 0
        """when zombies are looked for again"""
        self._seen = b""
        """what the last look at them found"""
        self._told: dict[ProcessKey, Event] = {}
        """zombies that were told"""
        self._zombie_ns = zombie_ns
        self._old: dict[ProcessKey, int] = {}
        """zombies of which the kernel does not say since when, and since when we know"""
        self._before: set[ProcessKey] | None = None
        """those of the first look: they were there before us"""
        self._parents: dict[Task, Task] = {}
        """of zombies that were told: without argv, and with"""
        self.stop_signals = _STOP_SIGNALS
        """that ask a container to end, bit (signo - 1)"""
        self.failed = 0
        """listings that the kernel refused, and containers for which there was no room in the next"""

    @property
    def waits(self) -> bool:
        """Whether a container waits for its listing."""
        return bool(self._asked)

    def due(self, events: list[Event], now_ns: int, wall_ns: int, *, last: bool = False) -> list[Event]:
        """The TASK and REAP events that are due after ``events``. ``last``: what waits can wait no longer."""
        for event in events:
            if event.task and _asks(event, self.stop_signals):
                if len(self._asked) >= _ASKED_MAX and event.task.key not in self._asked:
                    self.failed += 1
                    continue
                if self._is_repeat(event, event.task):
                    continue
                self._asked[event.task.key] = event.task
                if _may_pend(event) and len(self._again) < _ASKED_MAX:
                    self._again.setdefault(event.task.key, (event.task, [now_ns + wait for wait in _AGAIN_NS]))
        found: list[Event] = []
        if self._asked and (last or now_ns - self._listed_ns >= self._apart_ns):
            asked, self._asked, self._listed_ns = self._asked, {}, now_ns
            found = self.cmdlines.complete(self._members(asked, _after(events, now_ns), wall_ns))
        elif self._again and now_ns - self._listed_ns >= self._apart_ns:
            again = {key: task for key, (task, times) in self._again.items() if times[0] <= now_ns}
            for key in again:
                times = self._again[key][1]
                times[:] = [at for at in times if at > now_ns]
                if not times:
                    del self._again[key]
            if again:
                self._listed_ns = now_ns
                found = self._members(again, _after(events, now_ns), wall_ns)
        if now_ns >= self._census_at_ns:
            found += self._census(now_ns, wall_ns)
        return found

    def deadline(self) -> int:
        """When ``due`` has something to do next (CLOCK_BOOTTIME ns), if nobody asks before."""
        again = 0 if self._asked else min((times[0] for _, times in self._again.values()), default=_NEVER)
        return min(max(again, self._listed_ns + self._apart_ns), self._census_at_ns)

    def _is_repeat(self, event: Event, task: Task) -> bool:
        """Whether the same signal had it listed a moment ago: who asks a thousand times a second gets one listing."""
        key, signalled, now_ns = (*task.key, event.signo), self._signalled, event.time_ns
        if now_ns - signalled.get(key, -_REPEAT_NS) < _REPEAT_NS:
            return True
        while signalled and (len(signalled) >= _ASKED_MAX or now_ns - next(iter(signalled.values())) >= _REPEAT_NS):
            signalled.popitem(last=False)
        signalled[key] = now_ns
        signalled.move_to_end(key)
        return False

    def everything(self, now_ns: int, wall_ns: int) -> list[Event]:
        """Every process, the oldest first, zombies too; inits, and what entered a cgroup, with their argv."""
        events = wire.decode_snapshot(self._bpf.iterate(self._all), now_ns, wall_ns)
        events.sort(key=lambda e: e.task.start_ns if e.task else 0)  # who is a main process depends on it
        taken: dict[ProcessKey, int] = {}
        if self._signalfds is not None:
            taken = wire.decode_signalfds(self._bpf.iterate(self._signalfds))
        events = [_with_signalfds(e, taken) for e in events]
        argv = self.cmdlines.of([(e.task, e.argv_len) for e in events if e.task and _has_a_say(e)])
        return [with_argv(e, argv.get(e.task.key)) if e.task else e for e in events]

    def _members(self, asked: dict[ProcessKey, Task], at_ns: int, wall_ns: int) -> list[Event]:
        """All of their PID namespaces; where the main process is no init, of its cgroup."""
        namespaces = {task.pidns for task in asked.values() if task.ns_pid == 1}
        cgroups = {task.cgroup_id for task in asked.values() if task.ns_pid != 1}
        began = time.thread_time_ns()  # beside a storm a listing of 1 ms takes 200 ms, and others wait for theirs
        try:
            return wire.decode_snapshot(self._bpf.iterate(self._all), at_ns, wall_ns, (namespaces, cgroups))
        except OSError:
            self.failed += 1  # costs names, never events
            return []
        finally:
            self._apart_ns = max(_LISTING_NS, 10 * (time.thread_time_ns() - began))

    def _census(self, now_ns: int, wall_ns: int) -> list[Event]:
        """Zombies that are new or have another parent now, and those that are gone.

        The next one is when the first of those that are not old enough can be; in a second if some are to be reaped.
        """
        if self._zombies is None:
            self._census_at_ns = _NEVER
            return []
        self._census_at_ns = now_ns + _CENSUS_NS
        try:
            young, raw = wire.young_zombies(self._bpf.iterate(self._zombies))
        except OSError:
            self.failed += 1
            return []
        if not raw:
            self._census_at_ns = max(self._census_at_ns, min(young, default=now_ns) + self._zombie_ns)
        if raw == self._seen and not self._old and self._before is not None:
            return []
        self._seen = raw
        zombies = wire.decode_snapshot(raw, now_ns, wall_ns)
        found, seen, old = [], {}, {}
        for key, zombie in ((z.task.key, z) for z in zombies if z.task):
            since = zombie.exit_ns
            if not since:
                old[key] = since = self._old.get(key, now_ns)
                if now_ns - since < self._zombie_ns:
                    continue
            known = self._told.get(key)
            if known is None or _parent_key(known) != _parent_key(zombie):
                known = self._with_parents_argv(zombie)
                if self._before is not None and key not in self._before:
                    known = dataclasses.replace(known, exit_ns=since)  # it found no room in the kernel's table
                found.append(known)
            seen[key] = known
        for key, zombie in self._told.items():
            if key not in seen:
                gone = dataclasses.replace(zombie, time_ns=now_ns, wall_ns=now_ns + wall_ns, kind=Kind.REAP)
                found.append(gone)
        self._told, self._old = seen, old
        parents = {zombie.parent.key for zombie in seen.values() if zombie.parent}
        self._parents = {bare: parent for bare, parent in self._parents.items() if parent.key in parents}
        self._before = set(old) if self._before is None else self._before & set(old)
        return found

    def _with_parents_argv(self, zombie: Event) -> Event:
        parent = zombie.parent
        if parent is None:
            return zombie
        if parent not in self._parents:
            if len(self._parents) >= _PARENTS_MAX:
                self._parents.clear()
            argv = self.cmdlines.of([(parent, zombie.argv_len)]).get(parent.key)
            self._parents[parent] = dataclasses.replace(parent, argv=argv)
        return dataclasses.replace(zombie, parent=self._parents[parent])


def _parent_key(zombie: Event) -> ProcessKey | None:
    return zombie.parent.key if zombie.parent else None


def _has_a_say(event: Event) -> bool:
    """Whether it may be a container's main process, or one that entered from outside."""
    return (event.ns_init or event.cgroup_entered) and not event.zombie


def _with_signalfds(event: Event, taken: dict[ProcessKey, int]) -> Event:
    if event.task is None or event.masks is None or not (mask := taken.get(event.task.key)):
        return event
    return dataclasses.replace(event, masks=dataclasses.replace(event.masks, signalfd=mask))
