"""What to do about a verdict, in a line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sigtrace.model import codes
from sigtrace.model.overview import Brief, Row

#: Findings that say more exactly than a shutdown's cause why it went wrong.
_WHY: Final = ("signal-dropped", "signal-ignored", "signal-pending", "signal-not-forwarded", "crashed")


def mend(brief: Brief, others: Iterable[Brief]) -> str:
    """Its own advice, else the catalogue's; empty if there is nothing to mend. ``others``: a shutdown's findings."""
    if brief.severity is None:
        return ""
    if not brief.shutdown:
        code = codes.CODES.get(brief.code)
        cause = code and code.causes.get(brief.cause)
        return brief.advice or (cause.advice if cause else "")
    own = ""
    for other in others:
        same = (other.cgroup_id, other.pid) == (brief.cgroup_id, brief.pid) and not other.shutdown
        if same and other.code in _WHY and (advice := mend(other, ())):
            return advice
        if same and other.code == "killed":
            own = own or other.advice
    outcome = codes.OUTCOMES.get(brief.code)
    reason = outcome and outcome.causes.get(brief.cause)
    return own or (reason.advice if reason else "")


def mend_row(row: Row, briefs: Sequence[Brief]) -> str:
    """Of a container: about its last verdict or, where that is as it should be, the last of the worst."""
    if row.last is not None and (advice := mend(row.last, briefs)):
        return advice
    own = [brief for brief in briefs if brief.cgroup_id == row.workload.cgroup_id and brief.severity is not None]
    worst = max(own, key=lambda brief: (brief.severity or 0, brief.wall_ns), default=None)
    return mend(worst, own) if worst is not None else ""
