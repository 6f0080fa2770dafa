"""Observations, verdicts and the kernel's counters in; a frozen snapshot of the node out, once a second."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sigtrace import __version__
from sigtrace.model.event import Event, Kind
from sigtrace.model.finding import Verdict
from sigtrace.model.overview import BRIEFS_MAX, ROWS_MAX, Brief, Snapshot, SnapshotEncoder
from sigtrace.model.workload import Observation, Workload
from sigtrace.sinks.overview.rates import Counted, Rates, of_events
from sigtrace.sinks.overview.rows import GrowingRow, brief_of

SECOND_NS: Final = 1_000_000_000
#: A container that is gone stays for so long (its own time), and only so many.
_KEPT_NS: Final = 300 * SECOND_NS
_GONE_MAX: Final = 500
#: Nobody asked for a snapshot for so long (s): none is made.
_WANTED_S: Final = 5.0
_ZOMBIES_MAX: Final = 100_000
_VERDICTS_MAX: Final = BRIEFS_MAX


class Overview:
    """A :class:`sigtrace.sinks.base.Sink`. The pipeline's thread makes snapshots, while somebody wants them.

    ``newest``, ``frame`` and ``verdicts`` may be called by any thread.
    """

    def __init__(
        self, *, source: str, backend: str = "", node: str = "", interval_s: float = 1.0, verdicts: bool = True
    ) -> None:
        """``source``: agent, capture or replay; ``interval_s``: of the pipeline's time, between two snapshots.

        ``verdicts``: keep the last ones for ``verdicts()``.
        """
        self._bare = Snapshot(source=source, backend=backend, node=node, version=__version__)
        self._interval_ns = int(interval_s * SECOND_NS)
        self._rows: dict[int, GrowingRow] = {}
        self._gone: dict[int, int] = {}
        """containers that are gone, the longest first, and when (CLOCK_BOOTTIME)"""
        self._zombies: dict[tuple[int, int], GrowingRow] = {}
        self._verdicts: deque[Verdict] = deque(maxlen=_VERDICTS_MAX if verdicts else 0)
        self._briefs: deque[Brief] = deque(maxlen=BRIEFS_MAX)
        self._lost: dict[str, int] = {}
        self._events = self._hidden = 0
        self._wall_offset_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._since_wall_ns = 0
        self._rates = Rates(of_events())
        self._next_ns = 0
        self._wanted_until_s = 0.0
        self._news = threading.Condition()
        self._snapshot: Snapshot | None = None
        self._frame: tuple[Snapshot, bytes] | None = None
        self._encoder = SnapshotEncoder()

    def attach(
        self,
        counted: Counted | None = None,
        workload_of: Callable[[int], Workload | None] | None = None,
        *,
        backend: str = "",
    ) -> None:
        """The kernel's counters and who knows a cgroup, both asked in the pipeline's thread; before any event."""
        if counted is not None:
            self._rates = Rates(counted, workload_of)
        if backend:
            self._bare = dataclasses.replace(self._bare, backend=backend)

    # In the pipeline's thread.

    def observation(self, observation: Observation) -> None:
        """An event, attributed."""
        event, workload = observation.event, observation.workload
        self._events += 1
        self._wall_offset_ns = event.wall_ns - event.time_ns
        if event.kind is Kind.LOST:
            cause = event.loss.value if event.loss else "unknown"
            self._lost[cause] = self._lost.get(cause, 0) + event.count
        elif event.kind in (Kind.CGROUP_MKDIR, Kind.CGROUP_RMDIR):
            self._rates.forget(event.cgroup_id)
            if event.kind is Kind.CGROUP_RMDIR:
                self._removed(event)
        elif event.kind is Kind.REAP and event.task:
            debtor = self._zombies.pop(event.task.key, None)
            if debtor is not None:
                debtor.zombies.pop(event.task.key, None)
        elif workload is not None and workload.is_container:
            self._container(observation, event, workload)

    def _container(self, observation: Observation, event: Event, workload: Workload) -> None:
        row = self._row(workload, event.wall_ns)
        if row is None:
            return
        if row.workload is not workload:
            row.workload = workload
        task = event.task
        if task is None:
            return
        if observation.main and not event.zombie:
            row.take_main(task)
        if event.kind is Kind.SIGNAL_GENERATE:
            self._rates.signal(workload.cgroup_id)
        elif event.kind is Kind.EXIT:
            self._rates.exit(workload.cgroup_id)
        elif event.kind is Kind.TASK and event.zombie and not row.ended_wall_ns and len(self._zombies) < _ZOMBIES_MAX:
            self._zombies[task.key] = row
            row.zombies[task.key] = event.exit_ns + self._wall_offset_ns if event.exit_ns else 0

    def _row(self, workload: Workload, wall_ns: int) -> GrowingRow | None:
        row = self._rows.get(workload.cgroup_id)
        if row is None:
            if len(self._rows) >= ROWS_MAX:
                self._hidden += 1
                return None
            row = self._rows[workload.cgroup_id] = GrowingRow(workload, wall_ns)
        return row

    def _removed(self, event: Event) -> None:
        row = self._rows.get(event.cgroup_id)
        if row is not None:
            row.ended_wall_ns = row.ended_wall_ns or event.wall_ns
            self._gone[event.cgroup_id] = event.time_ns
            self._forget_zombies(row)
            self._sweep(event.time_ns)  # also while nobody looks: else they fill the table

    def _forget_zombies(self, row: GrowingRow) -> None:
        for key in row.zombies:
            self._zombies.pop(key, None)
        row.zombies.clear()

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        brief = brief_of(verdict)
        with self._news:
            self._verdicts.append(verdict)
        self._briefs.appendleft(brief)
        workload = verdict.workload
        # None for one that has gone long ago, as the end of a fold may tell: nothing would take its row away again.
        row = self._rows.get(workload.cgroup_id) if workload is not None else None
        if row is not None:
            if brief.shutdown:
                self._forget_zombies(row)
                self._gone.setdefault(row.workload.cgroup_id, verdict.time_ns)
            row.take(verdict, brief)

    def pass_time(self, now_ns: int) -> None:
        """A snapshot, if it is time for one and somebody wants it."""
        if now_ns >= self._next_ns and time.monotonic() < self._wanted_until_s:
            self.publish(now_ns)

    def publish(self, now_ns: int) -> None:
        """A snapshot now."""
        started = time.monotonic()
        snapshot = self._made(now_ns)
        # Many CPUs have many counters: reading them may take a hundredth of the time at most.
        spent_ns = int((time.monotonic() - started) * SECOND_NS)
        self._next_ns = now_ns + max(self._interval_ns, 100 * spent_ns)
        with self._news:
            self._snapshot = snapshot
            self._news.notify_all()

    def _made(self, now_ns: int) -> Snapshot:
        wall_ns = now_ns + self._wall_offset_ns
        self._since_wall_ns = self._since_wall_ns or wall_ns
        for cgroup_id, row in self._rows.items():
            if not row.workload.asked and not row.ended_wall_ns:
                row.workload = self._rates.workload(cgroup_id) or row.workload  # its runtime may have answered by now
        self._rates.read(now_ns, self._rows, self._events)
        self._sweep(now_ns)
        bare = self._bare
        return Snapshot(
            wall_ns,
            now_ns,
            self._since_wall_ns,
            bare.node,
            bare.source,
            bare.backend,
            bare.version,
            self._events,
            self._rates.events,
            self._rates.total,
            dict(self._lost),
            tuple([row.frozen() for row in self._rows.values()]),
            self._hidden,
            tuple(self._briefs),
        )

    def _sweep(self, now_ns: int) -> None:
        for cgroup_id, gone_ns in list(self._gone.items()):
            if gone_ns + _KEPT_NS > now_ns and len(self._gone) <= _GONE_MAX:
                break
            del self._gone[cgroup_id]
            row = self._rows.get(cgroup_id)
            if row is not None and row.ended_wall_ns:  # else it was started again
                del self._rows[cgroup_id]
                self._rates.forget(cgroup_id)

    def take_dropped(self) -> int:
        """It drops nothing."""
        return 0

    def close(self) -> None:
        """The last snapshot stays."""

    # In any thread.

    def newest(self, timeout_s: float = 1.0) -> Snapshot | None:
        """The newest snapshot; where none was wanted before, it waits at most so long for one."""
        with self._news:
            stale = time.monotonic() >= self._wanted_until_s
            self._wanted_until_s = time.monotonic() + _WANTED_S
            before = self._snapshot
            if stale:
                self._news.wait_for(lambda: self._snapshot is not before, timeout_s)
            return self._snapshot

    def frame(self, timeout_s: float = 1.0) -> bytes:
        """The same as one line of JSON, without its end; ``{}`` if there is none. All readers share one encoding."""
        snapshot = self.newest(timeout_s)
        if snapshot is None:
            return b"{}"
        with self._news:
            if self._frame is None or self._frame[0] is not snapshot:
                plain = self._encoder.plain(snapshot)
                self._frame = (snapshot, json.dumps(plain, separators=(",", ":")).encode())
            return self._frame[1]

    def verdicts(self) -> list[Verdict]:
        """The last ones in full, the oldest first."""
        with self._news:
            return list(self._verdicts)
