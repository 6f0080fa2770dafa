"""A shutdown as a tree of spans, a finding as a span. Pure: the same verdict makes the same bytes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from sigtrace.model import ids, signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Kind
from sigtrace.model.finding import Ended, Finding, ProcessEnd, Shutdown, Verdict
from sigtrace.model.redaction import quoted_in_messages, redacted_argv
from sigtrace.sinks.headlines import headline
from sigtrace.sinks.otlp.events import Attributes, Moment, fill_events, moments_of, shutdown_moments, task_attributes
from sigtrace.sinks.otlp.resource import fill_agent, fill_container
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.wire import fill, fill_scope, text

#: Processes of one shutdown that have a span.
PROCESSES_MAX: Final = 128
LINKS_MAX: Final = 32
#: Characters of a process's arguments, all together.
_ARGV_MAX: Final = 1024
_TIME_MAX: Final = (1 << 64) - 1
_INTERNAL: Final = Span.SpanKind.SPAN_KIND_INTERNAL
_ERROR: Final = Status.StatusCode.STATUS_CODE_ERROR
#: Sampled, and "the parent's remoteness is known: it is not" (trace.proto, SpanFlags).
_FLAGS: Final = 0x101
_FAILED: Final = frozenset({"oom", "crashed", "escalated", "killed", "incomplete"})
#: How a process ended that did not end of its own will. Red only in a trace that is red anyway.
_BAD_ENDS: Final = frozenset({Ended.KILLED, Ended.TORN_DOWN, Ended.OOM, Ended.CRASHED})


@dataclass(frozen=True, slots=True)
class Sibling:
    """The shutdown of another container of the pod."""

    trace_id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """A shutdown, with what was found about it and the pod's other containers that stop."""

    shutdown: Shutdown
    findings: tuple[Finding, ...] = ()
    siblings: tuple[Sibling, ...] = ()

    @property
    def count(self) -> int:
        """Of its spans."""
        return 1 + min(len(_distinct(self.shutdown)), PROCESSES_MAX)


@dataclass(frozen=True, slots=True)
class Alone:
    """A finding that belongs to no shutdown."""

    finding: Finding

    @property
    def count(self) -> int:
        """Of its spans."""
        return 1


Telling = Tree | Alone


@dataclass(frozen=True, slots=True)
class Origin:
    """Where all of it comes from."""

    boot_id: str
    node: str
    settings: OtlpSettings


def fill_telling(into: ResourceSpans, telling: Telling, origin: Origin) -> None:
    """The spans of one resource. Command lines are redacted: they hold secrets."""
    if isinstance(telling, Alone):
        verdict: Verdict = telling.finding
    else:
        verdict = telling.shutdown
    if verdict.workload is None:
        fill_agent(into.resource, origin.settings, origin.node)
    else:
        fill_container(into.resource, verdict.workload, origin.settings)
    scope = into.scope_spans.add()
    fill_scope(scope.scope)
    if isinstance(telling, Alone):
        _fill_finding(scope.spans.add(), _harmless(telling.finding), origin.boot_id)
    else:
        _fill_tree(scope, telling, origin.boot_id)


def _harmless(finding: Finding) -> Finding:
    """Redacted where its texts quote command lines; all else that is told of it holds none."""
    tasks = [finding.subject, finding.parent, finding.origin]
    tasks += [task for event in finding.evidence for task in (event.task, event.sender, event.parent)]
    quoted = {_quoted(task.argv) for task in tasks if task and task.argv}
    # As redaction.redacted would, which walks through all of the evidence: the longest first, one may begin another.
    changed = sorted((pair for pair in quoted if pair[0] != pair[1]), key=lambda pair: len(pair[0]), reverse=True)
    if not changed:
        return finding
    message, advice = finding.message, finding.advice
    for before, after in changed:
        message, advice = message.replace(before, after), advice.replace(before, after)
    return dataclasses.replace(finding, message=message, advice=advice)


@functools.lru_cache(maxsize=256)
def _quoted(argv: tuple[str, ...]) -> tuple[str, str]:
    """A command line as messages quote it, and as they are to quote it."""
    return quoted_in_messages(argv), quoted_in_messages(redacted_argv(argv))


# ---- a shutdown


def _distinct(shutdown: Shutdown) -> list[ProcessEnd]:
    """Each process once: the main one first."""
    return list({end.task.key: end for end in reversed(shutdown.processes)}.values())[::-1]


def _chosen(shutdown: Shutdown, start_ns: int) -> list[ProcessEnd]:
    """At most PROCESSES_MAX: the main process, then those that were killed, then the slowest."""
    ends = _distinct(shutdown)
    if len(ends) <= PROCESSES_MAX:
        return ends

    def weight(end: ProcessEnd) -> tuple[bool, bool, int]:
        took = (end.exited_wall_ns or shutdown.wall_ns) - (end.signalled_wall_ns or start_ns)
        return (end.task.key == shutdown.main.key, end.ended in _BAD_ENDS, took)

    kept = sorted(ends, key=weight, reverse=True)[:PROCESSES_MAX]
    keys = {end.task.key for end in kept}
    return [end for end in ends if end.task.key in keys]


def began_ns(shutdown: Shutdown) -> int:
    """When the root begins, ns since the epoch: the stop signal, else the fatal event, else the exit."""
    own = shutdown.processes[0].signalled_wall_ns if shutdown.processes else None
    if shutdown.stop_signo and own is not None:
        return min(own, shutdown.wall_ns)
    kills = [e.wall_ns for e in shutdown.evidence if e.kind is Kind.SIGNAL_GENERATE and e.signo == signals.SIGKILL]
    if kills and not shutdown.stop_signo:
        return min(kills[-1], shutdown.wall_ns)
    return shutdown.wall_ns - int((shutdown.duration_s or 0.0) * 1e9)


def _fill_tree(scope: ScopeSpans, tree: Tree, boot_id: str) -> None:
    shutdown = tree.shutdown
    trace_id = ids.shutdown_trace_id(boot_id, shutdown.workload, shutdown.main)
    raw_trace, raw_root = bytes.fromhex(trace_id), bytes.fromhex(ids.shutdown_span_id(trace_id))
    start = _time(began_ns(shutdown))
    ends = _chosen(shutdown, start)
    end = _time(max(shutdown.wall_ns, start, *(e.exited_wall_ns or 0 for e in ends)))
    moments = shutdown_moments(shutdown, [_harmless(finding) for finding in tree.findings])
    failed = shutdown.outcome in _FAILED
    root = scope.spans.add(
        trace_id=raw_trace,
        span_id=raw_root,
        name="container.shutdown",
        kind=_INTERNAL,
        flags=_FLAGS,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
    )
    omitted = shutdown.processes_omitted + len(_distinct(shutdown)) - len(ends)
    fill(root.attributes, _root_attributes(shutdown, omitted=omitted, failed=failed))
    fill_events(root, moments)
    for sibling in tree.siblings[:LINKS_MAX]:
        link = root.links.add(
            trace_id=bytes.fromhex(sibling.trace_id),
            span_id=bytes.fromhex(ids.shutdown_span_id(sibling.trace_id)),
            flags=_FLAGS,
        )
        fill(link.attributes, {"k8s.container.name": sibling.name})
    if failed:
        root.status.code = _ERROR
        root.status.message = text(headline(shutdown))
    for process in ends:
        span = scope.spans.add(trace_id=raw_trace, parent_span_id=raw_root)
        span.span_id = bytes.fromhex(ids.process_span_id(trace_id, process.task))
        _fill_process(span, process, shutdown, root, moments)


def _root_attributes(shutdown: Shutdown, *, omitted: int, failed: bool) -> Attributes:
    return {
        "sigtrace.outcome": shutdown.outcome,
        "sigtrace.cause": shutdown.cause,
        "error.type": shutdown.outcome if failed else None,
        "sigtrace.signal.name": signals.name(shutdown.stop_signo) if shutdown.stop_signo else None,
        "sigtrace.requested_by": shutdown.requested_by.value if shutdown.requested_by else None,
        "sigtrace.scope": shutdown.scope,
        "sigtrace.exit.status": _status(shutdown),
        "process.exit.code": shutdown.wait_status.exit_code,
        "sigtrace.grace.duration": shutdown.grace_s,
        "sigtrace.grace.limit": shutdown.grace_limit_s,
        "sigtrace.pre_stop.duration": shutdown.pre_stop_s,
        "sigtrace.pre_stop.kind": shutdown.pre_stop_kind,
        "sigtrace.oom.scope": shutdown.oom_scope,
        "sigtrace.findings": list(shutdown.findings) or None,
        "sigtrace.processes.omitted": omitted or None,
    }


def _time(wall_ns: int) -> int:
    """As OTLP can hold it, whatever a recording says; 0 would be none."""
    return min(max(wall_ns, 1), _TIME_MAX)


def _status(shutdown: Shutdown) -> str:
    status = shutdown.wait_status
    return signals.name(status.signal) if status.signal else str(status.code)


def _fill_process(span: Span, process: ProcessEnd, shutdown: Shutdown, root: Span, moments: Sequence[Moment]) -> None:
    main = process.task.key == shutdown.main.key
    start = root.start_time_unix_nano
    if process.signalled_wall_ns is not None:
        start = min(max(process.signalled_wall_ns, start), root.end_time_unix_nano)
    end = root.end_time_unix_nano if process.exited_wall_ns is None else _time(max(process.exited_wall_ns, start))
    bad = process.ended in _BAD_ENDS and shutdown.outcome in _FAILED
    span.name, span.kind, span.flags = "process.shutdown", _INTERNAL, _FLAGS
    span.start_time_unix_nano, span.end_time_unix_nano = start, end
    argv = process.task.argv or (shutdown.main.argv if main else None)
    fill(
        span.attributes,
        {
            **task_attributes(process.task),
            "process.command_args": _arguments(argv),
            "sigtrace.process.main": main or None,
            "sigtrace.process.ended": process.ended.value if process.ended else None,
            "sigtrace.exit.status": _status(shutdown) if main else None,
            "process.exit.code": shutdown.wait_status.exit_code if main else None,
            "error.type": process.ended.value if bad and process.ended else None,
        },
    )
    own = [moment for moment in moments if moment.about == process.task.key]
    if process.signalled_wall_ns is not None and not own:
        signo = shutdown.stop_signo or signals.SIGTERM
        own = [Moment(start, "sigtrace.signal.generate", {"sigtrace.signal.name": signals.name(signo)})]
    fill_events(span, own)
    if bad and process.ended:
        span.status.code = _ERROR
        span.status.message = process.ended.value


@functools.lru_cache(maxsize=256)  # the workers of a container have the same
def _arguments(argv: tuple[str, ...] | None) -> list[str] | None:
    """Redacted, and cut at a word."""
    if not argv:
        return None
    words = redacted_argv(argv)
    lengths = itertools.accumulate(len(word) for word in words)
    fitting = [word for word, upto in zip(words, lengths, strict=True) if upto <= _ARGV_MAX]
    return [*fitting, "…"] if len(fitting) < len(words) else fitting


# ---- a finding of its own


def _fill_finding(span: Span, finding: Finding, boot_id: str) -> None:
    trace_id = ids.verdict_trace_id(boot_id, finding)
    span.trace_id = bytes.fromhex(trace_id)
    span.span_id = bytes.fromhex(ids.finding_span_id(trace_id, finding))
    span.name, span.kind, span.flags = "sigtrace.finding", _INTERNAL, _FLAGS
    span.start_time_unix_nano = _time(min(finding.first_wall_ns or finding.wall_ns, finding.wall_ns))
    span.end_time_unix_nano = _time(finding.wall_ns)
    failed = finding.severity is Severity.ERROR and not finding.closing
    parent = finding.parent
    fill(
        span.attributes,
        {
            "sigtrace.finding.code": finding.code,
            "sigtrace.cause": finding.cause,
            "sigtrace.severity": finding.severity.word,
            "sigtrace.certainty": finding.certainty.value,
            "sigtrace.finding.message": finding.message,
            "sigtrace.finding.advice": finding.advice or None,
            "sigtrace.finding.count": finding.count,
            "sigtrace.finding.closing": finding.closing or None,
            "sigtrace.signal.name": signals.name(finding.signo) if finding.signo else None,
            "error.type": finding.code if failed else None,
            **task_attributes(finding.subject),
            "sigtrace.parent.process.pid": parent.pid if parent else None,
            "sigtrace.parent.process.executable.name": parent.comm if parent else None,
        },
    )
    fill_events(span, moments_of(finding.evidence))
    if failed:
        span.status.code = _ERROR
        span.status.message = text(finding.message)
