"""Signals by ptrace, processes by the proc connector or /proc: a :class:`sigtrace.sources.base.Source` without BPF.

It knows less: signals to those it traces alone, when they arrive; not what was thrown away before, not who sent one
from another PID namespace. What it can't know is None.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import time
from collections.abc import Iterable, Iterator
from typing import Final

from sigtrace.errors import HostError, RunError
from sigtrace.model.event import Event, Loss
from sigtrace.sources.base import Batch, Counts
from sigtrace.sources.proc_events import ProcEvent, ProcEvents, Scan, What
from sigtrace.sources.ptrace.ends import Census, base_event
from sigtrace.sources.ptrace.listings import Listings
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.processes import ProcReader, argv_of_pid
from sigtrace.sources.ptrace.refusals import ptrace_refusals
from sigtrace.sources.ptrace.table import Table
from sigtrace.sources.ptrace.telling import Teller
from sigtrace.sources.ptrace.tracing import Tracing
from sigtrace.sources.ptrace.wire import Report
from sigtrace.sources.waiting import Waker

#: From a stop, or an event's time, to here it is hardly ever longer, unless a CPU is taken away.
_HOLD_NS: Final = 5_000_000
_WALL_INTERVAL_NS: Final = 10_000_000_000
_ATTACH_S: Final = 5.0
#: How often ends are looked at that wait for their init's.
_HELD_S: Final = 0.005


class PtraceSource:
    """A :class:`sigtrace.sources.base.Source`."""

    name = "ptrace"
    resumed_ns = 0
    replaced = False
    places = None

    def __init__(self, options: PtraceOptions | None = None) -> None:
        self._options = options or PtraceOptions()
        self._tracing: Tracing | None = None
        self._changes: ProcEvents | None = None
        self._poll = select.poll()
        self._waker = Waker()
        self._poll.register(self._waker.fd, select.POLLIN)
        self._pending: list[Event] = []
        self._changed: list[ProcEvent] = []
        """what the kernel has told and nobody has taken in"""
        self._wall_at_ns = 0
        self.since_ns = 0
        self._recorded = self._missed = 0

    # ---- life cycle

    def open(self) -> None:
        """Attaches to whom there is, then takes the snapshot. Raises HostError with the reason and the next step."""
        from sigtrace.sources.host import read_host

        host = read_host()
        for refusal in ptrace_refusals(host):
            raise HostError(f"cannot use ptrace: {refusal.what}: {refusal.why}", next_step=refusal.fix)
        reader = ProcReader(host.hierarchy, self._met_cgroup)
        self._table = Table(reader)
        self._census = Census(self._table, self._options.zombie_after_s)
        self._listings = Listings(self._table)
        try:
            self._tracing = Tracing(self._options, self._table, host)
            self._teller = Teller(self._options, self._table, self._tracing, self._listings)
            self._teller.catch_up = self._catch_up
            self._measure_wall()
            self._poll.register(self._tracing.tracer.fd, select.POLLIN)
            self._changes = self._process_events(self._tracing, may_ask=reader.is_first)
            if self._changes.fd >= 0:
                self._poll.register(self._changes.fd, select.POLLIN)
            self._start(self._tracing)
        except BaseException:
            self.close()
            raise

    def _process_events(self, tracing: Tracing, *, may_ask: bool) -> ProcEvents:
        if self._options.proc_events:
            from sigtrace.sources.netlink import ProcConnector

            try:
                if may_ask:
                    return ProcConnector()
                tracing.notice("outside the host's PID namespace processes are seen only if they live a while")
            except HostError as e:
                tracing.notice(f"{e}; processes that live shorter than {self._options.interval_s:g} s are not seen")
        return Scan(self._table.peek, self._options.interval_s)

    def _start(self, tracing: Tracing) -> None:
        """What exists: the oldest first, so that parents come first. Then whom to trace, inits before others."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._teller.at_ns = now
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            self._table.look(pid)
        found = sorted(self._table, key=lambda p: (p.task.start_ns, p.task.pid))
        for process in found:
            process.ended = process.zombie
            if not process.zombie and (process.init or process.entered or process.task.pid in self._options.follow):
                process.task = dataclasses.replace(process.task, argv=argv_of_pid(process.task.pid))
            self._pending.append(base_event(process, now, self._teller.wall_ns))
        for process in sorted(found, key=lambda p: not p.container_init):
            tracing.choose(process)
            self._teller.known(process)
        if self._changes:
            for change in self._changes.read(now):  # by looking nothing new is found now
                self._pending += self._teller.changed(change) if self._changes.exact else []
        end = time.monotonic() + _ATTACH_S
        left = len(tracing.asked)
        while tracing.asked and time.monotonic() < end:
            self._poll.poll(50)
            told = tracing.tracer.read()
            if told is None and len(tracing.asked) >= left:
                raise RunError("the tracer ended at once", next_step="run again, and report it if it does so again")
            if told is None:  # one of them can't be attached; each time fewer are left
                self._restart(tracing)
                left = len(tracing.asked)
            self._pending += [event for one in told or () for event in self._teller.take(one)]

    def close(self) -> None:
        """Detaches. Harmless twice."""
        with contextlib.suppress(KeyError, ValueError):  # closed already
            self._poll.unregister(self._waker.fd)
        self._waker.close()
        if self._tracing:
            self._tracing.tracer.close()
        if self._changes:
            self._changes.close()
            self._changes = None

    # ---- reading

    def read(self, timeout_s: float) -> Batch:
        """Waits for events at most so long."""
        events = self._take_pending()
        if not events and self._changes:
            self._wait(self._changes, timeout_s)
        began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if began - self._wall_at_ns > _WALL_INTERVAL_NS:
            self._measure_wall()
        if self._tracing and self._changes:
            events += self._news(self._tracing, self._changes, began)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        events += self._looks(events, now)
        events += self._take_pending()
        self._recorded += len(events)
        until = began - _HOLD_NS  # what came since, while /proc was read, is not in it
        if (oldest := self._teller.held.oldest_ns()) is not None:
            until = min(until, oldest - 3)
        return Batch(events, until)

    def _wait(self, changes: ProcEvents, timeout_s: float) -> None:
        """Until there is something to read, or to look at."""
        limit_s = timeout_s if changes.fd >= 0 else min(timeout_s, self._options.interval_s)
        limit_s = min(limit_s, _HELD_S) if self._teller.held.oldest_ns() else limit_s
        due_ns = min(self._listings.deadline_ns(), self._census.next_ns) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        ready = self._poll.poll(max(0.0, min(limit_s, due_ns / 1e9)) * 1000)
        if any(fd == self._waker.fd for fd, _ in ready):
            self._waker.hear()

    def wake(self) -> None:
        """Ends the read that waits, or else the next that would. For any thread."""
        self._waker.ring()

    def _take_pending(self) -> list[Event]:
        events, self._pending = self._pending, []
        return events

    def _news(self, tracing: Tracing, changes: ProcEvents, now_ns: int) -> list[Event]:
        """What the tracer and the kernel tell.

        The tracer's word first, but for ends: those of a container's other processes come by the other way, and are
        held until their init's is known. What the kernel tells is read before: the tracer says whom it traces before
        it lets them go on to their ends, so that it has said so of all who are told to have ended.
        """
        teller, events = self._teller, []
        self._changed += changes.read(now_ns)
        told = tracing.tracer.read()
        if told is None:
            events.append(teller.lost(now_ns, self._restart(tracing), 1))
        for one in told or ():
            if one.kind != Report.EXIT:
                events += teller.take(one)
        events += self._happened()
        if changes.take_lost():
            self._missed += 1
            events += teller.rescan(now_ns)
        for one in told or ():
            if one.kind == Report.EXIT:
                events += teller.take(one)
        return events

    def _restart(self, tracing: Tracing) -> Loss:
        self._poll.unregister(tracing.tracer.fd)
        lost = tracing.restart()
        self._poll.register(tracing.tracer.fd, select.POLLIN)
        return lost

    def _happened(self, *, ends: bool = True) -> list[Event]:
        """What has been read of the kernel's word. ``ends``: exits too, else they wait."""
        happened = self._changed
        self._changed = [] if ends else [change for change in happened if change.what is What.EXIT]
        # Of several execs only what the last made of it can still be read.
        last = {change.tgid: at for at, change in enumerate(happened) if change.what is What.EXEC}
        events: list[Event] = []
        for at, change in enumerate(happened):
            if (change.what is not What.EXEC or last[change.tgid] == at) and (ends or change.what is not What.EXIT):
                events += self._teller.changed(change)
        return events

    def _catch_up(self, now_ns: int) -> list[Event]:
        """Who was born meanwhile, although a look at them is not due."""
        if isinstance(self._changes, Scan):
            self._changed += self._changes.scan(now_ns)
        elif self._changes:
            self._changed += self._changes.read(now_ns)
        return self._happened(ends=False)

    def _looks(self, events: list[Event], now_ns: int) -> list[Event]:
        """What /proc shows at its time: listings, pending signals, zombies."""
        teller, tracing = self._teller, self._tracing
        teller.at_ns = now_ns
        found = self._listings.due(events, now_ns, teller.wall_ns, tracing.mains if tracing else set())
        untraced, self._listings.untraced = self._listings.untraced, []
        for pid in untraced:
            process = self._table.look(pid)
            if tracing and self._changes and process and pid not in tracing.traced:
                tracing.told(process)
        found += self._census.due(now_ns, teller.wall_ns, reaps=self._options.tell_all)
        if tracing and self._options.follow:  # others are nobody's business
            found = [e for e in found if e.task and (one := self._table.get(e.task.pid)) and tracing.is_asked_for(one)]
        return found + teller.held.overdue(now_ns)

    def finish(self, deadline_s: float) -> Iterator[Batch]:
        """Detaches, then yields what is still on its way."""
        end = time.monotonic() + deadline_s
        while (batch := self.read(0)).events and time.monotonic() < end:
            yield batch
        self.close()
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        yield Batch([*batch.events, *self._teller.held.everything()], now)

    # ---- helpers

    def _met_cgroup(self, cgroup: int, parent: int, name: str) -> None:
        self._pending.append(self._teller.cgroup(cgroup, parent, name))

    def _measure_wall(self) -> None:
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._teller.wall_ns, self._wall_at_ns = wall - (before + after) // 2, after

    # ---- what the rest of sigtrace asks for

    @property
    def notices(self) -> list[str]:
        """What a person should know: whom it leaves alone, and why."""
        return self._tracing.notices if self._tracing else []

    def snapshot(self) -> list[Event]:
        """Every process as it is now."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        seen = [self._table.refresh(one.task.pid) for one in self._table]
        return [base_event(one, now, self._teller.wall_ns) for one in seen if one]

    def watch(self, pid: int, start_ns: int) -> None:
        """It is a container's main process, though no init: traced as one."""
        if self._tracing and self._changes:
            self._tracing.watch(pid, start_ns)

    def expect_stop_signal(self, signo: int) -> None:
        """Some container declares it as its stop signal."""
        self._listings.stop_signals |= 1 << (signo - 1)

    def charge(self, owners: Iterable[tuple[int, int, bool]]) -> None:
        """Nobody has a budget here."""

    def follow(self, pid: int, start_ns: int) -> None:
        """Whom to trace is said when it is opened."""

    def leave_out(self, cgroup: int, unwanted: bool) -> None:
        """All is told: what is unwanted the sinks leave out."""

    def counts(self) -> Counts:
        """Nothing is counted here: nobody sees every signal."""
        return Counts(known=False)

    def given_back(self) -> Counts:
        """Nothing, as it counts nothing."""
        return Counts(known=False)

    def ledger(self) -> dict[str, int]:
        """What was told, and what was not and why."""
        if self._tracing is None:
            return {}
        return {
            "recorded": self._recorded,
            "limited": self._teller.limited,
            "dropped": self._teller.dropped,
            "kernel_missed": self._missed,
            "not_traced": self._tracing.not_traced,
            "tracees": len(self._tracing.traced),
        }
