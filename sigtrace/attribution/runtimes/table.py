"""The containers that are known, and what for how long. Owned by one thread; another may read. No clock."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sigtrace.attribution.runtimes.base import RuntimeInfo
from sigtrace.model.workload import Workload, WorkloadKind

if TYPE_CHECKING:
    from sigtrace.attribution.runtimes.worker import Worker

#: Containers known, at most, and how long one is after it is gone, seconds.
KNOWN_MAX: Final = 10_000
KEPT_S: Final = 600.0
#: One that no runtime knew is forgotten after so long, seconds, so that the next event asks again.
UNKNOWN_S: Final = 60.0


class Entry:
    """What is known of a container."""

    __slots__ = ("asked", "gone", "info", "merged", "refused", "runtime", "source", "stored")

    def __init__(self, runtime: str | None, now: float) -> None:
        """``runtime``: as the path of its cgroup says; ``now``: monotonic seconds, as everywhere here."""
        self.runtime = runtime
        self.info: RuntimeInfo | None = None
        self.source: Worker | None = None
        """who told it"""
        self.stored = now
        """when it was last asked for or told"""
        self.gone: float | None = None
        self.asked = 0
        """sockets that have not answered yet"""
        self.refused = False
        """all that were asked don't know it"""
        self.merged: tuple[Workload, Workload] | None = None
        """the last workload that was asked for, without and with the names; one tuple, so that no lock is needed"""

    def apply(self, workload: Workload) -> Workload:
        """The workload with what is known by now. For the reading thread."""
        merged = self.merged
        if merged is not None and merged[0] is workload:
            return merged[1]
        info = self.info
        if info is None:
            return workload
        full = merge(workload, info)
        self.merged = workload, full
        # Told anew meanwhile: the other thread's None must win over ours.
        if self.info is not info:
            self.merged = None
        return full


class Table:
    """By container id. Bounded: whom no runtime knows leave first, then the ones gone longest, then the oldest.

    Whoever makes cgroups makes up ids; they must not push out who is there.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        """in the order in which they went"""
        self._unknown: OrderedDict[str, None] = OrderedDict()
        """nothing was told of them"""
        self.evicted = 0
        """entries thrown away early: the table was full"""

    def begin(self, container_id: str, runtime: str | None, now: float) -> Entry:
        """Its entry, made if there is none; it is not gone (any more)."""
        entry = self.entries.get(container_id)
        if entry is None:
            if len(self.entries) >= KNOWN_MAX:
                self.forget(next(iter(self._unknown or self._gone or self.entries)))
                self.evicted += 1
            entry = self.entries[container_id] = Entry(runtime, now)
            self._unknown[container_id] = None
        elif entry.info is not None and entry.info.main_pid is not None:  # started again, as another process
            entry.info, entry.merged = replace(entry.info, main_pid=None), None
        entry.stored = now
        entry.gone = None
        self._gone.pop(container_id, None)
        return entry

    def tell(self, info: RuntimeInfo, source: Worker, now: float) -> None:
        """What a runtime told. One that was gone stays so: it was perhaps asked for when it was still there."""
        entry = self.entries.get(info.container_id) or self.begin(info.container_id, info.runtime, now)
        entry.info, entry.source, entry.stored, entry.asked = info, source, now, 0
        entry.merged = None
        self._unknown.pop(info.container_id, None)

    def went(self, container_id: str, now: float) -> None:
        """It is gone: what is known stays for a while."""
        entry = self.entries.get(container_id)
        if entry is not None and entry.gone is None:
            entry.gone = now
            self._gone[container_id] = None

    def forget(self, container_id: str) -> None:
        """At once."""
        self._gone.pop(container_id, None)
        self._unknown.pop(container_id, None)
        self.entries.pop(container_id, None)

    def sweep(self, now: float) -> None:
        """Forget what was kept long enough."""
        while self._gone:
            oldest = next(iter(self._gone))
            gone = self.entries[oldest].gone
            if gone is not None and now - gone < KEPT_S:
                break
            self.forget(oldest)
        for container_id in list(self._unknown):
            if now - self.entries[container_id].stored >= UNKNOWN_S:
                self.forget(container_id)


def merge(workload: Workload, info: RuntimeInfo) -> Workload:
    """The workload with what its runtime tells; what that does not tell stays. A sandbox that is one stays one."""
    return replace(
        workload,
        kind=WorkloadKind.SANDBOX if workload.kind is WorkloadKind.SANDBOX else info.kind,
        runtime=info.runtime,
        container_name=info.name or workload.container_name,
        image=info.image or workload.image,
        pod=info.pod or workload.pod,
        namespace=info.namespace or workload.namespace,
        pod_uid=info.pod_uid or workload.pod_uid,
        grace_limit_s=workload.grace_limit_s if info.grace_limit_s is None else info.grace_limit_s,
        stop_signal=workload.stop_signal if info.stop_signal is None else info.stop_signal,
        main_pid=info.main_pid,
        pre_stop=info.pre_stop,
        asked=info.grace_limit_s is not None,  # a list has names alone
        service_name=info.service_name,
        restart_count=info.restart_count,
        job=info.job,
    )
