"""What is known of each container: its main process, who lives in it, who entered it, what it was asked.

Shared by the detectors, which judge by it. Everything here is bounded; what is forgotten costs names, never counts.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any, Final

from sigtrace.detectors.base import ProcessKey
from sigtrace.detectors.container import Container, Entry, Member, kills
from sigtrace.detectors.stop import OOM_NS, is_stop_signal
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Kind, Result, Task
from sigtrace.model.stages import is_stage
from sigtrace.model.workload import Observation

_MAX: Final = 10_000
_ENDED_MAX: Final = 1_000
#: What is still told of a container whose cgroup was removed comes within this time.
_GONE_NS: Final = 60_000_000_000
_MEMBERS_MAX: Final = 2_048
#: Who was sent a fatal signal so long ago and was not met again has most probably gone: an exit with 0 has no record.
_SENT_NS: Final = 600_000_000_000
#: They are looked for among so many, so often.
_SWEPT_FROM: Final = 64
_SWEEP_NS: Final = 60_000_000_000
#: What is judged by others' ends comes within two seconds of them.
_DEATH_NS: Final = 10_000_000_000
_ENTRIES_MAX: Final = 64
#: Keeps nothing; an empty deque of its own would take 760 bytes.
_NONE: Final[deque[Any]] = deque(maxlen=0)


class Containers:
    """By the id of the container's own cgroup."""

    def __init__(self) -> None:
        self._containers: OrderedDict[int, Container] = OrderedDict()
        self._ended: OrderedDict[int, Container] = OrderedDict()
        """those whose story is told: what a runtime still cleans up is no news"""
        self._gone: deque[tuple[int, int]] = deque()
        """cgroups that were removed, and when"""
        self._since_ns = 0
        """when the first event happened"""
        self._kills: deque[tuple[Container, Observation]] = deque(maxlen=256)
        """the kernel's own SIGKILLs of the last moment, which may be the OOM killer's"""

    def of(self, observation: Observation) -> Container | None:
        """The container of the observation's task; None for what is no container.

        One that was forgotten is told of once more, and not kept: nothing would make it be forgotten again.
        """
        workload = observation.workload
        if workload is None or not workload.is_container:
            return None
        container = self._containers.get(workload.cgroup_id) or self._ended.get(workload.cgroup_id)
        if container is None:
            return Container(workload)
        if container.workload is not workload:
            container.workload = workload  # more may be known now
        return container

    def has(self, cgroup_id: int) -> bool:
        """Whether it is there, and its story is not told yet."""
        return cgroup_id in self._containers

    def retire(self, container: Container) -> None:
        """Its story is told; that it has ended is remembered for what a runtime still cleans up."""
        key = container.workload.cgroup_id
        if self._containers.get(key) is container:
            del self._containers[key]
            self._ended[key] = Container(
                container.workload, container.main, exit=container.exit, deaths=_NONE, ooms=_NONE, aborts=_NONE
            )
            if len(self._ended) > _ENDED_MAX:
                self._ended.popitem(last=False)

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._containers.values()))

    def feed(self, observation: Observation) -> Container | None:
        """Take in what happens; but for ends, which the detectors are shown first."""
        event, task = observation.event, observation.event.task
        self._since_ns = self._since_ns or event.time_ns
        while self._kills and event.time_ns - self._kills[0][1].event.time_ns > OOM_NS:
            self._kills.popleft()  # with all that is known of its container
        if event.kind is Kind.OOM_KILL:
            return self._mark(observation)
        if event.kind is Kind.CGROUP_RMDIR:
            self._forget(event)
        if task is None or event.zombie:
            return None
        container = self.of(observation)
        if container is not None:
            self._keep(container)
        if container is None or event.kind in (Kind.EXIT, Kind.REAP):
            return container
        if observation.main and container.main is not None and container.main.key != task.key:
            # Another main process in the same cgroup: a container that was started again.
            self._ended.pop(container.workload.cgroup_id, None)
            container = self._containers[container.workload.cgroup_id] = Container(container.workload)
        if not (event.kind is Kind.SIGNAL_GENERATE and event.leaving):  # it has exited, and is not met again
            self._meet(container, observation, task)
        if event.kind is Kind.SIGNAL_GENERATE:
            self._signal(container, observation, task)
        elif event.kind is Kind.SIGNAL_DELIVER:
            if observation.main:
                container.stop.deliver(event)
            elif container.stop.asks(event.signo) and container.stopping(event.time_ns):
                # SIGUSR1, SIGWINCH: that they were raised at an ordinary process has no record.
                member = container.members.get(task.key)
                if not (member and _sent_itself(member, event.signo)):
                    self._told(container, observation, task)
        elif event.kind is Kind.TASK:
            container.listed_ns = event.time_ns
            if event.masks and (member := container.members.get(task.key)):
                member.ignored = event.masks.ignored
            if observation.main:
                container.stop.masks, container.stop.masks_at = event.masks, event
        elif event.kind is Kind.EXEC and event.cgroup_entered and not observation.main:
            self._enter(container, event, task)
        return container

    def _keep(self, container: Container) -> None:
        key = container.workload.cgroup_id
        if key not in self._ended:
            self._containers.setdefault(key, container)
            if len(self._containers) > _MAX:
                self._containers.popitem(last=False)

    def _forget(self, removal: Event) -> None:
        """Those whose cgroups were removed a while ago."""
        if removal.cgroup_id in self._containers or removal.cgroup_id in self._ended:
            self._gone.append((removal.time_ns, removal.cgroup_id))
        while self._gone and (self._gone[0][0] + _GONE_NS < removal.time_ns or len(self._gone) > _MAX):
            _, cgroup = self._gone.popleft()
            self._containers.pop(cgroup, None)
            self._ended.pop(cgroup, None)

    def _meet(self, container: Container, observation: Observation, task: Task) -> None:
        event = observation.event
        if observation.main:
            # Else it is a new one that another's listing met: numbers of PID namespaces are used again at once.
            if container.main is None and event.kind is Kind.TASK and task.start_ns <= self._since_ns:
                container.found_ns = event.time_ns
            if container.main is None or container.main.key != task.key or task.argv:
                container.main = task
            container.main_is_init = event.ns_init
        member = container.members.get(task.key)
        if member is None:
            if len(container.members) >= _SWEPT_FROM and event.time_ns >= container.sweep_ns:
                self._sweep(container, event.time_ns)
            if len(container.members) >= _MEMBERS_MAX:  # ordinary exits are not told: the oldest has long gone
                oldest = next(m for m in container.members.values() if not container.is_main(m.task))
                del container.members[oldest.task.key]
            member = container.members[task.key] = Member(task, event.time_ns)
            member.entered = event.cgroup_entered and not observation.main
        elif task.argv or (member.task.comm != task.comm and not member.task.argv):
            member.task = task
        member.seen_ns = event.time_ns

    @staticmethod
    def _sweep(container: Container, now_ns: int) -> None:
        """Forgets whom a fatal signal reached long ago. Who lives on all the same is met again at a stop's listing."""
        container.sweep_ns = now_ns + _SWEEP_NS
        if container.stopping(now_ns):
            return
        for key, member in list(container.members.items()):
            reached = member.sent is not None and not member.sent.event.blocked
            stays = container.is_main(member.task) or key in container.entries  # its children are known by it
            if reached and member.seen_ns + _SENT_NS < now_ns and not stays:
                del container.members[key]

    @staticmethod
    def _enter(container: Container, event: Event, task: Task) -> None:
        if is_stage(task) or task.key in container.entries:
            return  # a shell that became its last command: what was asked for counts
        repeated = any(e.task.argv == task.argv for e in container.entries.values())
        if len(container.entries) >= _ENTRIES_MAX:
            # A hook that runs for minutes beside probes is neither over nor repeated.
            entries = container.entries
            del entries[min(entries, key=lambda key: (entries[key].ended_ns is None, not entries[key].repeated))]
        container.entries[task.key] = Entry(task, event.time_ns, repeated=repeated)

    def _signal(self, container: Container, observation: Observation, task: Task) -> None:
        event, stop = observation.event, container.stop
        if event.teardown or event.leaving:
            return
        member = container.members.get(task.key)
        queued = event.result in (Result.DELIVERED, Result.ALREADY_PENDING)
        if queued and signals.is_fatal(event.signo):
            if observation.main:
                stop.last = observation
            if member:
                member.sent = observation
        if kills(event):
            if observation.main and stop.kill is None:
                stop.kill = observation
            if member and member.kill is None:
                member.kill = observation
            if event.sender is None:
                self._kills.append((container, observation))
            return
        own = event.sender is not None and event.sender.key == task.key
        if queued and is_stop_signal(observation) and _is_from(container.entries, event.sender):
            container.from_entry = observation
        if observation.main:
            if own and event.signo == signals.SIGABRT:
                container.aborts.append(event)
            elif own and event.ns_init and event.result is Result.IGNORED and signals.is_fatal(event.signo):
                container.raised = observation
            if event.outside and is_stop_signal(observation) and not _was_dying(event):
                container.ask(observation)
        elif not own and signals.is_fatal(event.signo) and container.stopping(event.time_ns):
            self._told(container, observation, task)

    @staticmethod
    def _told(container: Container, observation: Observation, task: Task) -> None:
        """Another process heard that the container is to end."""
        event, member = observation.event, container.members.get(task.key)
        if member is None or member.asked is not None:
            return
        member.asked = observation
        container.told += 1
        container.handled[task.key] = event.disposition is Disposition.HANDLER or event.blocked is True
        if len(container.handled) > _ENTRIES_MAX:
            container.handled.popitem(last=False)

    def _mark(self, mark: Observation) -> Container | None:
        """The OOM killer's mark belongs to the SIGKILL that went to the same thread just before.

        On older kernels (6.1 and before) the tracepoint gives nothing but that thread's pid.
        """
        victim = mark.event.task
        if victim is None:
            return None
        for container, kill in reversed(self._kills):
            task = kill.event.task
            if task is None or not 0 <= mark.event.time_ns - kill.event.time_ns <= OOM_NS:
                continue
            if (victim.key if victim.pid else victim.tid) == (task.key if victim.pid else task.tid):
                container.ooms.append(_with_victim(mark, kill))
                if kill is container.stop.kill:
                    container.stop.oom = container.ooms[-1]
                return container
        return None

    def ended(self, observation: Observation) -> None:
        """An exit or a reaping, after the detectors have seen it."""
        event, task = observation.event, observation.event.task
        if task is None or event.kind not in (Kind.EXIT, Kind.REAP):
            return
        workload = observation.workload
        container = self._containers.get(workload.cgroup_id) if workload else None
        if container is None:
            return
        if container.exit is None:  # else its story, which is judged again when more is known, needs all who were there
            container.members.pop(task.key, None)
        if event.kind is Kind.EXIT:
            if entry := container.entries.get(task.key):
                entry.ended_ns = event.time_ns
            if not observation.main and event.wait_status and event.wait_status.code:
                deaths = container.deaths
                while deaths and container.exit is None and deaths[0].event.time_ns + _DEATH_NS < event.time_ns:
                    deaths.popleft()
                deaths.append(observation)


def _with_victim(mark: Observation, kill: Observation) -> Observation:
    """The mark with its victim, whose pid is all that older kernels tell."""
    event = dataclasses.replace(mark.event, task=kill.event.task)
    return dataclasses.replace(mark, event=event, workload=kill.workload, main=kill.main)


def _was_dying(event: Event) -> bool:
    """Whether it was ending before this signal; a signal that ends the process says so of itself already."""
    return event.exiting and event.disposition is not Disposition.DEFAULT


def _is_from(entries: OrderedDict[ProcessKey, Entry], sender: Task | None) -> bool:
    return sender is not None and (sender.key in entries or sender.parent_key in entries)


def _sent_itself(member: Member, signo: int) -> bool:
    """Whether the last fatal signal that it got is this one, by itself."""
    last = member.sent.event if member.sent else None
    return last is not None and last.signo == signo and last.sender is not None and last.sender.key == member.task.key
