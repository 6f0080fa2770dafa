"""What the keys do and the columns mean."""

from __future__ import annotations

from typing import Final

from sigtrace.tui.cells import COLUMNS
from sigtrace.tui.lines import Line, fit, wrapped

_KEYS: Final = (
    ("↑ ↓ PgUp PgDn", "move; Home and End to the ends"),
    ("Enter", "a container's story, or a verdict with its evidence; a double click does it, too"),
    ("Tab", "between containers and verdicts"),
    ("/", "filter as you type: name, pod, runtime, id, outcome; Enter keeps it, Esc clears it"),
    ("p, Space", "hold what is shown; what happens goes on being counted"),
    ("r", "reverse the order"),
    ("?", "this; Esc leaves it"),
    ("q, Ctrl-C", "quit"),
)
_MARKS: Final = (
    ("✗", "an error"),
    ("!", "a warning"),
    ("·", "a remark"),
    ("✓", "as it should be"),
    ("gone", "the container has ended; its row stays for five minutes"),
    ("–", "nobody counts it: this backend can't"),
    (">", "older than sigtrace"),
    ("fix", "what to do about the container or the verdict with the cursor"),
)
_PLAYER: Final = (
    ("p, Space", "hold the recording, and go on"),
    ("← →", "10 s back, 10 s on; with Shift a minute"),
    ("+ -", "twice as fast, half as fast"),
)


def help_lines(width: int, *, player: bool) -> list[Line]:
    """The page behind ``?``."""
    lines: list[Line] = [[("Keys", "bold")]]
    for key, what in _KEYS:
        if not (player and key == _PLAYER[0][0]):
            lines += _entry(key, what, width)
    if player:
        for key, what in _PLAYER:
            lines += _entry(key, what, width)
    lines.append([("", "")])
    lines += wrapped("Columns, and the key that sorts by each; a click on its name does it, too", width, style="bold")
    for column in COLUMNS:
        if column.key:
            seen = f" (from {column.least} columns on)" if column.least else ""
            lines += _entry(column.key, f"{fit(column.head, 16)}{column.about}{seen}", width, 5)
    lines += [[("", "")], [("Marks", "bold")]]
    for mark, what in _MARKS:
        lines += _entry(mark, what, width, 5)
    return lines


def _entry(key: str, what: str, width: int, indent: int = 16) -> list[Line]:
    rows = wrapped(what.replace("  ", "\u00a0 "), width, indent + 2, f"  {key}")
    head, rest = rows[0][0], rows[0][1:]
    rows[0] = [(head[0], "bold"), *rest]
    return [[(text.replace("\u00a0", " "), style) for text, style in row] for row in rows]
