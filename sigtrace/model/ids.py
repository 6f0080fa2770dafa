"""Ids of traces and spans. Pure: whoever has the same verdict of the same boot makes the same ids.

So an agent that was started again, a replay, and the other containers of a pod can name a span that they never saw.
An id is the beginning of a SHA-256, as hexadecimal digits, and never zero: OTLP takes zero for none
(opentelemetry-proto, trace.proto: 16 bytes of a trace, 8 of a span).

A trace is one shutdown. A container that is started again keeps its runtime's id (``docker restart``), so its main
process is part of what is hashed.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sigtrace.model.event import Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.workload import Workload

#: Findings about a signal that did not arrive.
_OF_SIGNALS: Final = frozenset({"signal-dropped", "signal-ignored", "signal-pending"})
#: SIGINT, SIGQUIT, SIGKILL, SIGTERM, and systemd's SIGRTMIN+3.
_ASKS_TO_END: Final = frozenset({2, 3, 9, 15, 37})
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8


def _digest(size: int, *parts: str | int) -> str:
    raw = "\0".join(str(part).replace("\0", "") for part in parts).encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(raw).digest()[:size], "big")
    return f"{number or 1:0{2 * size}x}"


def _process(task: Task | None) -> str:
    return f"{task.pid}.{task.start_ns}" if task else ""


def _container(workload: Workload | None) -> str:
    if workload is None:
        return ""
    return workload.container_id or f"cgroup {workload.cgroup_id}"


def shutdown_trace_id(boot_id: str, workload: Workload, main: Task) -> str:
    """32 hexadecimal digits: the trace of the shutdown of this container with this main process."""
    return _digest(_TRACE_BYTES, "shutdown", boot_id, _container(workload), _process(main))


def shutdown_span_id(trace_id: str) -> str:
    """16 hexadecimal digits: its root."""
    return _digest(_SPAN_BYTES, "container", trace_id)


def process_span_id(trace_id: str, task: Task) -> str:
    """16 hexadecimal digits: the span of one of its processes."""
    return _digest(_SPAN_BYTES, "process", trace_id, _process(task))


def finding_span_id(trace_id: str, finding: Finding) -> str:
    """16 hexadecimal digits: a finding's own span. Of a fold each has its own."""
    about = (_process(finding.subject), _process(finding.parent), finding.signo)
    return _digest(_SPAN_BYTES, "finding", trace_id, finding.code, finding.cause, finding.time_ns, *about)


def in_shutdown(finding: Finding) -> bool:
    """Whether it is part of a container's end rather than a thing of its own.

    What becomes of a signal that asks nobody to end (SIGHUP to reload, say) is none.
    """
    if not finding.main or (finding.code, finding.cause) == ("signal-dropped", "from-inside"):
        return False
    declared = finding.workload.stop_signal if finding.workload else None
    return finding.code not in _OF_SIGNALS or finding.signo in {*_ASKS_TO_END, declared}


def verdict_trace_id(boot_id: str, verdict: Verdict) -> str:
    """32 hexadecimal digits: the trace that it is told in.

    What belongs to a shutdown is in that trace. The tellings of a fold (it opens, grows, ends) share one of their own.
    """
    if isinstance(verdict, Shutdown):
        return shutdown_trace_id(boot_id, verdict.workload, verdict.main)
    if in_shutdown(verdict) and verdict.workload and verdict.subject:
        return shutdown_trace_id(boot_id, verdict.workload, verdict.subject)
    whose = (_container(verdict.workload), _process(verdict.parent or verdict.subject))
    first_ns = verdict.first_ns or verdict.time_ns
    return _digest(_TRACE_BYTES, "finding", boot_id, *whose, verdict.code, verdict.cause, verdict.signo, first_ns)
