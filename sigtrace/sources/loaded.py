"""What runs in the kernel for us: the object, loaded and attached or found pinned, with its maps and rings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from sigtrace.model.hierarchy import Hierarchy
from sigtrace.sources import wire
from sigtrace.sources._libbpf import LibbpfError, Library, Object
from sigtrace.sources.counters import Counters, SlotTable
from sigtrace.sources.ledger import KernelLedger
from sigtrace.sources.listing import Listings
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.pins import About, Pins, digest_of
from sigtrace.sources.places import Places
from sigtrace.sources.prepare import opened, path_of
from sigtrace.sources.procfs import last_possible_cpu
from sigtrace.sources.ring import Ring
from sigtrace.sources.spares import SPARES, has_spares
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
_PINNED_MAPS: Final = tuple(
    "events lives slots counts gone limits watched gates followed ledger locals about places payers stopping".split()
)
#: Of a ring that is pinned, the part that stays behind for a successor to read again.
_HELD: Final = 0.5


class Loaded:
    """Raises LibbpfError where the kernel refuses, HostError where nothing can be pinned."""

    def __init__(
        self,
        library: Library,
        options: BpfOptions,
        hierarchy: Hierarchy | None,
        name: str = "sigtrace.bpf.o",
        make: Callable[[Library, str], Object] = Object,
        ready: Object | None = None,
    ) -> None:
        """``name``: the object file; ``make``: opens it; ``ready``: it has been loaded already, with these options."""
        self._options = options
        self._path = path_of(name)
        self._programs: tuple[str, ...] = (*PROGRAMS, "process_fork") if options.children else PROGRAMS
        self._programs += tuple(SPARES.values()) if has_spares(os.uname().release) else ()
        self._pins = Pins(options.pin) if options.pin else None
        self.cpus = library.call("libbpf_num_possible_cpus")
        self._cpu_ids = last_possible_cpu() + 1  # more than there are, where the numbering has gaps
        self.resumed: About | None = None
        """what the agent before us left"""
        self.replaced = False
        """there were pins, of another version or with other settings: what was counted and not read is gone"""
        self.rings: list[Ring] = []
        self.counters: Counters | None = None
        if self._pins:
            self._pins.lock()
        try:
            if ready is None:
                self.object = opened(library, options, hierarchy, name, make)
                if self._pins is None or not self._resume(self._pins, hierarchy):
                    self.object.load()
            else:
                self.object = ready
            self._open()
            if self._pins and not self.resumed:
                self._pin(self._pins, hierarchy)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        options, bpf = self._options, self.object
        for ring, size, record in (
            ("events", options.events_bytes, wire.EVENT.size),
            ("lives", options.lives_bytes, wire.LIFE.size),
        ):
            held = int(size * _HELD) if self._pins else 0
            self.rings.append(Ring(bpf.map(ring).fd, size, record, held))
        self.counters = Counters(bpf.map("counts"), SlotTable(bpf.map("slots").fd, self._cpu_ids), self.cpus)
        self.followed = bpf.map("followed")
        self.gone = bpf.map("gone")
        self.limits = bpf.map("limits")
        self.payers = bpf.map("payers")
        self.stopping = bpf.map("stopping")
        self.watched, self.gates = bpf.map("watched"), bpf.map("gates")
        self.unwanted = Unwanted(bpf.map("unwanted")) if options.filtered else None
        for program in self._programs:
            bpf.attach(program)
        told_anyway = options.tell_all or bool(options.follow) or options.children
        self.listings = Listings(
            bpf, signalfds=options.signalfds, census=not told_anyway, zombie_ns=int(options.zombie_after_s * 1e9)
        )
        descriptors = {p: bpf.program_fd(p) for p in self._programs}
        told = self.resumed.told() if self.resumed else {}
        self.ledger = KernelLedger(
            bpf.map("ledger"), bpf.map("locals"), self.cpus, descriptors, told, reaps=told_anyway
        )
        self.about = bpf.map("about") if self._pins else None
        self.places = Places(bpf.map("places")) if self._pins else None
        self._about = self.resumed

    # ---- pins

    def _digest(self, hierarchy: Hierarchy | None) -> bytes:
        constants = self._options.constants(hierarchy)
        sizes = (self._options.events_bytes, self._options.lives_bytes, self._options.counts, self._cpu_ids)
        return digest_of(self._path, constants, sizes, _HELD)

    def _resume(self, pins: Pins, hierarchy: Hierarchy | None) -> bool:
        """Whether an agent before us, of this version and with these settings, left its programs running."""
        names = pins.names()
        if not names:
            return False
        try:
            maps = {name: pins.path("map", name) for name in _PINNED_MAPS}
            programs = {name: pins.path("prog", name) for name in self._programs}
            links = {name[5:]: pins.path("link", name[5:]) for name in names if name.startswith("link_")}
            self.object.resume(maps, programs, links)
            left = About.read(self.object.map("about"))
            if left.digest == self._digest(hierarchy) and {*self._programs, "snapshot_tasks"} <= set(links):
                self.resumed = left
                return True
        except (LibbpfError, ValueError):
            pass  # half of it is there: an agent was killed while it pinned
        self.object.forget()
        # The old programs go before the new ones come: for a moment nobody counts, and that is told.
        self.replaced = True
        pins.remove(names)
        return False

    def _pin(self, pins: Pins, hierarchy: Hierarchy | None) -> None:
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for name in _PINNED_MAPS:
            self.object.pin_map(name, pins.path("map", name))
        for name in self._programs:
            self.object.pin_program(name, pins.path("prog", name))
        for name in self.object.attached():
            self.object.pin_link(name, pins.path("link", name))
        # Last: what lacks it is half made, by an agent that was killed meanwhile.
        self._about = About(self._digest(hierarchy), now, now)
        self._about.write(self.object.map("about"))

    def note_told(self, until_ns: int) -> None:
        """Everything up to ``until_ns`` (CLOCK_BOOTTIME) is in the pipeline, for the agent that comes after us."""
        if self._about and self.about:
            self._about.note(max(until_ns, self._about.until_ns), self.ledger.told)
            self._about.write(self.about)

    # ---- end

    @property
    def since_ns(self) -> int:
        """Since when the kernel counts for us (CLOCK_BOOTTIME); 0: nothing is pinned, so since it was loaded."""
        return self._about.since_ns if self._about else 0

    @property
    def pinned(self) -> bool:
        """Whether the kernel goes on when we leave."""
        return self._pins is not None

    def detach(self) -> None:
        """No more records, unless it is pinned."""
        if not self._pins:
            self.object.detach(self._programs)

    def close(self) -> None:
        """Lets go of everything; what is pinned stays."""
        for ring in self.rings:
            ring.close()
        self.rings.clear()
        if self.counters:
            self.counters.close()
            self.counters = None
        if ledger := getattr(self, "ledger", None):
            ledger.close()
        if bpf := getattr(self, "object", None):
            bpf.close()
        if self._pins:
            self._pins.unlock()
