"""What happened within a span: signals, the OOM killer's marks, and what was found. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sigtrace.model import signals
from sigtrace.model.event import Event, Info, Kind, Task
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.sinks.otlp.wire import Value, fill, text

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

#: Events of one span.
EVENTS_MAX: Final = 128
_NAMES: Final = {
    Kind.SIGNAL_GENERATE: "sigtrace.signal.generate",
    Kind.SIGNAL_DELIVER: "sigtrace.signal.deliver",
    Kind.OOM_KILL: "sigtrace.oom_kill",
}

Attributes = dict[str, Value | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """A span event; its time is ns since the epoch."""

    wall_ns: int
    name: str
    attributes: Attributes
    about: tuple[int, int] | None = None
    """the process it happened to, (pid, start)"""


def task_attributes(task: Task | None) -> Attributes:
    """Of a process, by the semantic conventions: ``process.pid`` is the host's."""
    if task is None:
        return {}
    return {
        "process.pid": task.pid,
        "process.vpid": task.ns_pid or None,
        "process.executable.name": task.comm or None,
    }


def _sender(event: Event) -> Attributes:
    if event.sender is None:
        return {"sigtrace.sender": "kernel" if event.info is Info.PRIV else "unknown"}
    sender = event.sender
    return {
        "sigtrace.sender.process.pid": sender.pid,
        "sigtrace.sender.process.executable.name": sender.comm,
        "sigtrace.sender.process.user.id": sender.uid,
        "sigtrace.sender.process.ancestry": list(sender.ancestry) or None,
    }


def _signal(event: Event) -> Moment:
    attributes: Attributes = {
        "sigtrace.signal.name": signals.name(event.signo),
        "sigtrace.signal.result": event.result.word if event.result is not None else None,
        "sigtrace.signal.disposition": event.disposition.word if event.disposition is not None else None,
        "sigtrace.signal.blocked": event.blocked,
        **task_attributes(event.task),
        **(_sender(event) if event.kind is Kind.SIGNAL_GENERATE else {}),
    }
    return Moment(event.wall_ns, _NAMES[event.kind], attributes, event.task.key if event.task else None)


def _found(finding: Finding) -> Moment:
    return Moment(
        finding.wall_ns,
        "sigtrace.finding",
        {
            "sigtrace.finding.code": finding.code,
            "sigtrace.cause": finding.cause,
            "sigtrace.severity": finding.severity.word,
            "sigtrace.certainty": finding.certainty.value,
            "sigtrace.finding.message": finding.message,
            "sigtrace.finding.advice": finding.advice or None,
        },
    )


def _mark(event: Event) -> Moment:
    task = event.task
    return Moment(event.wall_ns, _NAMES[event.kind], task_attributes(task), task.key if task else None)


def moments_of(evidence: Iterable[Event]) -> list[Moment]:
    """Signals and marks among them, each once, in the order of time."""
    seen: dict[tuple[object, ...], Moment] = {}
    for event in evidence:
        if event.kind not in _NAMES:
            continue
        task, sender = event.task, event.sender
        key = (event.time_ns, event.kind, event.signo, task and (task.key, task.tid), sender and sender.key)
        if key not in seen:
            seen[key] = _mark(event) if event.kind is Kind.OOM_KILL else _signal(event)
    return sorted(seen.values(), key=lambda moment: moment.wall_ns)


def shutdown_moments(shutdown: Shutdown, findings: Iterable[Finding]) -> list[Moment]:
    """Of a container's end: the signals, and what was found about it, in the order of time."""
    findings = list(findings)
    evidence = [*shutdown.evidence, *(event for finding in findings for event in finding.evidence)]
    told = [_found(finding) for finding in findings]
    return sorted([*moments_of(evidence), *told], key=lambda moment: moment.wall_ns)


def fill_events(span: Span, moments: Iterable[Moment]) -> None:
    """Those that lie within the span, EVENTS_MAX at most: the first ones, but always the last. The rest is counted."""
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    there = list(moments)
    within = [moment for moment in there if start <= moment.wall_ns <= end]
    kept = within if len(within) <= EVENTS_MAX else [*within[: EVENTS_MAX - 1], within[-1]]
    for moment in kept:
        event = span.events.add(time_unix_nano=moment.wall_ns, name=text(moment.name))
        fill(event.attributes, moment.attributes)
    span.dropped_events_count = len(there) - len(kept)
