"""The one bookkeeping of metrics: findings, shutdowns and the kernel's counters go in, frozen collections come out.

All of it happens in the pipeline's thread, where the kernel's counters may be read. Who exports asks from a thread of
its own and gets what the pipeline makes at its next step; one collection serves all that wait.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from sigtrace.model.event import Kind, Loss
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.metrics import (
    CRASHES,
    DROPPED,
    DURATION,
    EXPORTED,
    KILLS,
    LOST,
    SHUTDOWNS,
    Collected,
    ContainerMetrics,
    Family,
    Point,
    container_name,
    identity_of,
)
from sigtrace.model.signals import SIGTERM
from sigtrace.model.signals import name as signal_name
from sigtrace.model.workload import Observation, Workload
from sigtrace.sinks.metrics.carry import Carry
from sigtrace.sinks.metrics.families import container_families, own_families
from sigtrace.sinks.metrics.repeats import Repeats
from sigtrace.sinks.metrics.tables import Name, Zeros, tables
from sigtrace.sinks.metrics.totals import KernelCounts, Totals
from sigtrace.sinks.metrics.tracked import Containers, Tracked, WorkloadOf

#: Collections are at least so far apart, however many ask.
_APART_NS: Final = 100_000_000
#: So often the dead are swept out, also if nobody asks.
_SWEEP_NS: Final = 10_000_000_000
#: Nobody has asked for so long: totals of those that are gone are kept for names that are there, and for no others.
_UNASKED_NS: Final = 300_000_000_000
#: Of the limit of series: for so many names of containers the series that have counted nothing are told, too.
_NAMES_SHARE: Final = 8


CountsOf = Callable[[], KernelCounts]


class Metrics:
    """A :class:`sigtrace.sinks.base.Sink`; :meth:`collect` is for any thread, all else for the pipeline's."""

    def __init__(self, limit: int = 2000, linger_s: float = 300.0) -> None:
        """``limit``: series of a metric on the agent's resource, and containers.

        ``linger_s``: how long a container that is gone stays in what is collected.
        """
        self.start_wall_ns = time.time_ns()
        self.export_items: Callable[[], Mapping[tuple[str, str], int]] | None = None
        """(export.type, result) → how many; asked in the pipeline's thread"""
        self._limit = limit
        self._containers = Containers(limit, int(linger_s * 1e9), self.start_wall_ns)
        self._zeros = Zeros(max(1, limit // _NAMES_SHARE))
        self._repeats = Repeats()
        self._carry = Carry()
        self._lost = dict.fromkeys(Loss, 0)
        self._names: dict[Name, int] = {}
        """and since when they are counted (wall ns)"""
        self._tables = tables(limit, lambda name: self._names.pop(name, None))
        self._living: dict[Name, tuple[int, int]] = {}
        self._told_refused = 0
        self._counts: CountsOf | None = None
        self._given: CountsOf | None = None
        self._wake: Callable[[], None] = lambda: None
        self._now_ns = 0
        self._made_ns = -_APART_NS
        self._swept_ns = 0
        self._news = threading.Condition()
        self.wanted = False
        """somebody waits for a collection"""
        self._begun = 0
        self._ready = 0
        self._ended = False
        self._resumed = False
        """the kernel had counted for an agent before this one"""
        self._newest = Collected(self.start_wall_ns, self.start_wall_ns)

    def attach(
        self,
        *,
        counts: CountsOf | None = None,
        given: CountsOf | None = None,
        workload_of: WorkloadOf | None = None,
        since_wall_ns: int | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        """What an open capture knows.

        ``given``: what removed cgroups gave back since it was last asked. ``since_wall_ns``: since when the kernel
        counts, if it went on counting while no agent was there. ``wake``: makes time pass; for any thread.
        """
        if since_wall_ns:
            self._containers.start_wall_ns = since_wall_ns
            self._resumed = self.start_wall_ns - since_wall_ns > _APART_NS
        self._counts, self._given = counts, given
        if workload_of:
            self._containers.workload_of = workload_of
        if wake:
            self._wake = wake
        if given:
            given()  # keeps them from now on

    # ---- the pipeline's thread

    def observation(self, observation: Observation) -> None:
        """An event."""
        event = observation.event
        if event.kind is Kind.LOST:
            if event.loss is not None:
                self._lost[event.loss] += event.count
            return
        self._containers.observe(observation)
        if event.kind is Kind.CGROUP_RMDIR and self._containers.has(event.cgroup_id):
            self._repeats.gone(event.cgroup_id, event.time_ns)

    def known(self, verdict: Verdict, *, again: bool = False) -> None:
        """An agent before us counted it: what a fold adds to it is what counts. ``again``: see Repeats.known."""
        if isinstance(verdict, Finding):
            self._repeats.known(verdict, again=again)

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        workload = verdict.workload
        if workload is None or not workload.is_container:
            return
        if isinstance(verdict, Shutdown):
            self._count(SHUTDOWNS.name, workload, (verdict.outcome, verdict.cause))
            if verdict.duration_s is not None:
                name, start = self._name(workload)
                self._tables[DURATION.name].observe(
                    (*name, verdict.outcome), max(0.0, verdict.duration_s), start, self._living
                )
        elif verdict.code == "signal-dropped":
            self._count(
                DROPPED.name, workload, (signal_name(verdict.signo), verdict.cause), self._repeats.news(verdict)
            )
        elif verdict.code == "killed":
            self._count(KILLS.name, workload, (verdict.cause,), self._repeats.news(verdict))
        elif verdict.code == "crash-masked":
            self._count(CRASHES.name, workload, (), self._repeats.news(verdict))

    def _count(self, metric: str, workload: Workload, rest: tuple[str | None, ...], count: int = 1) -> None:
        if count:
            name, start = self._name(workload)
            self._tables[metric].add((*name, *rest), count, start, self._living)

    def _name(self, workload: Workload) -> tuple[Name, int]:
        """Its name, and since when it is counted."""
        name = workload.namespace, container_name(workload)
        tracked = self._containers.of(workload)
        first_wall_ns = tracked.first_wall_ns if tracked else self.start_wall_ns
        if self._resumed:  # verdicts are counted by this agent alone, though the kernel has counted for longer
            first_wall_ns = max(first_wall_ns, self.start_wall_ns)
        return name, self._names.setdefault(name, first_wall_ns)

    def pass_time(self, now_ns: int) -> None:
        """Makes a collection, if somebody waits for one."""
        self._now_ns = now_ns
        if self.wanted and now_ns - self._made_ns >= _APART_NS:
            self._make()
        elif now_ns - self._swept_ns >= _SWEEP_NS:  # nobody asks
            self._sweep(now_ns)
            if now_ns - self._made_ns >= _UNASKED_NS:
                self._carry.add(self._containers.take_forgotten())
                self._carry.keep({identity_of(one.workload) for one in self._containers if one.workload})

    def take_dropped(self) -> int:
        """Nothing is dropped here."""
        return 0

    def take_overflow(self) -> int:
        """How much was counted without a series of its own since the last call."""
        refused = self._containers.refused + sum(table.refused for table in self._tables.values())
        news, self._told_refused = refused - self._told_refused, refused
        return news

    def close(self) -> None:
        """The last collection."""
        self._make(last=True)

    # ---- any thread

    def collect(self, timeout_s: float = 1.0) -> Collected:
        """Everything as it is now; if the pipeline does not come to it within ``timeout_s``, as it was last."""
        with self._news:
            wanted = self._begun + 1  # one that has begun already may have read what has changed since
            self.wanted = True
            self._wake()
            self._news.wait_for(lambda: self._ended or self._ready >= wanted, timeout_s)
            return self._newest

    # ---- making one

    def _make(self, *, last: bool = False) -> None:
        with self._news:
            self.wanted = False
            self._begun += 1
        collected = self._collected(self._now_ns)
        self._made_ns = self._now_ns
        with self._news:
            self._newest, self._ready, self._ended = collected, self._begun, last or self._ended
            self._news.notify_all()

    def _collected(self, now_ns: int) -> Collected:
        wall_ns = time.time_ns()
        self._sweep(now_ns)
        live = self._live_counts(now_ns)
        self._containers.refresh()
        told = [one for one in self._containers if one.is_told(now_ns)]
        self._learn_names(told)
        self._carry.add(self._containers.take_forgotten())
        self._carry.keep({identity_of(one.workload) for one in told if one.workload})
        containers = [
            ContainerMetrics(
                one.workload, one.first_wall_ns, one.gone_wall_ns, container_families(one, live.get(id(one)), now_ns)
            )
            for one in told
        ]
        return Collected(
            wall_ns, self.start_wall_ns, tuple(containers), self._agent_families(), self._carry.carried(), self._resumed
        )

    def _sweep(self, now_ns: int) -> None:
        """Forgets the long dead; what removed cgroups held goes to their containers' ``given``."""
        self._swept_ns = now_ns
        if self._given:
            given = self._given()
            for (cgroup, signo, result), count in given.signals.items():
                if one := self._containers.known(cgroup):
                    one.given.add_signals(signo, result, count)
            for (cgroup, status), count in given.exits.items():
                if one := self._containers.known(cgroup):
                    one.given.add_exits(status, count)
        self._containers.expire(now_ns)
        self._repeats.expire(now_ns)

    def _live_counts(self, now_ns: int) -> dict[int, Totals]:
        """What the kernel's tables hold of each container now."""
        live: defaultdict[int, Totals] = defaultdict(Totals)
        if self._counts:
            counts = self._counts()
            for (cgroup, signo, result), count in counts.signals.items():
                if one := self._containers.owner(cgroup, now_ns):
                    live[id(one)].add_signals(signo, result, count)
            for (cgroup, status), count in counts.exits.items():
                if one := self._containers.owner(cgroup, now_ns):
                    live[id(one)].add_exits(status, count)
        return live

    def _learn_names(self, told: list[Tracked]) -> None:
        self._living = {}
        for one in told:
            if one.workload and one.gone_ns is None:
                name, start = self._name(one.workload)
                self._living[name] = (one.workload.stop_signal or SIGTERM, start)
        if len(self._names) > 2 * len(self._living) + self._limit:
            counted = set[Name]().union(*(table.names() for table in self._tables.values()))
            self._names = {n: start for n, start in self._names.items() if n in self._living or n in counted}

    def _agent_families(self) -> tuple[Family, ...]:
        zeros = self._zeros.of(self._living)
        families = [table.family(zeros.get(name, ())) for name, table in self._tables.items()]
        start = self.start_wall_ns
        families.append(Family(LOST, tuple([Point((loss.value,), n, start) for loss, n in self._lost.items()])))
        if self.export_items:
            items = sorted(self.export_items().items())
            families.append(Family(EXPORTED, tuple([Point(what, n, start) for what, n in items])))
        return (*families, *own_families(start))
