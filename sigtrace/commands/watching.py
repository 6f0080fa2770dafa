"""Verdicts as they happen: of an agent, or of a capture of our own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sigtrace.capture import Capture, tell
from sigtrace.commands import Stop, finish_writing, nameless, until
from sigtrace.detectors.base import Thresholds
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter
from sigtrace.sinks.base import LineWriter, Sink
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import boot_id, node_name

if TYPE_CHECKING:
    from sigtrace.export import Export


def watch(
    stop: Stop,
    *,
    output: str,
    agent: str | None,
    backend: str,
    options: BpfOptions,
    duration_s: float | None,
    chosen: WorkloadFilter,
    fail_on: Severity | None,
    unanswered_after_s: float | None,
    sockets: Sequence[str],
    otlp: Mapping[str, Any] | None,
) -> int:
    """Until it is asked to end; returns the exit status. ``agent``: whose verdicts; None: of a capture."""
    tally = Tally()
    thresholds = Thresholds(unanswered_after_s=unanswered_after_s) if unanswered_after_s else Thresholds()
    writer = LineWriter(sys.stdout, on_closed=stop.ask)
    text = output != "json"
    sink: Sink = Story(writer, Style.of(sys.stdout)) if text else Jsonl(writer, events=None, boot_id=boot_id())
    sinks: list[Sink] = [Filtered(sink, chosen), Filtered(tally, chosen)]
    if agent is not None:
        _follow_agent(agent, sinks, until(stop, duration_s))
    else:
        export = _export(otlp)
        with Capture(backend, options, sinks, thresholds=thresholds, sockets=sockets) as capture:
            if export:
                sinks += [Filtered(exported, chosen) for exported in export.sinks(capture)]
            ready(capture, chosen, sockets)
            capture.run(until(stop, duration_s))
            capture.finish()
    finish_writing(writer)
    return EXIT_FINDINGS if fail_on and tally.worst and tally.worst >= fail_on else EXIT_OK


def ready(capture: Capture, chosen: WorkloadFilter, sockets: Sequence[str]) -> None:
    """Tells that nothing can be missed any more, and what a choice by name lacks."""
    capture.ready()
    if reason := nameless(chosen, sockets):
        tell(reason)


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
