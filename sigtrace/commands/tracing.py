"""The events themselves, as they happen."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from sigtrace.capture import Capture, tell
from sigtrace.commands import Stop, finish_writing, until
from sigtrace.commands.watching import ready
from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter, Sink
from sigtrace.sinks.chosen import Filtered
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText
from sigtrace.sources.command import Command
from sigtrace.sources.options import BpfOptions

#: How long a command that was asked to end is still followed.
_PATIENCE_S: Final = 1.0
#: After the command of `trace -- CMD` has ended: its last events are reaped and freed by then.
_LINGER_S: Final = 0.1


def trace(
    stop: Stop,
    command: Command | None,
    *,
    output: str,
    backend: str,
    options: BpfOptions,
    duration_s: float | None,
    chosen: WorkloadFilter,
    kinds: frozenset[Kind],
    sockets: Sequence[str],
) -> None:
    """Events of these kinds until it is asked to end; or until ``command``, which waits to be released, has ended."""

    def shown(observation: Observation) -> bool:
        return observation.event.kind in kinds

    writer = LineWriter(sys.stdout, room=100_000, on_closed=stop.ask)
    sink: Sink
    if output == "json":
        sink = Jsonl(writer, events=shown, verdicts=False)
    else:
        sink = EventText(writer, Style.of(sys.stdout), shown)
    with Capture(backend, options, [], sockets=sockets) as capture:
        capture.sinks.append(Filtered(sink, chosen, None if chosen.is_open else capture.judged))
        ready(capture, chosen, sockets)
        if command:
            command.release()
            _follow(command, capture, stop, duration_s)
        else:
            capture.run(until(stop, duration_s))
        capture.finish()
    finish_writing(writer)


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
