"""Feeds from what happens now: a capture of our own, or a running agent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from sigtrace.audit.rows import Audit
from sigtrace.auditor import Auditor
from sigtrace.capture import Capture, run_in_background
from sigtrace.errors import SigtraceError
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Verdict
from sigtrace.model.overview import Row, Snapshot, SnapshotDecoder
from sigtrace.service import follow
from sigtrace.service.client import Reconnecting
from sigtrace.service.protocol import SNAPSHOTS
from sigtrace.sinks.overview.aggregate import Overview
from sigtrace.sources.options import BpfOptions
from sigtrace.top.processes import processes_of
from sigtrace.tui.feed import Inside, Player

_STEP_S: Final = 0.5
#: Nothing new for so long (s), though the agent is there: it is said.
_QUIET_S: Final = 5.0

_NAMELESS: Final = "names are unknown: no runtime's socket (--runtime-socket)"


class Chosen:
    """The user's choice of a snapshot; the same one for the same one."""

    def __init__(self, chosen: WorkloadFilter) -> None:
        self._filter = chosen
        self._last: tuple[Snapshot | None, Snapshot | None] = (None, None)

    def of(self, snapshot: Snapshot | None) -> Snapshot | None:
        """What of it is meant."""
        if snapshot is not self._last[0]:
            self._last = (snapshot, snapshot and snapshot.only(self._filter))
        return self._last[1]


def inside_of(row: Row, audits: Callable[[], list[Audit]]) -> Inside:
    """The audit of one container, and the processes in it."""
    if row.ended_wall_ns:
        return Inside()
    note = ""
    audit: Audit | None = None
    try:
        audit = next((a for a in audits() if a.workload.cgroup_id == row.workload.cgroup_id), None)
    except SigtraceError as error:
        note = f"no audit: {error}"
    return Inside(audit, processes_of(row.workload), note)


class CaptureFeed:
    """A capture of our own, opened and run in a thread so that the screen need not wait for it."""

    player: Player | None = None

    def __init__(self, backend: str, chosen: WorkloadFilter, sockets: Sequence[str], node: str) -> None:
        """Starts at once; what can't be done is raised by :meth:`check` and shown by ``state``."""
        self._backend = backend
        self._overview = Overview(source="capture", backend=backend, node=node)
        self._overview.newest(0)
        self._chosen = Chosen(chosen)
        self._sockets = sockets
        self._nameless = ""
        if chosen.by_name:
            from sigtrace.commands import nameless  # its imports take longer than the first frame may

            self._nameless = _NAMELESS if nameless(chosen, sockets) else ""
        self._end = threading.Event()
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with Capture(self._backend, BpfOptions(), [self._overview], sockets=self._sockets) as capture:
                self._overview.attach(capture.counts, capture.workload_of, backend=capture.backend)
                self._opened.set()
                finish = run_in_background(capture)
                self._end.wait()
                finish()
        except BaseException as error:  # noqa: BLE001 - raised by check, in the thread that shows it
            self._failure = error
            self._opened.set()

    def check(self, timeout_s: float | None = None) -> None:
        """Waits until it is open. Raises what ended it."""
        self._opened.wait(timeout_s)
        if self._failure is not None:
            raise self._failure

    @property
    def failure(self) -> BaseException | None:
        """As Feed says."""
        return self._failure

    def newest(self) -> Snapshot | None:
        """As Feed says."""
        return self._chosen.of(self._overview.newest(0))

    @property
    def state(self) -> str:
        """As Feed says."""
        if self._failure:
            return f"capture ended: {self._failure}"
        shown = self._chosen.of(self._overview.newest(0))
        return self._nameless if shown is not None and not shown.rows else ""

    def verdicts(self) -> list[Verdict]:
        """As Feed says."""
        return self._overview.verdicts()

    def inside(self, row: Row) -> Inside:
        """As Feed says; looks itself, beside the capture."""

        def audits() -> list[Audit]:
            with Auditor(self._backend) as auditor:
                return auditor.audit()

        return inside_of(row, audits)

    def close(self) -> None:
        """Ends the capture."""
        self._end.set()
        self._thread.join()


class AgentFeed:
    """A running agent, through its socket. While it is away that is said, and tried again."""

    player: Player | None = None
    failure: BaseException | None = None

    def __init__(self, path: str, chosen: WorkloadFilter) -> None:
        self._path = path
        self._chosen = Chosen(chosen)
        self._frames = Reconnecting(path, SNAPSHOTS)
        self._snapshot: Snapshot | None = None
        self._state = ""
        self._end = False
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        decoder = SnapshotDecoder()
        last: Snapshot | None = None
        waited_s = 0.0
        while not self._end:
            frame = self._frames.frame(_STEP_S)
            if frame is None:
                waited_s += _STEP_S
                quiet = f"the agent has told nothing for {waited_s:.0f} s" if waited_s >= _QUIET_S else ""
                away = self._frames.away
                self._state = f"agent gone, trying again: {away}" if away else quiet
                continue
            if frame.kind != "snapshot" or frame.value == {}:  # it has none yet
                continue
            try:
                snapshot = decoder.snapshot(frame.value)
            except ValueError as error:
                self._state = f"the agent sends what is no snapshot: {error}"
                continue
            if snapshot != last:  # it may send one twice, if the next is not ready
                last = snapshot
                self._snapshot = self._chosen.of(snapshot)
            waited_s, self._state = 0.0, ""
        self._frames.close()

    def newest(self) -> Snapshot | None:
        """As Feed says."""
        return self._snapshot

    @property
    def state(self) -> str:
        """As Feed says."""
        return self._state

    def verdicts(self) -> list[Verdict]:
        """As Feed says."""
        with follow.Verdicts(self._path) as kept:
            return list(kept)

    def inside(self, row: Row) -> Inside:
        """As Feed says."""
        return inside_of(row, lambda: follow.audits(self._path))

    def close(self) -> None:
        """Ends the connection."""
        self._end = True
        self._thread.join()
