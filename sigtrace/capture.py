"""A source that is open, and the pipeline behind it."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

from sigtrace.attribution.attributor import Attributor, Names
from sigtrace.attribution.cgroups import Cgroups
from sigtrace.attribution.runtimes.base import SocketStatus
from sigtrace.attribution.runtimes.lookup import Runtimes
from sigtrace.attribution.runtimes.sockets import given
from sigtrace.detectors.base import Thresholds
from sigtrace.detectors.chain import Chain
from sigtrace.errors import HostError
from sigtrace.model.event import Event, Kind
from sigtrace.model.workload import Workload
from sigtrace.pipeline import Feed, Pipeline, Recorder
from sigtrace.sinks.base import Sink
from sigtrace.sources.base import Counts, Source
from sigtrace.sources.host import read_host
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import node_name
from sigtrace.sources.select import AUTO, choices, make, why_not_better

#: Runtimes that answer within this have named all that runs when the first event is told; later ones name it then.
_SETTLE_S: Final = 0.15
#: Of containers that came and went before us: so many are asked for, and so long (s) the answers are waited for.
_BACKLOG_MAX: Final = 500
_BACKLOG_S: Final = 1.0
_CONTAINER_ID: Final = re.compile("[0-9a-f]{64}")
#: The longest a loop sleeps: how soon a signal to us is noticed.
_STEP_S: Final = 0.2
#: What was recorded before the end is told within this time.
FINISH_S: Final = 1.0


class Capture:
    """A source that is open, and the pipeline behind it. ``with capture: …`` closes both."""

    def __init__(
        self,
        backend: str,
        options: BpfOptions,
        sinks: list[Sink],
        *,
        thresholds: Thresholds | None = None,
        recorder: Recorder | None = None,
        names: Names | None = None,
        sockets: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        """``backend``: auto, bpf, bcc or ptrace. ``names``: who knows containers; else ``sockets``, or those found.

        ``without``: backends that ``auto`` is not to come to.
        Raises HostError if there is no backend.
        """
        host = read_host()
        self._host = host
        self._is_auto = backend == AUTO
        self._candidates = choices(backend, host, without)
        self._options = options
        if host.hierarchy is None:
            raise HostError(
                "no cgroup hierarchy is mounted", next_step="mount one: mount -t cgroup2 none /sys/fs/cgroup"
            )
        self.hierarchy = host.hierarchy
        self._cgroups = Cgroups(host.hierarchy.mount)
        self._told_gone: set[int] = set()
        """cgroups of which we read again what happened before we came, and that went before, too"""
        self._runtimes = None if names else Runtimes(given(sockets) if sockets else None)
        self.sinks = sinks
        self._attributor = Attributor(
            self._cgroups,
            node_name(),
            on_main=self._watch,
            on_stop_signal=self._expect,
            on_gone=self._gone_before,
            names=names or self._runtimes,
        )
        self.thresholds = thresholds or Thresholds()
        self._pipeline = Pipeline(Chain(self.thresholds), sinks, recorder)
        self._use(self._candidates[0])

    def _use(self, backend: str) -> None:
        self.backend = backend
        self._source: Source = make(backend, self._options)
        self.feed = Feed(self._source, self._attributor, self._pipeline, self.sinks)

    def __enter__(self) -> Self:
        if self._runtimes is not None:
            self._runtimes.start()
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        self._cgroups.keep(self._source.places)
        self._cgroups.walk(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self._source.charge(self._cgroups.owners())
        if self._runtimes is not None:
            self._runtimes.settle(_SETTLE_S)
        return self

    def _open(self) -> None:
        """The first that can be: what a backend promises, only opening it proves."""
        for reason in why_not_better(self.backend, self._host) if self._is_auto else ():
            tell(reason)
        for backend in self._candidates:
            if backend != self.backend:
                self._use(backend)
            try:
                self._source.open()
            except HostError as error:
                self._source.close()
                if backend == self._candidates[-1]:
                    raise
                tell(str(error))
            else:
                return

    def _watch(self, pid: int, start_ns: int) -> None:
        """By whatever source it came to."""
        self._source.watch(pid, start_ns)

    def _expect(self, signo: int) -> None:
        self._source.expect_stop_signal(signo)

    def _gone_before(self, cgroup: int) -> None:
        """An agent before us was told that it was removed; we are when all that is older has been."""
        if cgroup not in self._told_gone:
            self._told_gone.add(cgroup)
            orderer, now = self.feed.orderer, time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            at_ns = max(self._cgroups.since_ns, orderer.released_ns)
            orderer.hold(Event(at_ns, time.time_ns() - now + at_ns, Kind.CGROUP_RMDIR, cgroup_id=cgroup))

    def __exit__(self, *_: object) -> None:
        self._source.close()
        if self._runtimes is not None:
            self._runtimes.close()

    def begin(self) -> None:
        """The first step: what exists and, where rings were pinned, what happened while nobody read them.

        Of what began and ended meanwhile the names are asked for first: later nobody would ask.
        """
        batch = self._source.read(0)
        if self._runtimes is not None and self.resumed_ns:
            made = [e.cgroup_name for e in batch.events if e.kind is Kind.CGROUP_MKDIR]
            made += self._cgroups.gone()
            ids = {found[-1] for name in made[:_BACKLOG_MAX] if (found := _CONTAINER_ID.findall(name))}
            self._runtimes.settle_for(ids, _BACKLOG_S)
        self.feed.take(batch)

    def ready(self) -> None:
        """Tell that nothing can be missed any more, once the snapshot is through."""
        self.begin()
        kind = self.hierarchy.kind.name.lower()
        tell(f"ready backend={self.backend} cgroups={kind}")

    def run(self, done: Callable[[], bool], step_s: Callable[[], float] = lambda: _STEP_S) -> None:
        """Events through the pipeline until it is done, which is asked for at least each ``step_s()`` (s)."""
        while not done():
            self.feed.step(step_s())

    def wake(self) -> None:
        """Ends the step that waits for events, so that sinks are asked what they want. For any thread."""
        self._source.wake()

    def finish(self) -> None:
        """What is still on its way, then the sinks' last words."""
        for batch in self._source.finish(FINISH_S):
            self.feed.take(batch)
        self.feed.end(handed_over=self._options.pin is not None)
        for sink in self.sinks:
            sink.close()

    def lost(self) -> dict[str, int]:
        """The source's ledger, and ``late``: events that came after a younger one had been told."""
        return self._source.ledger() | {"late": self.feed.orderer.late}

    def counts(self) -> Counts:
        """What the kernel counted since the source was opened."""
        return self._source.counts()

    def naming(self) -> tuple[list[SocketStatus], int]:
        """How it stands with the runtimes' sockets, and how many questions for names were dropped since the start."""
        return (self._runtimes.status(), self._runtimes.dropped()) if self._runtimes else ([], 0)

    @property
    def resumed_ns(self) -> int:
        """Up to here (CLOCK_BOOTTIME) an agent before us had told all, and the kernel went on; 0: there was none."""
        return self._source.resumed_ns

    @property
    def replaced(self) -> bool:
        """What an agent before us had pinned could not be taken over."""
        return self._source.replaced

    @property
    def since_wall_ns(self) -> int:
        """Since when the kernel counts, since the epoch."""
        wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return self._source.since_ns + wall_ns

    def given_back(self) -> Counts:
        """What removed cgroups counted to their end, since the last call. For the pipeline's thread."""
        return self._source.given_back()

    def judged(self, cgroup: int, unwanted: bool) -> None:
        """Whether the kernel may leave out what concerns nobody but this cgroup."""
        self._source.leave_out(cgroup, unwanted)

    def workload_of(self, cgroup: int) -> Workload | None:
        """Whose this cgroup is, by its id. For the pipeline's thread (a sink's ``pass_time``)."""
        return self._attributor.workload_of(cgroup, time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def tell(line: str) -> None:
    """A line for a person, on stderr; if nobody can read it, that changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(f"sigtrace: {line}", file=sys.stderr, flush=True)


def run_in_background(capture: Capture) -> Callable[[], None]:
    """Runs the pipeline in a thread; returns what ends it, takes the rest through and raises what went wrong."""
    end = threading.Event()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            capture.run(end.is_set)
        except BaseException as e:  # noqa: BLE001  # raised again in the thread that ends it
            failure.append(e)

    thread = threading.Thread(target=work, name="pipeline", daemon=True)
    thread.start()

    def finish() -> None:
        end.set()
        thread.join()
        if failure:
            raise failure[0]
        capture.finish()

    return finish
