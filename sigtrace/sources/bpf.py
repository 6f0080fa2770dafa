"""The kernel's own events through CO-RE BPF: load, attach, snapshot, read.

Needs CAP_BPF and CAP_PERFMON, kernel BTF and the first PID namespace; attaches with bpf(2) alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from sigtrace.errors import HostError
from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.hierarchy import Hierarchy
from sigtrace.sources import ahead, wire
from sigtrace.sources._libbpf import LibbpfError, Library
from sigtrace.sources.base import Batch, Counts
from sigtrace.sources.choices import Choices
from sigtrace.sources.counters import Counters
from sigtrace.sources.housekeeping import Housekeeping
from sigtrace.sources.loaded import Loaded
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.places import Places
from sigtrace.sources.procfs import Ancestry
from sigtrace.sources.ring import Raw
from sigtrace.sources.waiting import Waiting

if TYPE_CHECKING:
    from sigtrace.sources.host import Host
    from sigtrace.sources.refusals import Refusal

#: From taking the time of a record to its place in the ring is microseconds, unless that CPU is taken away meanwhile.
_HOLD_NS: Final = 5_000_000
_WALL_INTERVAL_NS: Final = 10_000_000_000


class BpfSource:
    """A :class:`sigtrace.sources.base.Source`."""

    name = "bpf"
    title = "BPF"
    """what a person calls it"""

    def __init__(self, options: BpfOptions | None = None) -> None:
        self._options = options or BpfOptions()
        self._loaded: Loaded | None = None
        self._choices: Choices | None = None
        self._housekeeping: Housekeeping | None = None
        self._waiting = Waiting()
        self._wall_ns = 0
        self._wall_at_ns = 0
        self._hierarchy: Hierarchy | None = None
        self._pending: list[Event] = []
        self._until_ns = 0
        self._ancestry = Ancestry()
        self.resumed_ns = 0
        """pinned and found running: up to here (CLOCK_BOOTTIME) an agent before us had told everything"""
        self.since_ns = 0
        """since when the kernel counts (CLOCK_BOOTTIME)"""

    # ---- life cycle

    def open(self) -> None:
        """Loads, attaches, then takes the snapshot. Raises HostError with the reason and the next step."""
        from sigtrace.sources.host import read_host
        from sigtrace.sources.refusals import explain_load_error

        host = read_host()
        for refusal in self._refusals(host):
            raise HostError(f"cannot use {self.title}: {refusal}", next_step=refusal.fix)
        self._hierarchy = host.hierarchy
        try:
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

    def _refusals(self, host: Host) -> list[Refusal]:
        """What stands in its way here."""
        from sigtrace.sources.refusals import bpf_refusals

        return bpf_refusals(host)

    def _make(self) -> Loaded:
        ready = ahead.take(self._options, self._hierarchy)
        return Loaded(Library(), self._options, self._hierarchy, ready=ready)

    def _load(self) -> None:
        self._loaded = loaded = self._make()
        self._choices, self._housekeeping = Choices(loaded), Housekeeping(loaded)
        for ring in loaded.rings:
            self._waiting.register(ring.fd)
        self.since_ns = loaded.since_ns or time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if loaded.resumed:
            self.resumed_ns = loaded.resumed.until_ns

    def close(self) -> None:
        """Detaches and unloads; what is pinned goes on."""
        self._waiting.close()
        if self._loaded:
            self._loaded.close()
            self._loaded = self._choices = self._housekeeping = None

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
        loaded = self._loaded
        for ring in loaded.rings if loaded else ():
            records = ring.read()
            if records and not ring.drained:
                # What was left behind is not much older than the last that was taken, but older than now.
                until = min(until, wire.time_of(records[-1][2]) - _HOLD_NS)
            elif not ring.drained:
                until = min(until, self._until_ns)
            raw += records
        events = pending + [self._ancestry.complete(e) for e in (wire.decode(r[2], self._wall_ns) for r in raw) if e]
        for ring in loaded.rings if loaded else ():
            ring.advance()
        self._waiting.came(len(raw))
        if loaded:
            events += loaded.listings.due(events, now, self._wall_ns)
        if choices := self._choices:
            for event in events:
                if event.kind is Kind.EXIT and event.task and not event.ns_init:
                    choices.exited(*event.task.key)
        if self._housekeeping:
            events += self._housekeeping.due(now, self._wall_ns, self._until_ns)
        self._until_ns = max(self._until_ns, until)
        return Batch(events, self._until_ns)

    def _wait(self, timeout_s: float) -> None:
        loaded = self._loaded
        if loaded:
            due_ns = loaded.listings.deadline() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            timeout_s = min(timeout_s, max(0, due_ns) / 1e9)
        self._waiting.wait(timeout_s, more=loaded is not None and any(ring.waiting() for ring in loaded.rings))

    def wake(self) -> None:
        """Ends the read that waits, or else the next that would. For any thread."""
        self._waiting.waker.ring()

    def _measure_wall(self) -> None:
        """The offset between the clocks: a step or slew of the wall clock is seen at the next measurement."""
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._wall_ns = wall - (before + after) // 2
        self._wall_at_ns = after

    def finish(self, deadline_s: float) -> Iterator[Batch]:
        """Detaches, then what the rings still hold. What time does not suffice for is told as LOST.

        What is pinned stays attached, and what time does not suffice for is left to whoever comes next.
        """
        loaded = self._loaded
        if not loaded:
            return
        loaded.detach()
        end = time.monotonic() + deadline_s
        self._waiting.rest()
        while time.monotonic() < end and any(ring.waiting() for ring in loaded.rings):
            yield self.read(0)
        if self._housekeeping:
            self._housekeeping.done_ns = 0
        batch = self.read(0)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if (left := sum(ring.waiting() for ring in loaded.rings)) and not loaded.pinned:
            lost = Event(now, now + self._wall_ns, Kind.LOST, loss=Loss.QUEUE_FULL, count=left)
            batch = Batch([*batch.events, lost], now)
        if loaded.listings.waits:
            batch = Batch([*batch.events, *loaded.listings.due([], now, self._wall_ns, last=True)], now)
        yield Batch(batch.events, now + _HOLD_NS)

    # ---- what exists

    def snapshot(self) -> list[Event]:
        """Every process that exists, zombies too; those that may be main processes with their argv."""
        if not self._loaded:
            return []
        return self._loaded.listings.everything(time.clock_gettime_ns(time.CLOCK_BOOTTIME), self._wall_ns)

    # ---- counters

    @property
    def counters(self) -> Counters | None:
        """While it is open."""
        return self._loaded.counters if self._loaded else None

    @property
    def places(self) -> Places | None:
        """Where cgroups are, kept for who comes after us; None: nothing is pinned."""
        return self._loaded.places if self._loaded else None

    @property
    def replaced(self) -> bool:
        """There were pins that could not be taken over: what they had counted, and nobody had read, is gone."""
        return self._loaded is not None and self._loaded.replaced

    def counts(self) -> Counts:
        """Totals of every signal and exit since the source was opened."""
        loaded = self._loaded
        return loaded.counters.read(*loaded.ledger.others()) if loaded and loaded.counters else Counts()

    def given_back(self) -> Counts:
        """What removed cgroups counted to their end, since the last call; signals and exits only."""
        return self.counters.take_given() if self.counters else Counts()

    def ledger(self) -> dict[str, int]:
        """The kernel's ledger by name: recorded, limited, and what found no room."""
        loaded, choices = self._loaded, self._choices
        if not loaded or not choices:
            return {}
        recorded = zip(("recorded_event", "recorded_life"), loaded.rings, strict=False)
        refused = loaded.listings.cmdlines.refused
        ours = {
            "listings_failed": loaded.listings.failed,
            "argv_refused": refused,
            "unowned": choices.unowned,
            "unwatched": choices.unwatched,
        }
        return {name: ring.produced() for name, ring in recorded} | ours | loaded.ledger.read()

    # ---- choices

    def watch(self, pid: int, start_ns: int) -> None:
        """It is a container's main process, though no init."""
        if self._choices:
            self._choices.watch(pid, start_ns)

    def expect_stop_signal(self, signo: int) -> None:
        """Some container declares it as its stop signal."""
        if self._choices:
            self._choices.expect_stop_signal(signo)

    def charge(self, owners: Iterable[tuple[int, int, bool]]) -> None:
        """Whose budget it takes to tell of each cgroup."""
        if self._choices:
            self._choices.charge(owners)

    def follow(self, pid: int, start_ns: int) -> None:
        """Tell of this process (and of its descendants, if so opened)."""
        if self._choices:
            self._choices.follow(pid, start_ns)

    def leave_out(self, cgroup: int, unwanted: bool) -> None:
        """With ``BpfOptions.filtered``: what concerns nobody but such cgroups is not told."""
        if self._choices:
            self._choices.leave_out(cgroup, unwanted)


def probe() -> None:
    """Load, attach and detach. Raises HostError with the reason if this host does not allow it."""
    source = BpfSource(BpfOptions(events_bytes=1 << 16, lives_bytes=1 << 16))
    try:
        source.open()
    finally:
        source.close()
