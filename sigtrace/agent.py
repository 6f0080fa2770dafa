"""Wires the stages together and runs them: the one file that knows them all."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final, Self

from sigtrace.attribution.attributor import Attributor, Names
from sigtrace.attribution.cgroups import Cgroups
from sigtrace.attribution.runtimes.base import SocketStatus
from sigtrace.attribution.runtimes.lookup import Runtimes
from sigtrace.attribution.runtimes.sockets import find, given, probe
from sigtrace.detectors.base import Thresholds
from sigtrace.detectors.chain import Chain
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, HostError, RunError
from sigtrace.model.causes import Severity
from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.workload import Observation
from sigtrace.pipeline import Feed, Pipeline, Recorder
from sigtrace.sinks.base import LineWriter, Sink
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.command import Command
from sigtrace.sources.host import read_host
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.select import choose

#: Runtimes that answer within this have named all that runs when the first event is told; later ones name it then.
_SETTLE_S: Final = 0.15
#: The longest a loop sleeps: how soon a signal to us is noticed.
_STEP_S: Final = 0.2
#: What was recorded before the end is told within this time.
_FINISH_S: Final = 1.0
#: How long a command that was asked to end is still followed.
_PATIENCE_S: Final = 1.0
#: After the command of `trace -- CMD` has ended: its last events are reaped and freed by then.
_LINGER_S: Final = 0.1
SHOWN: Final = frozenset(
    {Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT, Kind.REAP, Kind.EXEC, Kind.OOM_KILL, Kind.LOST}
)


class Stop:
    """Asked to end by SIGINT, SIGTERM or a reader that went away. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self.signo = 0

    def __call__(self, signo: int, _frame: FrameType | None) -> None:
        """As a signal handler."""
        if self.asked:
            signal.signal(signo, signal.SIG_DFL)
            os.kill(os.getpid(), signo)
        self.asked, self.signo = True, signo

    def ask(self) -> None:
        """Without a signal."""
        self.asked = True


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM ask for the end while this is open."""
    stop = Stop()
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wanted = [signo for signo in asking if signo != signal.SIGHUP or signal.getsignal(signo) is not signal.SIG_IGN]
    old = {signo: signal.signal(signo, stop) for signo in wanted}  # nohup keeps what it asked for
    try:
        yield stop
    finally:
        for signo, handler in old.items():
            signal.signal(signo, handler)


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
    ) -> None:
        """``backend``: auto, bpf, bcc or ptrace. ``names``: who knows containers; else ``sockets``, or those found.

        Raises HostError if there is no backend.
        """
        host = read_host()
        self.backend = choose(backend, host)
        self._source = BpfSource(options)
        if host.hierarchy is None:
            raise HostError(
                "no cgroup hierarchy is mounted", next_step="mount one: mount -t cgroup2 none /sys/fs/cgroup"
            )
        self.hierarchy = host.hierarchy
        self._cgroups = Cgroups(host.hierarchy.mount)
        self._runtimes = None if names else Runtimes(given(sockets) if sockets else None)
        self.sinks = sinks
        attributor = Attributor(
            self._cgroups,
            os.uname().nodename,
            on_main=self._source.watch,
            on_stop_signal=self._source.expect_stop_signal,
            names=names or self._runtimes,
        )
        self.thresholds = thresholds or Thresholds()
        pipeline = Pipeline(Chain(self.thresholds), sinks, recorder)
        self.feed = Feed(self._source, attributor, pipeline, sinks)

    def __enter__(self) -> Self:
        if self._runtimes is not None:
            self._runtimes.start()
        try:
            self._source.open()
        except BaseException:
            self.__exit__()
            raise
        self._cgroups.walk(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if self._runtimes is not None:
            self._runtimes.settle(_SETTLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        if self._runtimes is not None:
            self._runtimes.close()

    def ready(self) -> None:
        """Tell that nothing can be missed any more, once the snapshot is through."""
        self.feed.step(0)
        kind = self.hierarchy.kind.name.lower()
        tell(f"ready backend={self.backend} cgroups={kind}")

    def run(self, done: Callable[[], bool]) -> None:
        """Events through the pipeline until it is done."""
        while not done():
            self.feed.step(_STEP_S)

    def finish(self) -> None:
        """What is still on its way, then the sinks' last words."""
        for batch in self._source.finish(_FINISH_S):
            self.feed.take(batch)
        self.feed.end()
        for sink in self.sinks:
            sink.close()

    def lost(self) -> dict[str, int]:
        """The kernel's ledger."""
        return self._source.ledger()


def ask_runtimes() -> list[SocketStatus]:
    """Each runtime's socket that is there, tried now."""
    return [probe(socket) for socket in find()]


def until(stop: Stop, duration_s: float | None) -> Callable[[], bool]:
    """Asked to stop, out of time, or nobody reads what we would write (`| head`), even while there is nothing to."""
    end = time.monotonic() + duration_s if duration_s else None
    readers = select.poll()
    with contextlib.suppress(OSError, ValueError):  # stdout is no file: nobody can close it
        readers.register(sys.stdout.fileno(), 0)

    def done() -> bool:
        gone = any(events & select.POLLERR for _, events in readers.poll(0))
        return stop.asked or gone or (end is not None and time.monotonic() >= end)

    return done


def watch(
    *,
    output: str,
    backend: str,
    duration_s: float | None,
    chosen: WorkloadFilter,
    fail_on: Severity | None,
    zombie_after_s: float | None = None,
    unanswered_after_s: float | None = None,
    sockets: Sequence[str] = (),
) -> int:
    """Verdicts as they happen. Returns the exit status."""
    tally = Tally()
    options = BpfOptions(zombie_after_s=zombie_after_s) if zombie_after_s else BpfOptions()
    thresholds = Thresholds(unanswered_after_s=unanswered_after_s) if unanswered_after_s else Thresholds()
    with stop_signals() as stop:
        writer = LineWriter(sys.stdout, on_closed=stop.ask)
        sink: Sink = Jsonl(writer, events=None) if output == "json" else Story(writer, Style.of(sys.stdout))
        sinks: list[Sink] = [Filtered(sink, chosen), Filtered(tally, chosen)]
        with Capture(backend, options, sinks, thresholds=thresholds, sockets=sockets) as capture:
            capture.ready()
            capture.run(until(stop, duration_s))
            capture.finish()
        finish_writing(writer)
    return EXIT_FINDINGS if fail_on and tally.worst and tally.worst >= fail_on else EXIT_OK


def trace(
    *,
    output: str,
    backend: str,
    duration_s: float | None,
    chosen: WorkloadFilter,
    signos: tuple[int, ...],
    pid: int | None,
    everything: bool,
    argv: tuple[str, ...],
    sockets: Sequence[str] = (),
) -> int:
    """The events themselves; with ``argv`` those of that command's process tree. Returns the exit status."""
    mask = sum(1 << (signo - 1) for signo in set(signos)) if signos else (1 << 64) - 1
    kinds = frozenset({Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.LOST}) if signos else SHOWN

    def shown(observation: Observation) -> bool:
        return observation.event.kind in kinds

    with stop_signals() as stop:
        command = Command(argv) if argv else None
        followed = (command.pid,) if command else (pid,) if pid else ()
        options = BpfOptions(
            signal_mask=mask,
            tell_all=everything,
            follow=followed,
            children=command is not None,
            events_bytes=(32 if everything else 4) << 20,
        )
        try:
            writer = LineWriter(sys.stdout, room=100_000, on_closed=stop.ask)
            sink: Sink
            if output == "json":
                sink = Jsonl(writer, events=shown, verdicts=False)
            else:
                sink = EventText(writer, Style.of(sys.stdout), shown)
            with Capture(backend, options, [Filtered(sink, chosen)], sockets=sockets) as capture:
                capture.ready()
                if command:
                    command.release()
                    _follow(command, capture, stop, duration_s)
                else:
                    capture.run(until(stop, duration_s))
                capture.finish()
            finish_writing(writer)
        finally:
            if command:
                command.abandon()
    return command.status.code if command and command.status else EXIT_OK


def _follow(command: Command, capture: Capture, stop: Stop, duration_s: float | None) -> None:
    """Until the command has ended. A terminal's SIGINT it got itself; SIGTERM and SIGHUP to us are passed on."""
    done = until(stop, duration_s)
    capture.run(lambda: command.poll() or done())
    if command.status is None and stop.signo in (signal.SIGTERM, signal.SIGHUP):
        command.signal(stop.signo)
    if stop.asked:
        patience = time.monotonic() + _PATIENCE_S
        capture.run(lambda: command.poll() or time.monotonic() > patience)
    linger = time.monotonic() + _LINGER_S
    capture.run(lambda: time.monotonic() > linger)
    if not command.poll():
        tell(f"the command (pid {command.pid}) still runs, no longer traced")


def tell(line: str) -> None:
    """A line for a person, on stderr; if nobody can read it, that changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(f"sigtrace: {line}", file=sys.stderr, flush=True)


def finish_writing(writer: LineWriter) -> None:
    """Raises RunError if the stream failed (a full disk); one that was closed is no failure."""
    left = writer.close(_FINISH_S / 2)
    if writer.failure is not None:
        raise RunError(
            f"cannot write to standard output: {writer.failure.strerror}", next_step="make room, or write elsewhere"
        )
    if left and not writer.closed:
        tell(f"{left} lines were not written: nobody read them in time")


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
