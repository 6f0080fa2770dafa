"""`sigtrace record` and `sigtrace replay`: what a pipeline was given goes to a file, and from there through another.

A pipeline tells the same whenever it is given the same: no detector has a clock, and no attribution is done again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sigtrace import __version__
from sigtrace.capture import Capture, tell
from sigtrace.commands import SHOWN, Stop, finish_writing, nameless, stop_signals, until
from sigtrace.detectors.base import Thresholds
from sigtrace.detectors.chain import Chain
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, RunError
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.record import rfc3339
from sigtrace.model.recording.frames import Header
from sigtrace.model.recording.items import Advance
from sigtrace.model.recording.values import Decoder
from sigtrace.model.workload import Observation
from sigtrace.pipeline import Pipeline
from sigtrace.sinks.base import LineWriter, Sink
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.recording import STANDARD_OUTPUT, Losses, Recording, create
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import boot_id
from sigtrace.sources.replay import Replay, open_recording

if TYPE_CHECKING:
    from sigtrace.export import Export

#: How often a replay that is ahead of its reader looks whether there is room again.
_PAUSE_S: Final = 0.005


def header_here(thresholds: Thresholds) -> Header:
    """Of a recording that begins now, on this host."""
    host = os.uname()
    return Header(__version__, boot_id(), host.nodename, host.release, time.time_ns(), thresholds.as_dict())


def record(
    path: str,
    *,
    backend: str,
    duration_s: float | None,
    chosen: WorkloadFilter,
    force: bool,
    sockets: Sequence[str] = (),
) -> int:
    """What happens, into a file (``-``: standard output). Returns the exit status.

    Raises UsageError if the file exists and ``force`` is not given, RunError if it can't be written.
    """
    thresholds = Thresholds()
    fresh = not os.path.lexists(path)
    with stop_signals() as stop:
        recording = Recording(create(path, force=force), path, chosen=chosen, on_failure=stop.ask)
        try:
            with Capture(
                backend,
                BpfOptions(),
                [Losses(recording)],
                thresholds=thresholds,
                recorder=recording,
                sockets=sockets,
            ) as capture:
                recording.start(header_here(thresholds))
                capture.ready()
                if reason := nameless(chosen, sockets):
                    tell(reason)
                capture.run(_done(path, stop, duration_s))
                capture.finish()
            recording.close()
        finally:
            recording.abandon()
            # No capture, no word written.
            if fresh and not recording.started and path != STANDARD_OUTPUT:
                with contextlib.suppress(OSError):
                    os.unlink(path)
    tell(f"{recording.events:,} events in {recording.bytes:,} bytes")
    return EXIT_OK


def _done(path: str, stop: Stop, duration_s: float | None) -> Callable[[], bool]:
    """Who reads our standard output matters only if the recording goes there."""
    if path == STANDARD_OUTPUT:
        return until(stop, duration_s)
    end = time.monotonic() + duration_s if duration_s else None
    return lambda: stop.asked or (end is not None and time.monotonic() >= end)


class _PatientWriter(LineWriter):
    """Waits for its reader where a capture would drop: a recording has time."""

    def write(self, text: str) -> None:
        """One or more whole lines, once there is room."""
        while not self.closed and len(self._waiting) + self._writing >= self._room:
            time.sleep(_PAUSE_S)
        super().write(text)


def replay(
    path: str,
    *,
    output: str,
    chosen: WorkloadFilter,
    fail_on: Severity | None,
    events: bool,
    otlp: Mapping[str, Any] | None = None,
) -> int:
    """The verdicts on what was recorded (``-``: standard input), with ``events`` the events too. Returns the status.

    ``otlp``: exports them too, with the ids that they had when they happened; see export.Export.

    Raises UsageError if the file can't be opened; RunError if it is none, or damaged: then behind the verdicts on what
    came before that.
    """
    tally = Tally()
    with open_recording(path) as recording:
        header = recording.header
        tell(
            f"recorded {rfc3339(header.started_wall_ns)[:19]}Z on {header.node or 'an unknown node'}"
            f" (Linux {header.kernel or '?'}) by sigtrace {header.sigtrace}"
        )
        writer = _PatientWriter(sys.stdout)
        export = _export(otlp, header)
        every = [*_sinks(writer, output, header.boot_id, events=events), tally, *(export.sinks() if export else [])]
        sinks = [Filtered(sink, chosen) for sink in every]
        failure: RunError | None = None
        try:
            try:
                run(recording, sinks, lambda: writer.closed, export.wait_for_room if export else None)
            except RunError as error:
                failure = error
            writer.close(threading.TIMEOUT_MAX)
        except KeyboardInterrupt:
            pass  # what was told until now is still written
        finish_writing(writer)
        if failure:
            raise failure
        _tell_left_out(recording)
    return EXIT_FINDINGS if fail_on and tally.worst and tally.worst >= fail_on else EXIT_OK


def _export(otlp: Mapping[str, Any] | None, header: Header) -> Export | None:
    if otlp is None:
        return None
    from sigtrace.export import Export  # its packages take a tenth of a second

    return Export(otlp, header.boot_id, header.node)


def _sinks(writer: LineWriter, output: str, boot: str, *, events: bool) -> list[Sink]:
    def shown(observation: Observation) -> bool:
        return observation.event.kind in SHOWN

    if output == "json":
        return [Jsonl(writer, events=shown if events else None, boot_id=boot)]
    style = Style.of(sys.stdout)
    return [EventText(writer, style, shown), Story(writer, style)] if events else [Story(writer, style)]


def _thresholds(header: Header, name: str) -> Thresholds:
    """As they were when it was recorded; those that this version alone knows have their defaults."""
    try:
        found: Thresholds = Decoder({}).object(Thresholds, dict(header.thresholds))
    except ValueError as error:
        raise RunError(f"{name}: its thresholds make no sense: {error}") from error
    if min(found.as_dict().values()) <= 0:
        raise RunError(f"{name}: its thresholds make no sense: one is not positive")
    return found


def run(
    recording: Replay,
    sinks: list[Filtered],
    done: Callable[[], bool] = lambda: False,
    wait: Callable[[], None] | None = None,
) -> None:
    """A recording through a pipeline of its own, to its end or until it is done.

    ``wait``: called before each item, for what can't take them as fast as they are read.
    Raises RunError where it is damaged, once all that came before that was told.
    """
    pipeline = Pipeline(Chain(_thresholds(recording.header, recording.name)), list(sinks))
    failure: RunError | None = None
    try:
        for item in recording.items():
            if done():
                return
            if wait:
                wait()
            if isinstance(item, Advance):
                pipeline.advance(item.now_ns)
            else:
                pipeline.feed(item)
    except RunError as error:
        failure = error
    if recording.end:
        pipeline.advance(recording.end.ended_ns)
    pipeline.end()
    for sink in sinks:
        sink.close()
    if failure:
        raise failure


def _tell_left_out(recording: Replay) -> None:
    if recording.unknown:
        tell(f"{recording.unknown:,} events were left out: this version knows nothing of their kind")
    if recording.end and recording.end.dropped:
        tell(f"{recording.end.dropped:,} events were not recorded: the disk was too slow for them")
