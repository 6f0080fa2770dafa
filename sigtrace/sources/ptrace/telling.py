"""What the kernel and the tracer tell, as events."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Final

from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.sources.proc_events import ProcEvent, What
from sigtrace.sources.ptrace.ends import Held, base_event, before_its_namespace, is_torn_down
from sigtrace.sources.ptrace.listings import Listings
from sigtrace.sources.ptrace.oom import OomKills
from sigtrace.sources.ptrace.options import STOP_SIGNALS, PtraceOptions
from sigtrace.sources.ptrace.processes import Process, argv_of_pid
from sigtrace.sources.ptrace.signals import Senders, delivery_events, oom_event, told_by_status
from sigtrace.sources.ptrace.table import Table
from sigtrace.sources.ptrace.tracing import Tracing
from sigtrace.sources.ptrace.wire import Report, Told, Want

#: How long a stop signal marks its container as stopping: as long as the BPF programs do.
_STOPPING_NS: Final = 600_000_000_000
_STOPPING_MAX: Final = 10_000


class Teller:
    """Turns changes of processes and the tracer's reports into events."""

    def __init__(self, options: PtraceOptions, table: Table, tracing: Tracing, listings: Listings) -> None:
        self._options = options
        self._table = table
        self._tracing = tracing
        self._listings = listings
        self._senders = Senders(table)
        self._ooms = OomKills()
        self._arrived: dict[int, int] = {}
        """signals that were seen to arrive, by process, bit (signo - 1)"""
        self._stopping: dict[int, int] = {}
        """PID namespaces, and cgroups (negative), that are asked to end, and until when that counts"""
        self.held = Held()
        self.wall_ns = 0
        """CLOCK_REALTIME - CLOCK_BOOTTIME"""
        self.at_ns = 0
        """the time of what is being taken in: a cgroup that it shows was there before"""
        self.catch_up: Callable[[int], list[Event]] = lambda _: []
        """takes in what has become of processes up to now"""
        self.limited = self.dropped = 0

    def known(self, process: Process) -> None:
        """It was there before us."""
        if process.container_init or (process.entered and process.level > 0):
            self._ooms.note(process.task.cgroup_id, process.task.pid)

    # ---- processes

    def changed(self, change: ProcEvent) -> list[Event]:
        """A fork, an exec, an exit."""
        self.at_ns = change.time_ns
        process = self._table.get(change.tgid)
        if change.what is What.FORK:
            if change.pid == change.tgid:
                self._table.born(change)
            elif process:
                process.threads += 1
            return []
        if change.what is What.EXEC:
            return self._executed(change.tgid, change.time_ns) if change.tgid not in self._tracing.traced else []
        if process is None or process.ended:
            return []
        if change.pid != change.tgid or process.threads:
            process.threads -= change.pid != change.tgid
            if change.pid == change.tgid:
                process.exiting, process.status = True, change.status
            if process.threads > 0 or not process.exiting:
                return []  # somebody of it lives
            if process.status != change.status:
                seen = self._table.refresh(change.tgid)
                process.status = seen.status if seen else None
            change = change._replace(status=process.status)
        if change.tgid in self._tracing.traced:
            # More exact than the tracer's time; it has the status, unless it has just let it go.
            process.exit_ns, process.exit_status = change.time_ns, change.status
            return []
        return self.ended(process, change.time_ns, change.status, change.parent)

    def _executed(self, pid: int, time_ns: int) -> list[Event]:
        process = self._table.refresh(pid, executed=True)
        if process is None:
            return []
        process.threads, process.forked = 0, False
        process.task = dataclasses.replace(process.task, argv=argv_of_pid(pid))
        self._tracing.choose(process)
        if process.container_init or process.entered:
            self._ooms.note(process.task.cgroup_id, pid)
        of_a_container = not self._options.follow and (process.entered or process.init)
        if of_a_container or self._tracing.is_asked_for(process):
            return [self.event(process, time_ns, Kind.EXEC)]
        return []

    def ended(self, process: Process, time_ns: int, status: int | None, parent: int = 0) -> list[Event]:
        """An exit, with the signal that it tells of; held back if its init is about to follow."""
        if process.ended and (process.exit_told or process.task.pid not in self._tracing.traced):
            return []  # else the tracer comes late to say that it is asked for, and how it ended
        process.ended = True
        if status and not process.read:
            process = self._table.look(process.task.pid) or process
            process.ended = True
        owes = self._table.parent_of(process, parent)
        process.task = dataclasses.replace(
            process.task,
            parent_pid=owes.pid,
            parent_start_ns=owes.start_ns,
            parent_cgroup_id=owes.cgroup_id or process.task.parent_cgroup_id,
        )
        process.status = status if process.status is None else process.status
        process.zombie = process.exiting = True
        process.exit_ns = process.exit_ns or time_ns
        arrived = self._arrived.pop(process.task.pid, 0)
        init = self._table.init_of(process)
        torn_down = is_torn_down(process, init, self._table)
        if init and init.task.pid != process.task.pid and init.exit_ns and not torn_down:
            # Nobody outlives an init but by the kernel's SIGKILL: the tracer's clock was read a moment too late.
            process.exit_ns = min(process.exit_ns, init.exit_ns - 3)
        events: list[Event] = []
        if self._is_exit_told(process, status):
            exit_ = dataclasses.replace(
                self.event(process, process.exit_ns, Kind.EXIT),
                zombie=False,
                exit_ns=0,
                forked=process.forked,
                unheard=not self.is_heard(process),
                wait_status=None if status is None else WaitStatus(status),
                parent=owes,
            )
            signo = (status or 0) & 0x7F
            mark = None if torn_down or signo != signals.SIGKILL else self._ooms.mark(process.task.cgroup_id)
            if signo and not arrived >> (signo - 1) & 1:
                events.append(told_by_status(exit_, signo, torn_down=torn_down, oom=mark is not None))
            if mark:
                events.append(oom_event(exit_, mark.levels, group=mark.group))
            events.append(exit_)
            process.exit_told = True
        self._tracing.ended(process)
        if torn_down and init and not init.ended:
            self.held.hold(process.task.pidns, events)
            return []
        return self._in_turn(process, init, events)

    def _in_turn(self, process: Process, init: Process | None, events: list[Event]) -> list[Event]:
        """An init's end waits for those of its tracees: wait(2) tells them in the order in which they were attached."""
        pidns = process.task.pidns
        if process.init:
            self.held.hold(pidns, before_its_namespace(events, self.held.release(pidns)))
        elif init and init.ended and self.held.holds(pidns):
            self.held.hold(pidns, events)
        else:
            return events
        left = (self._table.get(pid) for pid in self._tracing.traced)
        if any(one and one.task.pidns == pidns and not one.ended for one in left):
            return []
        return self.held.release(pidns)

    def is_heard(self, process: Process) -> bool:
        """Whether it can't have been asked to end without that being seen: traced, and it takes signals by delivery.

        But for what the kernel threw away, and SIGKILL, which its status tells.
        """
        return process.task.pid in self._tracing.traced and not process.waits & self._listings.stop_signals

    def _is_exit_told(self, process: Process, status: int | None) -> bool:
        if self._options.follow:
            return self._tracing.is_asked_for(process)
        until = max(self._stopping.get(process.task.pidns, 0), self._stopping.get(-process.task.cgroup_id, 0))
        return bool(status or process.init or process.entered or until > process.exit_ns or self._options.tell_all)

    def rescan(self, now_ns: int) -> list[Event]:
        """Events were lost: who is gone is gone, with a status that nobody knows any more."""
        events = [self.lost(now_ns, Loss.KERNEL_MISSED, 1)]
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        for process in self._table:
            if process.task.pid not in there and not process.ended and process.task.pid not in self._tracing.traced:
                events += self.ended(process, now_ns, None)
        for pid in sorted(there):
            known = self._table.get(pid)
            # Nobody has told of its exec: what it is now, is all that can be known.
            if (known is None or not known.read) and (young := self._table.look(pid)) and not young.ended:
                young.task = dataclasses.replace(young.task, argv=argv_of_pid(pid))
                events.append(base_event(young, now_ns, self.wall_ns))
                self._tracing.choose(young)
                self.known(young)
            elif known and not known.ended and pid not in self._tracing.traced and self._table.is_another(known):
                events += self._executed(pid, now_ns)
        return events

    # ---- the tracer's reports

    def take(self, told: Told) -> list[Event]:
        """One report."""
        kind, pid = told.kind, told.tgid
        self.at_ns = told.time_ns
        if kind == Report.SIGNAL:
            return self._arrives(told)
        if kind == Report.SEIZED:
            self._tracing.answered(told)
            if told.value == 0:
                self._table.place(told)
        elif kind == Report.EXIT:
            if ended := self._table.get(pid):
                ended.waits |= told.blocked
                return self.ended(ended, told.time_ns, told.value & 0xFFFF)
        elif kind == Report.EXEC:
            return self._executed(pid, told.time_ns)
        elif kind == Report.BORN:
            if self._table.get(pid) is None:
                self._table.born(ProcEvent(What.FORK, told.time_ns, pid, pid, told.other))
            self._tracing.traced[pid] = Want.CHILDREN
            self._table.place(told)
        elif kind in (Report.STOPPED, Report.CONTINUED):
            if held := self._table.get(pid):
                held.stopped = kind == Report.STOPPED
        elif kind == Report.LET_GO:
            self._tracing.traced.pop(pid, None)
            left = self._table.get(pid)
            return self.ended(left, left.exit_ns, left.exit_status) if left and left.exit_ns else []
        elif kind == Report.FULL:
            self._tracing.not_traced += told.value
            return [self.lost(told.time_ns, Loss.TABLE_FULL, told.value)]
        elif kind == Report.LOST:
            self.limited += told.value
            self.dropped += told.other
            lost = [(Loss.RATE_LIMITED, told.value), (Loss.QUEUE_FULL, told.other)]
            return [self.lost(told.time_ns, loss, count) for loss, count in lost if count]
        return []

    def _arrives(self, told: Told) -> list[Event]:
        target = self._table.look(told.tgid)
        if target is None:
            return []
        bit = 1 << (told.number - 1)
        self._arrived[told.tgid] = self._arrived.get(told.tgid, 0) | bit
        sender, outside = self._senders.of(told, target)
        earlier: list[Event] = []
        if sender is None and not outside and told.other > 0:  # younger than what is known
            earlier = self.catch_up(told.time_ns)
            self._table.look_at_young()
            sender, outside = self._senders.of(told, target)
        watched = not target.init and target.task.key in self._tracing.mains
        wall_ns = told.time_ns + self.wall_ns
        generate, deliver = delivery_events(told, target, sender, wall_ns=wall_ns, outside=outside, watched=watched)
        if self._listings.was_pending(target, told.number):
            # It was told when it was found to pend, and what becomes of it now is not the tracer's doing.
            return [*earlier, dataclasses.replace(deliver, ptraced=False)]
        if outside:
            self._note_stop(generate, target)
        main = self._table.get(generate.sender.pid) if generate.sender else None
        if main and (own := self._listings.forwarders.own(generate, main)):
            self._note_stop(own, main)
            earlier.append(own)
        return [*earlier, generate, deliver]

    def _note_stop(self, event: Event, main: Process) -> None:
        """From now on every exit in there is told."""
        if 1 << (event.signo - 1) & (STOP_SIGNALS | self._listings.stop_signals):
            self._stopping[main.task.pidns if main.init else -main.task.cgroup_id] = event.time_ns + _STOPPING_NS
            if len(self._stopping) > _STOPPING_MAX:
                del self._stopping[next(iter(self._stopping))]

    # ---- events

    def event(self, process: Process, time_ns: int, kind: Kind) -> Event:
        """Of a process and its states."""
        watched = process.task.key in self._tracing.mains and not process.init
        return dataclasses.replace(
            base_event(process, time_ns, self.wall_ns, watched=watched),
            kind=kind,
            masks=None,
            wait_status=None,
            ptraced=process.task.pid in self._tracing.traced,
        )

    def lost(self, now_ns: int, loss: Loss, count: int) -> Event:
        """A LOST event."""
        return Event(now_ns, now_ns + self.wall_ns, Kind.LOST, loss=loss, count=count)

    def cgroup(self, cgroup: int, parent: int, name: str) -> Event:
        """One that is met for the first time, before whatever showed it."""
        at = self.at_ns - 2
        return Event(
            at, at + self.wall_ns, Kind.CGROUP_MKDIR, cgroup_id=cgroup, cgroup_parent_id=parent, cgroup_name=name
        )
