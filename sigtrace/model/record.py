"""The records of interface.md as dictionaries, ready for JSON. Pure; text in them is printable already."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sigtrace.model import signals
from sigtrace.model.event import Kind, Task
from sigtrace.model.finding import Finding, ProcessEnd, Shutdown, Verdict
from sigtrace.model.ids import verdict_trace_id
from sigtrace.model.workload import Observation, Workload

SCHEMA: Final = 1
_SIGNALS: Final = (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER)

Record = dict[str, Any]


def rfc3339(wall_ns: int) -> str:
    """UTC with nine digits; ``wall_ns``: ns since the epoch."""
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"


def _optional_time(wall_ns: int | None) -> str | None:
    return None if wall_ns is None else rfc3339(wall_ns)


def task_record(task: Task | None, *, sender: bool = False) -> Record | None:
    """``task``; ``ancestry`` for senders."""
    if task is None:
        return None
    record: Record = {
        "pid": task.pid,
        "tid": task.tid,
        "ns_pid": task.ns_pid or None,
        "comm": task.comm,
        "start_ns": task.start_ns,
        "uid": task.uid,
        "cgroup_id": task.cgroup_id,
    }
    if task.argv is not None:
        record["argv"] = list(task.argv)
    if sender:
        record["ancestry"] = list(task.ancestry)
    return record


def workload_record(workload: Workload | None) -> Record | None:
    """``workload``; what is not known is null."""
    if workload is None:
        return None
    return {
        "kind": workload.kind.value,
        "runtime": workload.runtime,
        "container_id": workload.container_id,
        "container_name": workload.container_name,
        "image": workload.image,
        "pod": workload.pod,
        "namespace": workload.namespace,
        "pod_uid": workload.pod_uid,
        "node": workload.node,
        "cgroup": workload.cgroup,
    }


def event_record(observation: Observation) -> Record:
    """An ``event``."""
    event = observation.event
    record: Record = {"schema": SCHEMA, "type": "event", "time": rfc3339(event.wall_ns), "kind": event.kind.value}
    if event.kind is Kind.LOST:
        return record | {"cause": event.loss.value if event.loss else None, "count": event.count}
    if event.kind in _SIGNALS:
        return record | {
            "signal": signals.name(event.signo),
            "signo": event.signo,
            "result": event.result.word if event.result is not None else None,
            "disposition": event.disposition.word if event.disposition is not None else None,
            "blocked": event.blocked,
            "si_code": event.si_code,
            "target": task_record(event.task),
            "target_workload": workload_record(observation.workload),
            "sender": task_record(event.sender, sender=True),
            "sender_workload": workload_record(observation.sender_workload),
        }
    record |= {"task": task_record(event.task), "workload": workload_record(observation.workload)}
    if event.wait_status is not None:
        name = event.wait_status.signal
        record |= {
            "exit_code": event.wait_status.exit_code,
            "exit_signal": signals.name(name) if name else None,
            "core_dumped": event.wait_status.core_dumped,
            "main_process": observation.main,
        }
    return record


def finding_record(finding: Finding) -> Record:
    """A ``finding``."""
    return {
        "schema": SCHEMA,
        "type": "finding",
        "time": rfc3339(finding.wall_ns),
        "code": finding.code,
        "cause": finding.cause,
        "severity": finding.severity.word,
        "certainty": finding.certainty.value,
        "workload": workload_record(finding.workload),
        "subject": task_record(finding.subject),
        "parent": task_record(finding.parent),
        "signal": signals.name(finding.signo) if finding.signo else None,
        "count": finding.count,
        "first_time": rfc3339(finding.first_wall_ns or finding.wall_ns),
        "window_s": finding.window_s,
        "message": finding.message,
        "advice": finding.advice,
        "mechanism": finding.mechanism.value if finding.mechanism else None,
        "sender_role": finding.sender_role.value if finding.sender_role else None,
        "origin": task_record(finding.origin),
        "closing": finding.closing,
        "evidence": [event_record(Observation(e, finding.workload)) for e in finding.evidence],
        "trace_id": None,
    }


def _process_record(end: ProcessEnd) -> Record:
    return {
        "task": task_record(end.task),
        "signalled_at": _optional_time(end.signalled_wall_ns),
        "exited_at": _optional_time(end.exited_wall_ns),
        "ended": end.ended.value if end.ended else None,
    }


def shutdown_record(shutdown: Shutdown) -> Record:
    """A ``shutdown``."""
    return {
        "schema": SCHEMA,
        "type": "shutdown",
        "time": rfc3339(shutdown.wall_ns),
        "workload": workload_record(shutdown.workload),
        "task": task_record(shutdown.main),
        "outcome": shutdown.outcome,
        "oom_scope": shutdown.oom_scope,
        "first_victim": task_record(shutdown.first_victim),
        "origin": task_record(shutdown.origin),
        "cause": shutdown.cause,
        "stop_signal": signals.name(shutdown.stop_signo) if shutdown.stop_signo else None,
        "requested_by": shutdown.requested_by.value if shutdown.requested_by else None,
        "scope": shutdown.scope,
        "grace_s": shutdown.grace_s,
        "grace_limit_s": shutdown.grace_limit_s,
        "pre_stop_s": shutdown.pre_stop_s,
        "pre_stop_kind": shutdown.pre_stop_kind,
        "duration_s": shutdown.duration_s,
        "wait_status": shutdown.wait_status.as_record(),
        "status_code": shutdown.wait_status.code,
        "processes": [_process_record(p) for p in shutdown.processes],
        "processes_omitted": shutdown.processes_omitted,
        "findings": list(shutdown.findings),
    }


def verdict_record(verdict: Verdict, boot_id: str | None = None) -> Record:
    """Of either kind; ``boot_id``: of the boot it happened in (empty if not known), for the id of its trace."""
    record = finding_record(verdict) if isinstance(verdict, Finding) else shutdown_record(verdict)
    if boot_id is not None:
        record["trace_id"] = verdict_trace_id(boot_id, verdict) if boot_id else None
    return record
