"""`sigtrace audit`: looks at what runs, a few times within a moment, and says what would become of its stop signals."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Final, Self

from sigtrace.attribution.attributor import Attributor, Names
from sigtrace.attribution.cgroups import Cgroups
from sigtrace.attribution.runtimes.lookup import Runtimes
from sigtrace.attribution.runtimes.sockets import given
from sigtrace.audit.audits import audit as audits_of
from sigtrace.audit.rows import Audit
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, HostError, UsageError
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.workload import Observation, Workload
from sigtrace.service import follow
from sigtrace.service.client import agent_socket, is_there
from sigtrace.service.protocol import LASTING_MAX_S
from sigtrace.sinks.audit import audit_record, audit_text
from sigtrace.sinks.style import Style
from sigtrace.sources.host import read_host
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import node_name
from sigtrace.sources.select import choose, make

#: Looks, and the seconds from the first to the last: a zombie that is about to be reaped is gone by then.
LOOKS: Final = 3
LASTING_S: Final = 0.3
#: Runtimes that do not answer within this cost names, and what containers declare.
_SETTLE_S: Final = 2.0


class Auditor:
    """``with Auditor() as auditor: auditor.audit()``. Raises HostError where there is no backend."""

    def __init__(self, backend: str = "auto", names: Names | None = None) -> None:
        """``backend``: auto, bpf, bcc or ptrace; ``names``: who knows containers."""
        host = read_host()
        name = choose(backend, host)
        if host.hierarchy is None:
            raise HostError(
                "no cgroup hierarchy is mounted", next_step="mount one: mount -t cgroup2 none /sys/fs/cgroup"
            )
        self._cgroups = Cgroups(host.hierarchy.mount)
        self._names = names
        # What happens meanwhile is none of ours: the smallest rings, and whom they leave out nobody misses.
        self._source = make(name, BpfOptions(signalfds=True, events_bytes=1 << 16, lives_bytes=1 << 16))

    def __enter__(self) -> Self:
        self._source.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def audit(self, lasting_s: float = LASTING_S, *, asked: int = 0) -> list[Audit]:
        """Every running container, the worst first.

        ``lasting_s``: what lasts so long (s) is called a zombie, or blocked. ``asked``: a signal in place of each
        container's own stop signal.
        """
        looks = []
        for number in range(LOOKS):
            if number:
                time.sleep(lasting_s / (LOOKS - 1))
            looks.append(self._look())
        return audits_of(looks, asked=asked)

    def _look(self) -> list[Observation]:
        events = self._source.snapshot()
        self._cgroups.walk(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        attributor = Attributor(self._cgroups, node_name(), names=self._names)
        # A container's first process is its main process, and pids are given again.
        return [attributor.observe(event) for event in sorted(events, key=_start)]


def _start(event: Event) -> int:
    return event.task.start_ns if event.task else 0


def run(
    *,
    output: str,
    backend: str,
    duration_s: float | None,
    names: tuple[str, ...],
    chosen: WorkloadFilter,
    signo: int,
    fail_on: Severity | None,
    sockets: Sequence[str] = (),
    local: bool = False,
) -> int:
    """Look and tell; returns the exit status. ``names``: any of these containers (name or beginning of the id).

    Raises UsageError, after the rest was told, if one of them is none that runs.
    """
    agent = agent_socket()
    lasting_s = duration_s or LASTING_S
    ours = local or backend != "auto" or sockets or lasting_s > LASTING_MAX_S
    if not ours and is_there(agent):
        every = follow.audits(agent, signo=signo, lasting_s=lasting_s)
    else:
        with Runtimes(given(sockets) if sockets else None) as runtimes, Auditor(backend, runtimes) as auditor:
            runtimes.settle(_SETTLE_S)
            every = auditor.audit(lasting_s, asked=signo)
    filters = [WorkloadFilter(container=name) for name in names] or [WorkloadFilter()]
    audits = [a for a in every if chosen.workload(a.workload) and any(f.workload(a.workload) for f in filters)]
    _tell(audits, output, among=len(every))
    for name, wanted in zip(names, filters, strict=False):
        if not _has(every, wanted):
            raise UsageError(
                f"no running container has the name, or an id that begins with, {name!r}",
                next_step="sigtrace audit without names shows all",
            )
    worst = max((a.severity for a in audits if a.severity), default=None)
    return EXIT_FINDINGS if fail_on and worst and worst >= fail_on else EXIT_OK


def _has(audits: list[Audit], wanted: WorkloadFilter) -> bool:
    workloads: list[Workload] = [a.workload for a in audits]
    return any(map(wanted.workload, workloads))


def _tell(audits: list[Audit], output: str, among: int) -> None:
    if output == "json":
        lines = [json.dumps(audit_record(a) | {"seq": n}, separators=(",", ":")) for n, a in enumerate(audits, 1)]
    else:
        lines = audit_text(audits, Style.of(sys.stdout), among)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
