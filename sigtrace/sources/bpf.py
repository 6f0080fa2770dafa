"""The kernel's own events through CO-RE BPF: load, attach, snapshot, read.

Needs CAP_BPF and CAP_PERFMON, kernel BTF and the first PID namespace; attaches with bpf(2) alone.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from importlib import resources
from typing import Final

from sigtrace.errors import HostError
from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.hierarchy import Hierarchy
from sigtrace.sources import wire
from sigtrace.sources._libbpf import LibbpfError, Library, Object
from sigtrace.sources.base import Batch, Counts
from sigtrace.sources.counters import Counters, SlotTable
from sigtrace.sources.ledger import KernelLedger
from sigtrace.sources.listing import Listings
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import Ancestry, last_possible_cpu
from sigtrace.sources.ring import Raw, Ring
from sigtrace.sources.unwanted import Unwanted

PROGRAMS: Final = (
    "signal_generate",
    "signal_deliver",
    "process_free",  # before process_exit: what enters the zombie map is taken out again
    "process_exit",
    "process_exec",
    "oom_mark_victim",
    "cgroup_mkdir",
    "cgroup_rmdir",
)

#: A CPU that woke the reader may add records for 1 ms without waking it again (bpf/include/ring.h): after each record
#: the reader therefore polls a few times, 2 ms apart, before it sleeps.
_POLL_S: Final = 0.002
_LINGERING_POLLS: Final = 5
#: From taking the time of a record to its place in the ring is microseconds, unless that CPU is taken away meanwhile.
_HOLD_NS: Final = 5_000_000
_WALL_INTERVAL_NS: Final = 10_000_000_000
_LEDGER_INTERVAL_NS: Final = 1_000_000_000
_LISTING_S: Final = 0.02
_FIRST: Final = bytes(4)
_YES: Final = b"\x01\0\0\0"


class BpfSource:
    """A :class:`sigtrace.sources.base.Source`."""

    name = "bpf"

    def __init__(self, options: BpfOptions | None = None) -> None:
        self._options = options or BpfOptions()
        self._object: Object | None = None
        self._rings: list[Ring] = []
        self._poll = select.epoll()
        self._idle_polls = _LINGERING_POLLS
        self._wall_ns = 0
        self._wall_at_ns = 0
        self._ledger_at_ns = 0
        self._hierarchy: Hierarchy | None = None
        self._pending: list[Event] = []
        self._until_ns = 0
        self._listings: Listings | None = None
        self._mains: set[tuple[int, int]] = set()
        """main processes that are no inits"""
        self._ancestry = Ancestry()
        self.counters: Counters | None = None
        self.unwanted: Unwanted | None = None
        """with ``BpfOptions.filtered``, while it is open"""

    # ---- life cycle

    def open(self) -> None:
        """Loads, attaches, then takes the snapshot. Raises HostError with the reason and the next step."""
        from sigtrace.sources.host import read_host
        from sigtrace.sources.refusals import bpf_refusals, explain_load_error

        host = read_host()
        for refusal in bpf_refusals(host):
            raise HostError(f"cannot use BPF: {refusal.what}: {refusal.why}", next_step=refusal.fix)
        self._hierarchy = host.hierarchy
        try:
            self._library = Library()
            self._load()
        except LibbpfError as e:
            self.close()
            raise explain_load_error(e.errno or 0, host, f"{e.call}: {e.strerror}\n{e.log}") from e
        except OSError as e:
            self.close()
            raise HostError(
                f"cannot load libbpf.so.1: {e}", next_step="install libbpf 1.1 or newer (Debian: apt install libbpf1)"
            ) from e
        self._measure_wall()
        self._pending = self.snapshot()
        for event in self._pending:
            if event.task and event.task.pid in self._options.follow:
                self.follow(*event.task.key)

    def _load(self) -> None:
        options = self._options
        with resources.as_file(resources.files("sigtrace.sources") / "sigtrace.bpf.o") as path:
            self._object = bpf = Object(self._library, os.fspath(path))
        bpf.set_constants(".rodata", self._options.constants(self._hierarchy))
        bpf.set_max_entries("events", options.events_bytes)
        bpf.set_max_entries("lives", options.lives_bytes)
        bpf.set_max_entries("counts", options.counts)
        bpf.set_autoload("process_fork", options.children)
        bpf.set_autoload("snapshot_signalfds", options.signalfds)
        self._cpus = self._library.call("libbpf_num_possible_cpus")
        cpu_ids = last_possible_cpu() + 1  # more than there are, where the numbering has gaps
        bpf.set_max_entries("slots", cpu_ids)
        bpf.load()
        for ring, size, record in (
            ("events", options.events_bytes, wire.EVENT.size),
            ("lives", options.lives_bytes, wire.LIFE.size),
        ):
            self._rings.append(Ring(bpf.map(ring).fd, size, record))
            self._poll.register(self._rings[-1].fd, select.EPOLLIN)
        self.counters = Counters(bpf.map("counts"), SlotTable(bpf.map("slots").fd, cpu_ids), self._cpus)
        self._followed = bpf.map("followed")
        self._gone = bpf.map("gone")
        self._limits = bpf.map("limits")
        self.unwanted = Unwanted(bpf.map("unwanted")) if options.filtered else None
        programs = (*PROGRAMS, "process_fork") if options.children else PROGRAMS
        for program in programs:
            bpf.attach(program)
        told_anyway = options.tell_all or bool(options.follow) or options.children
        self._listings = Listings(
            bpf, signalfds=options.signalfds, census=not told_anyway, zombie_ns=int(options.zombie_after_s * 1e9)
        )
        self._watched, self._gates = bpf.map("watched"), bpf.map("gates")
        self._ledger = KernelLedger(
            bpf.map("ledger"), bpf.map("locals"), self._cpus, [bpf.program_fd(p) for p in programs]
        )

    def close(self) -> None:
        """Detaches and unloads."""
        if not self._poll.closed:
            self._poll.close()
        for ring in self._rings:
            ring.close()
        self._rings.clear()
        if self.counters:
            self.counters.close()
        if self._object:
            self._object.close()
            self._object = None

    # ---- reading

    def read(self, timeout_s: float) -> Batch:
        """Waits for records at most so long. LOST events are among them when something was lost."""
        pending, self._pending = self._pending, []
        if not pending:
            self._wait(timeout_s)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if now - self._wall_at_ns > _WALL_INTERVAL_NS:
            self._measure_wall()
        until = now - _HOLD_NS
        raw: list[Raw] = []
        for ring in self._rings:
            records = ring.read()
            if records and not ring.drained:
                # What was left behind is not much older than the last that was taken, but older than now.
                until = min(until, wire.time_of(records[-1][2]) - _HOLD_NS)
            elif not ring.drained:
                until = min(until, self._until_ns)
            raw += records
        events = pending + [self._ancestry.complete(e) for e in (wire.decode(r[2], self._wall_ns) for r in raw) if e]
        for ring in self._rings:
            ring.advance()
        self._idle_polls = 0 if raw else self._idle_polls + 1
        if self._listings and self._object:
            events += self._listings.due(events, now, self._wall_ns)
        for event in events:
            if event.watched and event.kind is Kind.EXIT and event.task:
                self._unwatch(event.task.key)
        events += self._housekeeping(now)
        self._until_ns = max(self._until_ns, until)
        return Batch(events, self._until_ns)

    def _housekeeping(self, now: int) -> list[Event]:
        """Once a second: losses become events, and removed cgroups give back their counters."""
        if now - self._ledger_at_ns < _LEDGER_INTERVAL_NS or not self.counters:
            return []
        self._ledger_at_ns = now
        events = self._losses(now)
        for key, at in list(self._gone.items()):
            cgroup = int.from_bytes(key, "little")
            self._gone.delete(key)
            self.counters.gone(cgroup, int.from_bytes(at, "little"))
            self._limits.delete(key)  # a signal to a zombie of it may have made it anew
            if self.unwanted:
                self.unwanted.discard(cgroup)
            events.append(Event(now, now + self._wall_ns, Kind.CGROUP_RMDIR, cgroup_id=cgroup))
        self.counters.give_back(now)
        return events

    def _wait(self, timeout_s: float) -> None:
        if self._idle_polls < _LINGERING_POLLS:
            # Records may be there or come without waking us: sleep, whatever the rings say, so that a trickle of
            # records costs one read every 2 ms and not one each.
            time.sleep(min(_POLL_S, timeout_s))
        elif self._listings and self._listings.waits:
            self._poll.poll(min(timeout_s, _LISTING_S))
        else:
            self._poll.poll(timeout_s)

    def _measure_wall(self) -> None:
        """The offset between the clocks: a step or slew of the wall clock is seen at the next measurement."""
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._wall_ns = wall - (before + after) // 2
        self._wall_at_ns = after

    def _losses(self, now: int) -> list[Event]:
        return [
            Event(now, now + self._wall_ns, Kind.LOST, loss=loss, count=count) for loss, count in self._ledger.news()
        ]

    def finish(self, deadline_s: float) -> Iterator[Batch]:
        """Detaches, then what the rings still hold. What time does not suffice for is told as LOST."""
        if self._object:
            self._object.detach(PROGRAMS)
        end = time.monotonic() + deadline_s
        self._idle_polls = _LINGERING_POLLS
        while time.monotonic() < end and any(ring.waiting() for ring in self._rings):
            yield self.read(0)
        self._ledger_at_ns = 0
        batch = self.read(0)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if left := sum(ring.waiting() for ring in self._rings):
            lost = Event(now, now + self._wall_ns, Kind.LOST, loss=Loss.QUEUE_FULL, count=left)
            batch = Batch([*batch.events, lost], now)
        if self._listings and self._listings.waits:
            batch = Batch([*batch.events, *self._listings.due([], now, self._wall_ns, last=True)], now)
        yield Batch(batch.events, now + _HOLD_NS)

    # ---- what exists

    def snapshot(self) -> list[Event]:
        """Every process that exists, zombies too; those that may be main processes with their argv."""
        if not self._listings:
            return []
        return self._listings.everything(time.clock_gettime_ns(time.CLOCK_BOOTTIME), self._wall_ns)

    # ---- counters and choices

    def counts(self) -> Counts:
        """Totals of every signal and exit since the source was opened."""
        return self.counters.read(*self._ledger.others()) if self.counters else Counts()

    def ledger(self) -> dict[str, int]:
        """The kernel's ledger by name: recorded, limited, and what found no room."""
        recorded = zip(("recorded_event", "recorded_life"), self._rings, strict=False)
        listings = {"listings_failed": self._listings.failed if self._listings else 0}
        return {name: ring.produced() for name, ring in recorded} | listings | self._ledger.read()

    def watch(self, pid: int, start_ns: int) -> None:
        """It is a container's main process, though no init: what it gets, and its end, is never limited away."""
        key = (pid, start_ns)
        if self._object and key not in self._mains and len(self._mains) < self._watched.max_entries:
            self._mains.add(key)
            self._watched.update(wire.PROCESS_KEY.pack(start_ns, pid, 0), _YES)
            self._open_gates()

    def _unwatch(self, key: tuple[int, int]) -> None:
        if self._object and key in self._mains:
            self._mains.remove(key)
            self._watched.delete(wire.PROCESS_KEY.pack(key[1], key[0], 0))
            self._open_gates()

    def expect_stop_signal(self, signo: int) -> None:
        """Some container declares it as its stop signal."""
        if self._listings and not self._listings.stop_signals >> (signo - 1) & 1:
            self._listings.stop_signals |= 1 << (signo - 1)
            self._open_gates()

    def _open_gates(self) -> None:
        if self._object and self._listings:
            self._gates.update(_FIRST, wire.GATE.pack(self._listings.stop_signals, bool(self._mains), 0))

    def follow(self, pid: int, start_ns: int) -> None:
        """Tell of this process (and of its descendants, if so opened)."""
        self._followed.update(wire.PROCESS_KEY.pack(start_ns, pid, 0), _YES)


def probe() -> None:
    """Load, attach and detach. Raises HostError with the reason if this host does not allow it."""
    source = BpfSource(BpfOptions(events_bytes=1 << 16, lives_bytes=1 << 16))
    try:
        source.open()
    finally:
        source.close()
