"""One container's numbers, as they grow; and a verdict in a line."""

from __future__ import annotations

from typing import Final

from sigtrace.model import codes
from sigtrace.model.causes import Severity
from sigtrace.model.event import Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.overview import Brief, Row
from sigtrace.model.text import cut
from sigtrace.model.workload import Workload
from sigtrace.sinks.headlines import headline, title

#: Columns of a verdict's line, and of its workload's title: wider is no screen.
_TEXT_MAX: Final = 300
_TITLE_MAX: Final = 200
#: Open folds a row remembers; beyond, the oldest is taken for ended.
_FOLDS_MAX: Final = 64
#: How bad an outcome is; those that are not here are as they should be.
SEVERITIES: Final = {
    "oom": Severity.ERROR,
    "crashed": Severity.ERROR,
    "escalated": Severity.ERROR,
    "killed": Severity.WARNING,
    "incomplete": Severity.WARNING,
    "terminated": Severity.WARNING,
}
#: Which number of a row a finding's count goes to.
_COUNTED: Final = {
    "signal-dropped": "dropped",
    "killed": "killed",
    "crashed": "crashed",
    "crash-masked": "masked",
}

#: Findings whose message alone does not say what is wrong.
_NEEDS_TITLE: Final = ("crash-masked",)

_FoldKey = tuple[str, str, int, tuple[int, int] | None]


def brief_of(verdict: Verdict) -> Brief:
    """A verdict in a line."""
    workload = verdict.workload
    whose = cut(workload.title, _TITLE_MAX) if workload else "sigtrace"
    cgroup_id = workload.cgroup_id if workload else 0
    if isinstance(verdict, Shutdown):
        return Brief(
            verdict.time_ns,
            verdict.wall_ns,
            verdict.outcome,
            verdict.cause or "",
            SEVERITIES.get(verdict.outcome),
            whose,
            cut(headline(verdict), _TEXT_MAX),
            cgroup_id,
            verdict.main.pid,
            shutdown=True,
        )
    over = "over: " if verdict.closing else ""
    told = f"{title(verdict)}: " if verdict.code in _NEEDS_TITLE else ""
    return Brief(
        verdict.time_ns,
        verdict.wall_ns,
        verdict.code,
        verdict.cause,
        verdict.severity,
        whose,
        cut(f"{over}{told}{verdict.message}", _TEXT_MAX),
        cgroup_id,
        verdict.subject.pid if verdict.subject else 0,
        advice=_own_advice(verdict),
    )


def _own_advice(finding: Finding) -> str:
    code = codes.CODES.get(finding.code)
    cause = code.causes.get(finding.cause) if code else None
    return "" if cause and cause.advice == finding.advice else cut(finding.advice, _TEXT_MAX)


class GrowingRow:
    """A container's row while it changes; in the pipeline's thread alone."""

    __slots__ = (
        "_folds",
        "crashed",
        "dropped",
        "ended_wall_ns",
        "escalated",
        "exits",
        "history",
        "killed",
        "last",
        "main",
        "masked",
        "outcome",
        "rate",
        "signals",
        "since_wall_ns",
        "workload",
        "worst",
        "zombies",
    )

    def __init__(self, workload: Workload, since_wall_ns: int) -> None:
        self.workload = workload
        self.since_wall_ns = since_wall_ns
        self.ended_wall_ns = 0
        self.outcome = ""
        self.main: Task | None = None
        self.signals: int | None = 0
        self.exits: int | None = 0
        self.rate: float | None = 0.0
        self.history: tuple[int, ...] = ()
        """none while nobody looks: an empty deque of its own would take 624 bytes"""
        self.dropped = self.escalated = self.killed = self.crashed = self.masked = 0
        self.zombies: dict[tuple[int, int], int] = {}
        """process → since when it waits, ns since the epoch; 0: since before sigtrace"""
        self.worst: Severity | None = None
        self.last: Brief | None = None
        self._folds: dict[_FoldKey, int] = {}

    def take_main(self, task: Task) -> None:
        """This is its main process; what argv it had is kept where an event has none."""
        known = self.main
        if known is not None and known.key == task.key and (task.argv is None or task.argv == known.argv):
            return
        if known is None or known.key != task.key:
            self.ended_wall_ns, self.outcome = 0, ""  # it was started again in the same cgroup
        self.main = task

    def take(self, verdict: Verdict, brief: Brief) -> None:
        """A verdict on it."""
        self.last = brief
        if isinstance(verdict, Shutdown):
            self.ended_wall_ns = verdict.wall_ns
            self.outcome = verdict.outcome
            self.escalated += verdict.outcome == "escalated"
            self.zombies.clear()
        elif counted := _COUNTED.get(verdict.code):
            setattr(self, counted, getattr(self, counted) + self._news(verdict))
        if brief.severity is not None and not (isinstance(verdict, Finding) and verdict.closing):
            self.worst = max(self.worst or brief.severity, brief.severity)

    def _news(self, finding: Finding) -> int:
        """How many more than a fold had when it was told last (interface: Repeats are folded)."""
        key = (finding.code, finding.cause, finding.signo, finding.parent.key if finding.parent else None)
        before = self._folds.pop(key, 0)
        if not finding.closing:
            self._folds[key] = finding.count
            if len(self._folds) > _FOLDS_MAX:
                del self._folds[next(iter(self._folds))]
        # A count that did not grow is that of a new fold, or of another process.
        return finding.count - before if finding.count > before else finding.count * (not finding.closing)

    def frozen(self) -> Row:
        """As it is now."""
        waits = [since for since in self.zombies.values() if since]
        history = list(self.history)
        while history and not history[0]:
            history.pop(0)
        return Row(
            self.workload,
            self.since_wall_ns,
            self.ended_wall_ns,
            self.outcome,
            self.main,
            self.signals,
            self.exits,
            self.rate,
            tuple(history),
            self.dropped,
            self.escalated,
            self.killed,
            self.crashed,
            self.masked,
            len(self.zombies),
            min(waits, default=0) if len(waits) == len(self.zombies) else 0,
            self.worst,
            self.last,
        )
