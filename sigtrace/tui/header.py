"""The line at the top: which node, how much happens there, and what was lost."""

from __future__ import annotations

from datetime import datetime

from sigtrace.model.overview import Snapshot
from sigtrace.tui.cells import number
from sigtrace.tui.lines import Line, clean, fit_line, length


def clock(wall_ns: int) -> str:
    """Local time of day."""
    return f"{datetime.fromtimestamp(wall_ns // 1_000_000_000).astimezone():%H:%M:%S}"


def losses(snapshot: Snapshot) -> str:
    """``LOST 1,234 (ring-full 1,200, rate-limited 34)``, or nothing."""
    told = {cause: count for cause, count in snapshot.lost.items() if count > 0}
    if not told:
        return ""
    parts = ", ".join(f"{clean(cause)} {count:,}" for cause, count in sorted(told.items(), key=lambda one: -one[1]))
    return f"LOST {sum(told.values()):,} ({parts})"


def header(snapshot: Snapshot | None, width: int, *, shown: int = -1, state: str = "", paused: bool = False) -> Line:
    """``shown``: so many containers pass the filter (-1: all); ``state``: why nothing new comes."""
    line: Line = [("sigtrace top", "bold")]
    if snapshot is None:
        line += [("  ", ""), (clean(state) or "starting…", "yellow bold" if state else "dim")]
        return fit_line(line, width)
    lost = losses(snapshot)
    gone = sum(1 for row in snapshot.rows if row.ended_wall_ns)
    alive = len(snapshot.rows) - gone
    containers = f"{alive:,} container{'' if alive == 1 else 's'}"
    if shown >= 0:
        containers = f"{shown:,} of {len(snapshot.rows):,} containers"
    elif gone:
        containers += f", {gone:,} gone"
    left: Line = []
    if state:
        left += [("  ", ""), (f" {clean(state)} ", "yellow reverse")]
    if paused:
        left += [("  ", ""), (" PAUSED ", "reverse")]
    if lost:
        left += [("  ", ""), (f" {lost} ", "red reverse")]
    facts: Line = [("  ", ""), (containers, "")]
    if snapshot.hidden:
        facts += [(f" (+{snapshot.hidden:,} not shown)", "yellow")]
    if snapshot.rate is not None:
        facts += [("  ", ""), (f"{number(snapshot.rate) or '0'} signals/s", "")]
    where = clean(snapshot.node)
    origin: Line = [("  ", ""), (where, ""), (f"  {snapshot.source}/{snapshot.backend}".rstrip("/"), "dim")]
    at: Line = [(" ", ""), (clock(snapshot.wall_ns), "dim")]
    # Losses and a lost connection are always there; the rest as far as there is room.
    for extra in (facts, origin):
        if length(line) + length(extra) + length(left) + length(at) <= width:
            line += extra
    line += left
    if length(line) + length(at) <= width:
        line = fit_line(line, width - length(at)) + at
    return fit_line(line, width)
