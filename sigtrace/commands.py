"""What `watch` and `trace` do: they wire a capture to what prints it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from sigtrace.attribution.runtimes.base import SocketStatus
from sigtrace.attribution.runtimes.sockets import find, probe
from sigtrace.capture import FINISH_S, Capture, tell
from sigtrace.detectors.base import Thresholds
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, RunError
from sigtrace.model.causes import Severity
from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.workload import Observation
from sigtrace.service.client import agent_socket, is_there
from sigtrace.sinks.base import LineWriter, Sink
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText
from sigtrace.sources.command import Command
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import boot_id, node_name

if TYPE_CHECKING:
    from sigtrace.export import Export

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


def ask_runtimes() -> list[SocketStatus]:
    """Each runtime's socket that is there, tried now."""
    return [probe(socket) for socket in find()]


def nameless(chosen: WorkloadFilter, sockets: Sequence[str]) -> str:
    """Why a choice by name may match nothing here, and what to do; empty if there is a runtime to ask, or no need."""
    if not chosen.by_name or sockets or find():
        return ""
    return (
        f"no runtime's socket was found, so names of pods and containers are unknown and {chosen.words} may match "
        "nothing: give --runtime-socket, or --container with the beginning of an id"
    )


def _ready(capture: Capture, chosen: WorkloadFilter, sockets: Sequence[str]) -> None:
    capture.ready()
    if reason := nameless(chosen, sockets):
        tell(reason)


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
    otlp: Mapping[str, Any] | None = None,
    local: bool = False,
    max_tracees: int = 500,
    whole: bool = False,
) -> int:
    """Verdicts as they happen. Returns the exit status.

    Of the agent on this node, if there is one; a capture of our own with ``local`` and where an option asks for what an
    agent has decided already.
    """
    tally = Tally()
    agent = agent_socket()
    ours = local or backend != "auto" or zombie_after_s or unanswered_after_s or sockets or otlp
    options = BpfOptions(max_tracees=max_tracees, whole=whole)
    if zombie_after_s:
        options = dataclasses.replace(options, zombie_after_s=zombie_after_s)
    thresholds = Thresholds(unanswered_after_s=unanswered_after_s) if unanswered_after_s else Thresholds()
    with stop_signals() as stop:
        writer = LineWriter(sys.stdout, on_closed=stop.ask)
        text = output != "json"
        sink: Sink = Story(writer, Style.of(sys.stdout)) if text else Jsonl(writer, events=None, boot_id=boot_id())
        sinks: list[Sink] = [Filtered(sink, chosen), Filtered(tally, chosen)]
        if not ours and is_there(agent):
            _follow_agent(agent, sinks, until(stop, duration_s))
        else:
            export = _export(otlp)
            with Capture(backend, options, sinks, thresholds=thresholds, sockets=sockets) as capture:
                if export:
                    sinks += [Filtered(exported, chosen) for exported in export.sinks(capture)]
                _ready(capture, chosen, sockets)
                capture.run(until(stop, duration_s))
                capture.finish()
        finish_writing(writer)
    return EXIT_FINDINGS if fail_on and tally.worst and tally.worst >= fail_on else EXIT_OK


def _export(otlp: Mapping[str, Any] | None) -> Export | None:
    if otlp is None:
        return None
    from sigtrace.export import Export  # its packages take a tenth of a second

    return Export(otlp, boot_id(), node_name())


def _follow_agent(path: str, sinks: Sequence[Sink], done: Callable[[], bool]) -> None:
    from sigtrace.service import follow

    follow.verdicts(path, sinks, done=done, tell=tell, ready=lambda: tell(f"ready backend=agent socket={path}"))
    for sink in sinks:
        sink.close()


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
    max_tracees: int = 500,
    whole: bool = False,
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
            filtered=not chosen.is_open,
            max_tracees=max_tracees,
            whole=whole,
            events_bytes=(32 if everything else 4) << 20,
        )
        try:
            writer = LineWriter(sys.stdout, room=100_000, on_closed=stop.ask)
            sink: Sink
            if output == "json":
                sink = Jsonl(writer, events=shown, verdicts=False)
            else:
                sink = EventText(writer, Style.of(sys.stdout), shown)
            with Capture(backend, options, [], sockets=sockets) as capture:
                capture.sinks.append(Filtered(sink, chosen, None if chosen.is_open else capture.judged))
                _ready(capture, chosen, sockets)
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


def finish_writing(writer: LineWriter) -> None:
    """Raises RunError if the stream failed (a full disk); one that was closed is no failure."""
    left = writer.close(FINISH_S / 2)
    if writer.failure is not None:
        raise RunError(
            f"cannot write to standard output: {writer.failure.strerror}", next_step="make room, or write elsewhere"
        )
    if left and not writer.closed:
        tell(f"{left} lines were not written: nobody read them in time")
