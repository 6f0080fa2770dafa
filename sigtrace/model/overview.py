"""What `top` shows: the node at one moment. Frozen: a snapshot goes from thread to thread, or over the agent's socket.

As JSON it is what model.recording.values makes of the dataclasses. What is read back was written by anyone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sigtrace.model.causes import Severity
from sigtrace.model.event import Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.recording import values
from sigtrace.model.recording.plain import UNKNOWN, Json
from sigtrace.model.workload import Workload

VERSION: Final = 1
#: What a snapshot holds at most; a reader refuses more.
ROWS_MAX: Final = 10_000
BRIEFS_MAX: Final = 200
#: Rates a row remembers, one a snapshot.
HISTORY: Final = 32


@dataclass(frozen=True, slots=True)
class Brief:
    """A verdict in a line. Text is printable. ``(time_ns, code, cause, cgroup_id, pid)`` finds it in full."""

    time_ns: int
    """CLOCK_BOOTTIME of the deciding event"""
    wall_ns: int
    """ns since the epoch"""
    code: str
    """of a finding, or the outcome of a shutdown"""
    cause: str
    """empty where there is none"""
    severity: Severity | None
    """None: a shutdown as it should be"""
    whose: str
    """the title of the workload"""
    text: str
    cgroup_id: int = 0
    """of the workload; 0: it is of none"""
    pid: int = 0
    """of the subject or of the main process; 0: there is none"""
    shutdown: bool = False
    advice: str = ""
    """where it is not the catalogue's of code and cause"""

    @property
    def key(self) -> tuple[int, str, str, int, int]:
        """Which verdict it is."""
        return (self.time_ns, self.code, self.cause, self.cgroup_id, self.pid)


@dataclass(frozen=True, slots=True)
class Row:
    """A container, alive or gone not long ago. Counts are since it was first seen."""

    workload: Workload
    since_wall_ns: int = 0
    """first seen"""
    ended_wall_ns: int = 0
    """0: it runs"""
    outcome: str = ""
    """of its shutdown"""
    main: Task | None = None
    signals: int | None = 0
    """None, and likewise of the two below: nobody counts them"""
    exits: int | None = 0
    rate: float | None = 0.0
    """signals a second, over the last interval"""
    history: tuple[int, ...] = ()
    """rates, rounded, the newest last; HISTORY at most, leading zeros left out"""
    dropped: int = 0
    """signals that PID 1 never heard"""
    escalated: int = 0
    """shutdowns that SIGKILL had to end"""
    killed: int = 0
    """processes that got a SIGKILL"""
    crashed: int = 0
    """processes that crashed, and were seen to"""
    masked: int = 0
    """crashes that a supervisor hid"""
    zombies: int = 0
    """that nobody waits for, now"""
    oldest_wall_ns: int = 0
    """since when the oldest of them waits; 0: there is none, or it was there before sigtrace"""
    worst: Severity | None = None
    """of the verdicts on it"""
    last: Brief | None = None

    @property
    def troubles(self) -> int:
        """All that is wrong with it, counted."""
        return self.dropped + self.escalated + self.killed + self.crashed + self.masked + self.zombies


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The node at one moment."""

    wall_ns: int = 0
    """ns since the epoch"""
    time_ns: int = 0
    """CLOCK_BOOTTIME"""
    since_wall_ns: int = 0
    """capture runs since"""
    node: str = ""
    source: str = ""
    """agent, capture or replay"""
    backend: str = ""
    version: str = ""
    """of the sigtrace that made it"""
    events: int = 0
    """told so far"""
    events_rate: float = 0.0
    """a second"""
    rate: float | None = None
    """signals a second of all that runs, containers or not; None: nobody counts them"""
    lost: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """by cause, since the start; what is missing was not lost"""
    rows: tuple[Row, ...] = ()
    hidden: int = 0
    """containers that found no room"""
    briefs: tuple[Brief, ...] = ()
    """the last verdicts, the newest first"""

    def row(self, cgroup_id: int) -> Row | None:
        """The container of this cgroup."""
        return next((row for row in self.rows if row.workload.cgroup_id == cgroup_id), None)

    def only(self, chosen: WorkloadFilter) -> Snapshot:
        """Of these containers, and what is nobody's."""
        if chosen.is_open:
            return self
        rows = tuple(row for row in self.rows if chosen.workload(row.workload))
        ids = {row.workload.cgroup_id for row in rows} | {0}
        briefs = tuple(brief for brief in self.briefs if brief.cgroup_id in ids)
        return dataclasses.replace(self, rows=rows, briefs=briefs)


class SnapshotEncoder:
    """Snapshots to JSON values. What did not change since the last one is not encoded again."""

    def __init__(self) -> None:
        self._values = values.Encoder({})
        self._known: dict[int, tuple[Row, dict[str, Json]]] = {}
        self._briefs: dict[tuple[Any, ...], tuple[Brief, dict[str, Json]]] = {}

    def plain(self, snapshot: Snapshot) -> dict[str, Json]:
        """For json.dumps."""
        bare = self._values.object(dataclasses.replace(snapshot, rows=(), briefs=()))
        rows, briefs = self._known, self._briefs
        self._known = {
            row.workload.cgroup_id: self._row(row, rows.get(row.workload.cgroup_id)) for row in snapshot.rows
        }
        self._briefs = {brief.key: self._brief(brief, briefs.get(brief.key)) for brief in snapshot.briefs}
        return bare | {
            "v": VERSION,
            "rows": [plain for _, plain in self._known.values()],
            "briefs": [plain for _, plain in self._briefs.values()],
        }

    def _row(self, row: Row, known: tuple[Row, dict[str, Json]] | None) -> tuple[Row, dict[str, Json]]:
        if known is not None and known[0] == row:
            return known
        if known is None:
            return row, self._values.object(row)
        # Of a row that changed its numbers, workload and main process are mostly the same objects.
        before, plain = known
        fresh = self._values.object(dataclasses.replace(row, workload=_NOBODY, main=None))
        same = row.workload is before.workload or row.workload == before.workload
        fresh["workload"] = plain["workload"] if same else self._values.object(row.workload)
        if row.main is not None:
            fresh["main"] = plain["main"] if row.main == before.main else self._values.object(row.main)
        return row, fresh

    def _brief(self, brief: Brief, known: tuple[Brief, dict[str, Json]] | None) -> tuple[Brief, dict[str, Json]]:
        return known if known is not None and known[0] == brief else (brief, self._values.object(brief))


class SnapshotDecoder:
    """JSON values to snapshots. Raises ValueError for what no encoder made. What came before is not read again."""

    def __init__(self) -> None:
        self._values = values.Decoder({})
        self._known: dict[int, tuple[Json, Row]] = {}

    def snapshot(self, plain: Json) -> Snapshot:
        """One, whole."""
        if not isinstance(plain, dict):
            raise ValueError("a snapshot that is no object")  # noqa: TRY004 - whoever reads has one error to expect
        if plain.get("v") != VERSION:
            raise ValueError("a snapshot of another version")
        rows, briefs, lost = plain.get("rows"), plain.get("briefs"), plain.get("lost", {})
        if not isinstance(rows, list) or len(rows) > ROWS_MAX:
            raise ValueError(f"a snapshot without rows, or with more than {ROWS_MAX:,}")
        if not isinstance(briefs, list) or len(briefs) > BRIEFS_MAX:
            raise ValueError(f"a snapshot without verdicts, or with more than {BRIEFS_MAX}")
        if not isinstance(lost, dict) or len(lost) > BRIEFS_MAX:
            raise ValueError("a snapshot whose losses are none")
        bare = self._values.object(Snapshot, {k: v for k, v in plain.items() if k not in ("rows", "briefs")})
        found: dict[int, tuple[Json, Row]] = {}
        for raw in rows:
            row = self._row(raw)
            if row is not None:
                found[row.workload.cgroup_id] = (raw, row)
        self._known = found
        told = (self._values.object(Brief, raw) for raw in briefs)
        made: Snapshot = dataclasses.replace(
            bare,
            rows=tuple(row for _, row in found.values()),
            briefs=tuple(brief for brief in told if brief is not UNKNOWN),
        )
        return made

    def _row(self, raw: Json) -> Row | None:
        if not isinstance(raw, dict) or not isinstance(raw.get("workload"), dict):
            raise ValueError("a row without its workload")  # noqa: TRY004 - as above
        known = self._known.get(_id_of(raw["workload"]))
        if known is not None and known[0] == raw:
            return known[1]
        if known is not None and known[0]["workload"] == raw["workload"]:
            read = self._values.object(Row, raw | {"workload": _PLAIN_NOBODY})
            row: Any = read if read is UNKNOWN else dataclasses.replace(read, workload=known[1].workload)
        else:
            row = self._values.object(Row, raw)
        if row is UNKNOWN:
            return None
        if len(row.history) > HISTORY:
            raise ValueError(f"a history of {len(row.history)}")
        found: Row = row
        return found


def _id_of(workload: dict[str, Json]) -> int:
    found = workload.get("cgroup_id")
    return found if type(found) is int else 0


_PLAIN_NOBODY: Final[dict[str, Json]] = {"kind": "container", "cgroup_id": 0}
_NOBODY: Final[Workload] = values.Decoder({}).object(Workload, _PLAIN_NOBODY)


def as_plain(snapshot: Snapshot) -> dict[str, Json]:
    """One snapshot, for json.dumps; for a stream of them keep a :class:`SnapshotEncoder`."""
    return SnapshotEncoder().plain(snapshot)


def of_plain(plain: Json) -> Snapshot:
    """One snapshot; for a stream of them keep a :class:`SnapshotDecoder`. Raises ValueError."""
    return SnapshotDecoder().snapshot(plain)
