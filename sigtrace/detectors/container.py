"""One container as the detectors know it: who lives in it, who entered it, what it was asked."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from sigtrace.detectors.base import ProcessKey
from sigtrace.detectors.stop import OOM_NS, Stop
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Result, Task
from sigtrace.model.finding import ProcessEnd
from sigtrace.model.workload import Observation, Workload

_DEATHS: Final = 64
_GENERATIONS: Final = 64
_OOMS: Final = 64


@dataclass(slots=True)
class Member:
    """A process of a container, until it exits."""

    task: Task
    seen_ns: int
    entered: bool = False
    """from outside: exec, probe, preStop"""
    asked: Observation | None = None
    """the first fatal signal that it got since its container was asked to stop"""
    kill: Observation | None = None
    """the SIGKILL that it got"""
    sent: Observation | None = None
    """the last fatal signal that was queued for it, whoever sent it"""
    ignored: int = 0
    """signals that it ignores, bit (signo - 1), by the last listing"""

    def ignores(self, signo: int) -> bool:
        """Whether it would not hear the signal, and wants it so."""
        return bool(self.ignored >> (signo - 1) & 1)


@dataclass(slots=True)
class Entry:
    """A command that entered from outside."""

    task: Task
    began_ns: int
    ended_ns: int | None = None
    repeated: bool = False
    """the same command had entered before, as probes do"""


@dataclass(slots=True)
class Container:
    """One container, from its first event to the end of its story."""

    workload: Workload
    main: Task | None = None
    found_ns: int | None = None
    """when its main process was first seen, if it was there before sigtrace"""
    main_is_init: bool = False
    """of a PID namespace: default actions don't apply to it"""
    members: dict[ProcessKey, Member] = field(default_factory=dict)
    sweep_ns: int = 0
    """when those that have gone are looked for again, if there are many"""
    listed_ns: int = 0
    """when its processes were last listed: who has not been seen since is gone"""
    stop: Stop = field(default_factory=Stop)
    entries: OrderedDict[ProcessKey, Entry] = field(default_factory=OrderedDict)
    deaths: deque[Observation] = field(default_factory=lambda: deque(maxlen=_DEATHS))
    """abnormal exits of its other processes, the latest last"""
    ooms: deque[Observation] = field(default_factory=lambda: deque(maxlen=_OOMS))
    """the OOM killer's marks in it"""
    aborts: deque[Event] = field(default_factory=lambda: deque(maxlen=4))
    """SIGABRTs that the main process sent itself"""
    raised: Observation | None = None
    """the signal that the main process sent itself, and that was dropped"""
    from_entry: Observation | None = None
    """the last stop signal in here that a command from outside sent; a reload (SIGHUP) asks nobody to end"""
    told: int = 0
    """processes that got a fatal signal since the container was asked to stop"""
    handled: OrderedDict[ProcessKey, bool] = field(default_factory=OrderedDict)
    """of those: whether they had a handler for it"""
    ends: list[tuple[int, ProcessEnd]] = field(default_factory=list)
    """of others, since it was asked to stop, and when (CLOCK_BOOTTIME ns)"""
    kept_waiting: bool | None = None
    """whether its main process had told nobody of the stop when SIGKILL came; None: it has not come, or nobody knows"""
    exit: Observation | None = None
    """its main process's"""

    def known(self, task: Task) -> Task:
        """The task with what is known of it: its argv."""
        if task.argv is not None:
            return task
        if self.main is not None and self.main.key == task.key:
            return self.main
        member = self.members.get(task.key)
        return member.task if member else task

    def is_main(self, task: Task | None) -> bool:
        """Whether it is the main process."""
        return task is not None and self.main is not None and task.key == self.main.key

    def others(self) -> list[Member]:
        """Its processes besides the main one, the oldest first, as far as they were seen since the last listing."""
        found = [m for m in self.members.values() if m.seen_ns >= self.listed_ns and not self.is_main(m.task)]
        return sorted(found, key=lambda m: (m.task.start_ns, m.task.pid))

    def residents(self) -> list[Member]:
        """Those of them that did not enter from outside."""
        return [m for m in self.others() if not self.came_in(m)]

    def came_in(self, member: Member) -> bool:
        """Whether it, or an ancestor other than the main process, entered from outside: exec, probe, preStop."""
        for _ in range(_GENERATIONS):
            if self.is_main(member.task):
                return False
            if member.entered:
                return True
            parent = self.members.get(member.task.parent_key)
            if parent is None:
                return False
            member = parent
        return False

    def oom_near(self, time_ns: int, key: ProcessKey | None = None) -> Observation | None:
        """The OOM killer's mark at that time: on this process, else on any."""
        for mark in reversed(self.ooms):
            task = mark.event.task
            if abs(mark.event.time_ns - time_ns) <= OOM_NS and (key is None or (task and task.key == key)):
                return mark
        return None

    def ooms_with(self, mark: Observation) -> list[Observation]:
        """The marks of one OOM kill, the first victim's first."""
        return [m for m in self.ooms if abs(m.event.time_ns - mark.event.time_ns) <= OOM_NS]

    def ask(self, request: Observation) -> None:
        """Somebody outside asks it to end. What an earlier request came to is over if that has expired."""
        if not self.stopping(request.event.time_ns):
            self.told = 0
            self.handled.clear()
            self.ends.clear()
            for member in self.members.values():
                member.asked = None
        self.stop.ask(request)

    def stopping(self, now_ns: int) -> bool:
        """Whether it was asked to end not too long ago, or is ending."""
        return bool(self.exit or self.stop.kill) or self.stop.asked(now_ns)


def kills(event: Event) -> bool:
    """A SIGKILL that works: from inside a PID namespace it does not on the init, and who is dying has no use for it."""
    works = event.result in (Result.DELIVERED, Result.ALREADY_PENDING)
    return event.kind is Kind.SIGNAL_GENERATE and event.signo == signals.SIGKILL and works and not event.leaving
