"""Words that several detectors use in their messages, and the finding that carries them."""

from __future__ import annotations

from typing import Any

from sigtrace.model import codes
from sigtrace.model.event import Info, Task
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, Finding
from sigtrace.model.text import command_line
from sigtrace.model.workload import Observation


def name_of(task: Task) -> str:
    """``gunicorn (pid 8)``, with the pid that the container knows."""
    return f"{task.comm} (pid {task.ns_pid or task.pid})"


def what_of(task: Task) -> str:
    """Its command line, cut, without the program's folder; its name if that is not known."""
    if not task.argv:
        return task.comm
    return command_line((task.argv[0].rpartition("/")[2] or task.argv[0], *task.argv[1:]), 60)


def who_sent(signal: Observation) -> str:
    """The sender as a person calls it."""
    sender = signal.event.sender
    if sender:
        return name_of(sender)
    return "the kernel" if signal.event.info is Info.PRIV else "an unknown sender"


def among(tasks: list[Task]) -> str:
    """``worker (pid 8) and 2 more``."""
    return name_of(tasks[0]) + (f" and {len(tasks) - 1} more" if len(tasks) > 1 else "")


def times(count: int, one: str, many: str) -> str:
    """``1 worker``, ``3 workers``."""
    return f"{count:,} {one if count == 1 else many}"


def finding_on(
    deciding: Observation,
    code: str,
    cause: str,
    *,
    subject: Task | None,
    message: str,
    certainty: Certainty,
    nested: bool = False,
    pids_share: float | None = None,
    advice: str | None = None,
    **fields: Any,
) -> Finding:
    """A finding at the time of the deciding event, with the catalogue's severity and, if none is given, advice.

    ``fields``: of Finding, where the deciding event does not say it.
    """
    event = deciding.event
    evidence = fields.pop("evidence", (event,))
    defaults: dict[str, Any] = {
        "time_ns": event.time_ns,
        "wall_ns": event.wall_ns,
        "first_wall_ns": event.wall_ns,
        "first_ns": event.time_ns,
        "signo": event.signo,
        "main": deciding.main,
    }
    return Finding(
        code=code,
        cause=cause,
        severity=codes.severity(code, cause, nested=nested, pids_share=pids_share),
        certainty=certainty,
        workload=deciding.workload,
        subject=subject,
        message=message,
        advice=advice or codes.advice(code, cause),
        evidence=tuple(evidence)[:EVIDENCE_MAX],
        **defaults | fields,
    )
