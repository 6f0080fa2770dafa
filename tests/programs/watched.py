"""What sigtrace says of the cases: a capture in this process, and its verdicts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator

from sigtrace.capture import Capture, run_in_background
from sigtrace.demonstration import Verdicts
from sigtrace.model.finding import Finding
from sigtrace.model.record import verdict_record
from sigtrace.model.workload import Workload
from sigtrace.sources.options import BpfOptions
from tests.programs.case import GRACE_S, Seen
from tests.programs.catalogue import CASES


class _Runtime:
    """Tells the grace period, and the stop signal that the image declares."""

    def get(self, workload: Workload) -> Workload:
        case = CASES.get((workload.container_name or "").rpartition("-")[0])
        if case is None:
            return workload
        signo = case.program.signo if case.program.declared else None
        return dataclasses.replace(workload, grace_limit_s=GRACE_S, stop_signal=signo)

    def pending(self, container_id: str) -> bool:
        return False

    def prefetch(self, container_id: str, runtime: str | None = None) -> None:
        pass

    def gone(self, container_id: str) -> None:
        pass


@contextlib.contextmanager
def watching() -> Iterator[Verdicts]:
    """Captures while it is open; afterwards the verdicts are complete. Raises HostError where it can't."""
    verdicts = Verdicts()
    with Capture("bpf", BpfOptions(), [verdicts], names=_Runtime()) as capture:
        capture.ready()
        finish = run_in_background(capture)
        try:
            yield verdicts
        finally:
            finish()


def judged(seen: Seen, verdicts: Verdicts, cgroup_id: int) -> Seen:
    """With what sigtrace said of it. Raises RunError if it says nothing."""
    shutdown, _ = verdicts.wait_for_shutdown(cgroup_id)
    told = verdicts.of(cgroup_id)
    return dataclasses.replace(
        seen,
        outcome=shutdown.outcome,
        cause=shutdown.cause,
        reported_status=shutdown.wait_status.code,
        findings=tuple(f"{v.code}/{v.cause}" for v in told if isinstance(v, Finding)),
        records=tuple(json.dumps(verdict_record(verdict)) for verdict in told),
    )
