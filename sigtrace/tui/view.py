"""What the main screen shows of a snapshot: which containers and verdicts, in which order, and what to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigtrace.model.overview import Brief, Row, Snapshot
from sigtrace.tui.cells import Layout, brief_line, chosen, ordered
from sigtrace.tui.header import header
from sigtrace.tui.lines import Line, fit
from sigtrace.tui.mend import mend, mend_row

if TYPE_CHECKING:
    from collections.abc import Hashable

    from sigtrace.tui.feed import Player

#: (key, what it does, action) of the keys at the bottom.
Key = tuple[str, str, str]


class View:
    """Of the newest snapshot, or of the one that is held."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.paused = False
        self.sort, self.reverse = "t", False
        self.words: list[str] = []
        """of the filter"""
        self.rows: dict[Hashable, Row] = {}
        """what is shown, in its order, by the container's cgroup"""
        self.briefs: dict[Hashable, Brief] = {}
        self.layout = Layout.of(80)

    def arrange(self) -> None:
        """Rows and verdicts of the snapshot, as they are wanted now."""
        if self.snapshot is None:
            return
        rows = ordered(chosen(self.snapshot, self.words), self.sort, reverse=self.reverse)
        self.rows = {row.workload.cgroup_id: row for row in rows}
        meant = self.rows
        briefs = [brief for brief in self.snapshot.briefs if not self.words or brief.cgroup_id in meant]
        self.briefs = {brief.key: brief for brief in briefs}

    def sort_by(self, key: str) -> None:
        """By this column; again: the other way round."""
        self.reverse = not self.reverse if key == self.sort else False
        self.sort = key

    @property
    def now_ns(self) -> int:
        """The snapshot's time, since the epoch."""
        return self.snapshot.wall_ns if self.snapshot else 0

    # Lines of the screen.

    def head(self, width: int, state: str) -> Line:
        """The first. ``state``: why nothing new comes."""
        shown = len(self.rows) if self.words else -1
        return header(self.snapshot, width, shown=shown, state=state, paused=self.paused)

    def columns(self) -> Line:
        """Above the containers."""
        return self.layout.head(self.sort, reverse=self.reverse)

    def row_line(self, key: Hashable, _width: int) -> Line:
        """A container."""
        return self.layout.row(self.rows[key], self.now_ns)

    def brief_line(self, key: Hashable, width: int) -> Line:
        """A verdict."""
        return brief_line(self.briefs[key], self.now_ns, width)

    def between(self, width: int, player: Player | None) -> Line:
        """Above the verdicts."""
        words = f" filter: {' '.join(self.words)} (Esc clears it)" if self.words else ""
        play = ""
        if player is not None:
            at, whole = player.place
            play = f" {at:.0f} s{f' of {whole:.0f} s' if whole else ''} ×{player.speed:g}"
            play += " held" if player.paused else ""
        return [(fit(f"── verdicts{play}{words} ".ljust(width, "─"), width), "bold")]

    def mend_line(self, key: Hashable | None, width: int) -> Line:
        """What to do about the container or the verdict with the cursor."""
        row = self.rows.get(key)
        brief = self.briefs.get(key)
        briefs = self.snapshot.briefs if self.snapshot else ()
        if advice := mend_row(row, briefs) if row is not None else mend(brief, briefs) if brief is not None else "":
            return [("fix", "green bold"), (fit(f"  {advice}", width - 3), "")]
        known = row is not None or brief is not None
        return [(fit("Enter tells its story and shows what is in it" if known else "", width), "dim")]

    def keys(self, player: Player | None) -> list[Key]:
        """At the bottom."""
        hold = "go on" if self.paused else "hold"
        keys = [("?", "help", "app.help"), ("q", "quit", "app.quit"), ("/", "filter", "app.filter")]
        keys += [("p", hold, "app.pause"), ("⏎", "story", "app.open"), ("Tab", "verdicts", "app.other")]
        if player is not None:
            return [*keys, ("←→", "seek", "app.seek(10)"), ("+-", "speed", "app.speed(2)")]
        return [*keys, ("t n s d k z l", "sort", "app.sort('t')"), ("r", "reverse", "app.reverse")]
