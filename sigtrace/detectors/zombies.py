"""zombie-unreaped: processes that have exited and that nobody waits for, by the parent that owes the wait.

The source lists zombies that are old enough, each with the parent it has now, and again when that changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sigtrace.detectors.base import ProcessKey, Timers
from sigtrace.detectors.container import Container
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.fold import Fold
from sigtrace.detectors.words import finding_on, name_of, times, what_of
from sigtrace.model import codes
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "zombie-unreaped"
_Key = tuple[int, ProcessKey]
"""container, parent"""
_MAX: Final = 100_000
#: The source looks once a second: a reaper is seen to reap within this.
_INHERITED_NS: Final = 2_500_000_000
_STOPPING_NS: Final = 60_000_000_000


@dataclass(slots=True)
class _Debt:
    """What one parent owes."""

    fold: Fold
    parent: Task
    zombies: dict[ProcessKey, Event] = field(default_factory=dict)
    severity: Severity | None = None
    pids_max: int | None = None
    settles_ns: int | None = None
    """when to look whether more came with the first"""


class Zombies:
    """A :class:`sigtrace.detectors.base.Detector`."""

    def __init__(self, containers: Containers, timers: Timers) -> None:
        self._containers = containers
        self._timers = timers
        self._debts: dict[_Key, _Debt] = {}
        self._owners: dict[ProcessKey, _Key] = {}

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event, task = observation.event, observation.event.task
        if task is None:
            return
        if event.kind is Kind.REAP:
            yield from self._gone(task.key, event.time_ns)
        elif event.kind is Kind.TASK and event.zombie and event.parent:
            moved = task.key in self._owners
            yield from self._gone(task.key, event.time_ns, reaped=False)  # from the parent it had before
            container = self._containers.of(observation)
            if container is None or len(self._owners) >= _MAX:
                return
            key = (container.workload.cgroup_id, event.parent.key)
            debt = self._debts.get(key)
            if debt is None:
                fold = Fold.of(observation)
                fold.count = 0
                debt = self._debts[key] = _Debt(fold, event.parent)
            if moved:  # who has just inherited it may be about to reap it
                self._timers.at(event.time_ns + _INHERITED_NS, self, key)
            elif not debt.zombies or debt.fold.last_ns != event.time_ns:
                self._timers.at(event.time_ns + 1, self, key)  # all of one listing have this time
            debt.zombies[task.key] = event
            debt.pids_max = observation.workload.pids_max if observation.workload else None
            debt.fold.add(event)
            self._owners[task.key] = key

    def _gone(self, zombie: ProcessKey, now_ns: int, *, reaped: bool = True) -> Iterable[Finding]:
        """Reaped, or another's now."""
        key = self._owners.pop(zombie, None)
        debt = self._debts.get(key) if key else None
        if key is None or debt is None:
            return
        debt.zombies.pop(zombie, None)
        if not debt.zombies:
            del self._debts[key]
            container = self._containers.of(debt.fold.first)
            if (
                reaped and debt.fold.told and container and not container.stopping(now_ns)
            ):  # else nobody reaped: they went with it
                yield self._tell(container, debt, now_ns, paid=True)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """A listing is through."""
        debt = self._debts.get(token)
        if debt is None or not debt.zombies:
            return
        container = self._containers.of(debt.fold.first)
        if container is None or container.exit:
            return
        if container.stopping(now_ns):  # they may well go with it
            self._timers.at(now_ns + _STOPPING_NS, self, token)
            return
        worse = debt.severity is not None and self._severity(container, debt) > debt.severity
        settled = False
        if debt.settles_ns is not None and now_ns >= debt.settles_ns:
            debt.settles_ns, settled = None, debt.fold.count > debt.fold.told
        if not debt.fold.told or debt.fold.count >= 10 * debt.fold.told or worse or settled:
            if not debt.fold.told:  # many at once may be in more than one listing
                debt.settles_ns = now_ns + _INHERITED_NS
                self._timers.at(debt.settles_ns, self, token)
            yield self._tell(container, debt, now_ns)

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """The last counts."""
        for debt in list(self._debts.values()):
            container = self._containers.of(debt.fold.first)
            if container and not container.exit and debt.zombies and debt.fold.count > debt.fold.told:
                yield self._tell(container, debt, debt.fold.last_ns)

    @staticmethod
    def _severity(container: Container, debt: _Debt) -> Severity:
        return codes.severity(CODE, _cause(container, debt), pids_share=_share(debt))

    def _tell(self, container: Container, debt: _Debt, now_ns: int, *, paid: bool = False) -> Finding:
        fold = debt.fold
        fold.told = fold.count
        debt.severity = self._severity(container, debt)
        oldest = min(debt.zombies.values(), key=lambda e: (e.exit_ns, e.time_ns), default=fold.first.event)
        first = fold.first.event
        return finding_on(
            fold.first,
            CODE,
            _cause(container, debt),
            pids_share=_share(debt),
            closing=paid,
            certainty=Certainty.OBSERVED,
            subject=oldest.task,
            parent=debt.parent,
            time_ns=now_ns,
            wall_ns=first.wall_ns + now_ns - first.time_ns,
            first_wall_ns=first.wall_ns - (first.time_ns - oldest.exit_ns if oldest.exit_ns else 0),
            first_ns=oldest.exit_ns or first.time_ns,
            signo=0,
            count=fold.count,
            window_s=(now_ns - (oldest.exit_ns or first.time_ns)) / 1e9,
            message=_message(container, debt, oldest, now_ns, paid=paid),
            evidence=tuple(debt.zombies.values()) or fold.evidence,
        )


def _share(debt: _Debt) -> float | None:
    """How much of pids.max the zombies take, 0 to 1."""
    return len(debt.zombies) / debt.pids_max if debt.pids_max else None


def _is_pid1(container: Container, parent: Task) -> bool:
    """Whether it inherits orphans: the main process as an init, or the init of the pod's shared namespace."""
    return (parent.ns_pid == 1 and parent.pidns != 0) or (container.is_main(parent) and container.main_is_init)


def _cause(container: Container, debt: _Debt) -> str:
    return "pid1-does-not-reap" if _is_pid1(container, debt.parent) else "parent-never-waits"


def _age(ns: int) -> str:
    seconds = ns / 1e9
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _message(container: Container, debt: _Debt, oldest: Event, now_ns: int, *, paid: bool) -> str:
    parent = debt.parent
    who = "PID 1" if _is_pid1(container, parent) else name_of(parent)
    owes = f"{who} ({what_of(parent)})" if parent.argv else who
    if paid:
        return f"all {times(debt.fold.count, 'zombie', 'zombies')} of {owes} are reaped now"
    age = f"the oldest {_age(now_ns - oldest.exit_ns)}" if oldest.exit_ns else "older than this trace"
    names = Counter(e.task.comm for e in debt.zombies.values() if e.task).most_common(3)
    made = ", ".join(f"{n} × {name}" for name, n in names)
    now = len(debt.zombies)
    so_far = f" ({debt.fold.count} so far)" if debt.fold.count > now else ""
    share = _share(debt)
    room = f", {share:.0%} of pids.max" if share else ""
    return f"{times(now, 'zombie', 'zombies')}{so_far}{room}, {age}: {made}; {owes} does not wait for them"
