"""The table of containers: its columns, what stands in them, in which order. Pure; `top --once` prints the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sigtrace.model.causes import Severity
from sigtrace.model.overview import Brief, Row, Snapshot
from sigtrace.tui.lines import Line, clean, fit, width_of

#: Verdicts where there is no room for their code.
_SHORT: Final = {
    "crash-masked": "masked",
    "events-lost": "lost",
    "signal-dropped": "dropped",
    "signal-ignored": "ignored",
    "signal-not-forwarded": "not told",
    "signal-pending": "pending",
    "stop-unanswered": "unanswered",
    "zombie-unreaped": "zombies",
}
MARKS: Final = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "·"}
COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_BARS: Final = "▁▂▃▄▅▆▇█"
UNKNOWN: Final = "–"
_GAP: Final = 1
#: Of a title: what a container's name has at least.
_NAME_LEAST: Final = 8
_MINUTE_NS: Final = 60_000_000_000


def age(seconds: float) -> str:
    """``42s`` ``7m`` ``3h`` ``5d``: four columns at most."""
    if seconds < 100:
        return f"{max(int(seconds), 0)}s"
    if seconds < 6_000:
        return f"{int(seconds / 60)}m"
    return f"{int(seconds / 3600)}h" if seconds < 360_000 else f"{min(int(seconds / 86_400), 999)}d"


def number(value: float | None) -> str:
    """``0`` is left out; ``12.3k`` ``4.5M``: five columns at most; ``–``: unknown."""
    if value is None:
        return UNKNOWN
    if value < 0.05:
        return ""
    if value < 10 and value != int(value):
        return f"{value:.1f}"
    if value < 10_000:
        return f"{value:.0f}"
    for unit in ("k", "M"):
        value /= 1000
        if value < 999.5:
            return f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"
    return f"{value / 1000:.0f}G"


def spark(history: Sequence[int], width: int) -> str:
    """The newest rates as bars, each in proportion to the highest of them."""
    shown = list(history[-width:])
    top = max(shown, default=0)
    bars = "".join(" " if not n else _BARS[min(n * len(_BARS) // (top + 1), len(_BARS) - 1)] for n in shown)
    return bars.rjust(width)


def title(whole: str, width: int) -> str:
    """A container's title in so many columns: of pod and name the longer is cut."""
    pod, dot, name = clean(whole).rpartition(" · ")
    if not dot or width_of(pod) + width_of(name) + 3 <= width:
        return fit(whole, width)
    room = width - 3
    own = min(width_of(name), max(_NAME_LEAST, room - width_of(pod)))
    return fit(f"{fit(pod, room - own)} · {fit(name, own)}", width)


def last_of(row: Row, now_ns: int, width: int) -> str:
    """The last verdict: what, and how long ago."""
    if row.last is None:
        return fit("", width)
    ago = age((now_ns - row.last.wall_ns) / 1e9)
    room = width - width_of(ago) - 1
    code = row.last.code
    word = row.last.text if room >= 30 else code if width_of(code) <= room else _SHORT.get(code, code)
    return f"{fit(word, room)} {ago}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``cell``: (row, now as ns since the epoch, width) → text of that width."""

    key: str
    """what is pressed to sort by it"""
    head: str
    about: str
    width: int
    """0: it shares what the others leave"""
    cell: Callable[[Row, int, int], str]
    order: Callable[[Row], Any]
    """rows with the least first"""
    style: str = ""
    least: int = 0
    """columns of the screen from which on it is shown"""


def _count(name: str) -> Callable[[Row, int, int], str]:
    return lambda row, _, width: fit(number(getattr(row, name)), width, right=True)


def _rate(row: Row, _now_ns: int, width: int) -> str:
    return fit("gone" if row.ended_wall_ns else number(row.rate), width, right=True)


def _spark(row: Row, _now_ns: int, width: int) -> str:
    return spark(() if row.ended_wall_ns else row.history, width)


def _oldest(row: Row, now_ns: int, width: int) -> str:
    if not row.zombies:
        return fit("", width)
    return fit(age((now_ns - row.oldest_wall_ns) / 1e9) if row.oldest_wall_ns else ">", width, right=True)


def _trouble(row: Row) -> Any:
    last = row.last.wall_ns if row.last else 0
    # What happened last stands first, by the minute: a storm of verdicts must not throw the rows about. And what can
    # still be helped stands before what is gone.
    gone = bool(row.ended_wall_ns)
    return (-(row.worst or 0), -(last // _MINUTE_NS), gone, -row.troubles, row.workload.title, row.workload.cgroup_id)


def _most(name: str) -> Callable[[Row], Any]:
    return lambda row: (-(getattr(row, name) or 0), *_trouble(row))


def _mark(row: Row, _now_ns: int, width: int) -> str:
    return fit(MARKS[row.worst] if row.worst else "", width)


def _state(row: Row, now_ns: int, width: int) -> str:
    if row.ended_wall_ns:
        return fit(f"gone {age((now_ns - row.ended_wall_ns) / 1e9)}", width)
    return fit(age((now_ns - row.since_wall_ns) / 1e9), width)


COLUMNS: Final = (
    Column("t", "", "trouble: the worst first, and of equals the last", 1, _mark, _trouble),
    Column("n", "POD · CONTAINER", "name", 0, lambda r, _, w: title(r.workload.title, w), lambda r: r.workload.title),
    Column("i", "RUNTIME", "runtime", 10, lambda r, _, w: fit(r.workload.runtime or "", w), lambda r: (
        r.workload.runtime or "~", r.workload.title), least=140),
    Column("s", "SIG/S", "signals a second", 5, _rate, _most("rate")),
    Column("", "", "the same over time", 6, _spark, _most("rate"), "cyan"),
    Column("d", "DROP", "signals that PID 1 never heard", 4, _count("dropped"), _most("dropped"), "red"),
    Column("e", "ESC", "stops that SIGKILL had to end", 3, _count("escalated"), _most("escalated"), "red"),
    Column("k", "KILL", "processes that got SIGKILL", 4, _count("killed"), _most("killed"), "yellow"),
    Column("c", "CRSH", "processes that crashed", 4, _count("crashed"), _most("crashed"), "red", 96),
    Column("m", "MASK", "crashes that a supervisor hides", 4, _count("masked"), _most("masked"), "red"),
    Column("z", "ZOMB", "zombies that nobody waits for", 4, _count("zombies"), _most("zombies"), "yellow"),
    Column("o", "OLD", "age of the oldest zombie", 4, _oldest, lambda r: (
        not r.zombies, r.oldest_wall_ns, *_trouble(r)), "yellow"),
    Column("x", "EXITS", "processes that ended", 5, _count("exits"), _most("exits"), least=150),
    Column("u", "SEEN", "how long it is known, or gone", 9, _state, lambda r: (
        -(r.ended_wall_ns or r.since_wall_ns), *_trouble(r)), least=108),
    Column("l", "LAST VERDICT", "last verdict", 0, last_of, lambda r: (
        -(r.last.wall_ns if r.last else 0), *_trouble(r))),
)  # fmt: skip
SORTS: Final = {column.key: column for column in COLUMNS if column.key}


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns a screen has room for, and how wide each is."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, width: int) -> Layout:
        """For a screen of so many columns."""
        columns = tuple(c for c in COLUMNS if width >= c.least)
        rest = width - sum(c.width for c in columns) - _GAP * (len(columns) - 1)
        first = max(rest * 3 // 5 if rest < 60 else rest // 2 if rest < 100 else 50, 4)
        shares = iter((first, max(rest - first, 4)))
        widths = [c.width or next(shares) for c in columns]
        if width >= 120:
            extra = 6  # a longer sparkline, for less of the last verdict
            widths[next(i for i, c in enumerate(columns) if c.cell is COLUMNS[4].cell)] += extra
            widths[-1] -= extra
        return cls(columns, tuple(widths))

    def head(self, sort: str, *, reverse: bool) -> Line:
        """The line above the rows; the column it is sorted by stands out."""
        line: Line = []
        for column, width in zip(self.columns, self.widths, strict=True):
            mine = bool(sort) and column.key == sort
            text = (column.head or ("▼" if mine else "")) + ("▲" if mine and reverse and column.head else "")
            line += [(fit(text, width), "bold reverse" if mine else "bold"), (" " * _GAP, "")]
        return line[:-1]

    def row(self, row: Row, now_ns: int) -> Line:
        """A container."""
        line: Line = []
        colour = COLOURS[row.worst] if row.worst else ""
        last = COLOURS[row.last.severity] if row.last and row.last.severity else ""
        gone = bool(row.ended_wall_ns)
        for column, width in zip(self.columns, self.widths, strict=True):
            text = column.cell(row, now_ns, width)
            own = {"t": colour, "l": last}.get(column.key)
            style = own if own is not None else "bold" if column.key == "n" and colour else column.style
            line += [(text, f"{style} dim".strip() if gone else style), (" " * _GAP, "")]
        return line[:-1]

    def column_at(self, x: int) -> Column | None:
        """The column that stands there."""
        for column, width in zip(self.columns, self.widths, strict=True):
            x -= width + _GAP
            if x < 0:
                return column
        return None


def ordered(rows: Sequence[Row], sort: str, *, reverse: bool) -> list[Row]:
    """In the order of a column; equal ones by trouble."""
    return sorted(rows, key=SORTS[sort].order, reverse=reverse)


def matches(row: Row, words: Sequence[str]) -> bool:
    """Whether all the words stand somewhere in what is shown of it, in whatever case."""
    if not words:
        return True
    workload = row.workload
    told = f"{row.outcome} {row.last.code} {row.last.cause}" if row.last else row.outcome
    text = f"{workload.title} {workload.runtime or ''} {workload.container_id or ''} {told}".casefold()
    return all(word in text for word in words)


def chosen(snapshot: Snapshot, words: Sequence[str]) -> list[Row]:
    """The containers that are meant."""
    return [row for row in snapshot.rows if matches(row, words)]


def brief_line(brief: Brief, now_ns: int, width: int) -> Line:
    """A verdict in the list below."""
    colour = COLOURS[brief.severity] if brief.severity else "green"
    mark = MARKS[brief.severity] if brief.severity else "✓"
    whose = min(max(width // 4, 16), 44)
    room = max(width - whose - 8, 10)
    return [
        (fit(mark, 1), colour),
        (" ", ""),
        (fit(age((now_ns - brief.wall_ns) / 1e9), 4, right=True), "dim"),
        (" ", ""),
        (title(brief.whose, whose), "bold"),
        (" ", ""),
        (fit(brief.text, room), colour),
    ]
