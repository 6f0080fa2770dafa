"""`top --once`: one frame, plain or as JSON."""

from __future__ import annotations

import json
import time
from typing import Final

from sigtrace.errors import RunError
from sigtrace.model.overview import Snapshot, as_plain
from sigtrace.sinks.style import Style
from sigtrace.tui.cells import Layout, brief_line, ordered
from sigtrace.tui.feed import Feed, Player
from sigtrace.tui.header import header
from sigtrace.tui.lines import Line

#: Verdicts below the table.
_BRIEFS: Final = 10
_STEP_S: Final = 0.02
#: The first snapshot has come by then, and the second, which knows how fast signals come, soon after it.
_FIRST_S: Final = 10.0
_SECOND_S: Final = 2.5
_FOR_EVER_S: Final = 1e9


def two_snapshots(feed: Feed) -> Snapshot:
    """The second one, which has rates; or the first if no other comes. Raises RunError if there is none."""
    if feed.player is not None:
        return _at_its_end(feed, feed.player)
    first = _other(feed, None, _FIRST_S)
    if first is None:
        raise RunError(f"no snapshot within {_FIRST_S:g} s{': ' if feed.state else ''}{feed.state}")
    return _other(feed, first, _SECOND_S) or first


def _at_its_end(feed: Feed, player: Player) -> Snapshot:
    player.seek(_FOR_EVER_S)
    while player.place[1] is None:
        time.sleep(_STEP_S)
    snapshot = feed.newest()
    if snapshot is None:
        raise RunError(f"the recording shows nothing{': ' if feed.state else ''}{feed.state}")
    return snapshot


def _other(feed: Feed, known: Snapshot | None, timeout_s: float) -> Snapshot | None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        snapshot = feed.newest()
        if snapshot is not None and snapshot is not known:
            return snapshot
        time.sleep(_STEP_S)
    return None


def json_line(snapshot: Snapshot) -> str:
    """The snapshot."""
    return json.dumps(as_plain(snapshot), separators=(",", ":"))


def frame_text(snapshot: Snapshot, style: Style, state: str = "", empty: str = "no container is running") -> list[str]:
    """Header, containers with the worst first, and the last verdicts. ``empty``: what stands for no container."""
    layout = Layout.of(style.width)
    lines = [header(snapshot, style.width, state=state), layout.head("", reverse=False)]
    lines += [layout.row(row, snapshot.wall_ns) for row in ordered(snapshot.rows, "t", reverse=False)]
    if not snapshot.rows:
        lines.append([(empty, "dim")])
    if snapshot.briefs:
        lines += [[("", "")], [("verdicts, the newest first", "bold")]]
        lines += [brief_line(brief, snapshot.wall_ns, style.width) for brief in snapshot.briefs[:_BRIEFS]]
    return [_painted(line, style) for line in lines]


def _painted(line: Line, style: Style) -> str:
    spans = [(text, [word for word in words.split() if word != "reverse"]) for text, words in line]
    return "".join(style(text, *words) if text.strip() else text for text, words in spans).rstrip()
