# SPDX-License-Identifier: Apache-2.0
"""The tables and the targets, out of what the rounds measured. Pure."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks.bpfstats import Invocation
from benchmarks.cells import Cell
from benchmarks.drain import Drain
from benchmarks.peers import EMPTY, NONE, TRACE, WATCH
from benchmarks.statistic import Summary, Target, summarize

_OF_EMPTY = Target("kept in the default mode, of the empty program's", 0.95, at_least=True)
_KEPT = [
    *((load, WATCH, EMPTY, _OF_EMPTY) for load in ("usr1", "urg", "fork", "init")),
    ("urg", TRACE, NONE, Target("kept with every signal a record", 0.75, at_least=True)),
    ("init", TRACE, NONE, Target("kept with every signal a record", 0.55, at_least=True)),
]
_ABOVE_EMPTY = {
    WATCH: (("urg", "spread"), Target("ns above empty, counting path", 20, at_least=False)),
    TRACE: (("urg", "init"), Target("ns above empty, record path with the wake-up logic", 80, at_least=False)),
}
_START = Target("ms from exec until ready", 300, at_least=False)


def kept(cells: Sequence[Cell], load: str, tracer: str, base: str) -> Summary | None:
    """Throughput of *load* beside *tracer* over that beside *base*, paired within each round."""
    rates = {(cell.round, cell.tracer): cell.rate for cell in cells if cell.load == load}
    pairs = ((rate, rates.get((number, base))) for (number, name), rate in rates.items() if name == tracer)
    return summarize(rate / beside for rate, beside in pairs if beside) if tracer != base else None


def above_empty(found: Sequence[Invocation], load: str, tracepoint: str, tracer: str) -> Summary | None:
    """Time per run in ns above the empty program's on the same tracepoint and load, paired within each round."""
    times = {(i.round, i.tracer): i.ns for i in found if (i.load, i.tracepoint) == (load, tracepoint)}
    pairs = ((ns, times.get((number, EMPTY))) for (number, name), ns in times.items() if name == tracer)
    return summarize(ns - empty for ns, empty in pairs if empty is not None)


def show(summary: Summary | None, digits: int = 3, scale: float = 1.0) -> str:
    """Median and range: 0.912 (0.890–0.931)."""
    if summary is None:
        return "–"
    median, least, most = (f"{value * scale:.{digits}f}" for value in (summary.median, summary.least, summary.most))
    return f"{median} ({least}–{most})"


def throughput_table(cells: Sequence[Cell]) -> str:
    """One row for each load and tracer."""
    rows = [
        [
            "load",
            "tracer",
            "k ops/s",
            "of none",
            "of empty",
            "CPU s/1M",
            "RSS MB",
            "peak MB",
            "lost %",
            "silent %",
            "start ms",
        ]
    ]
    for load, tracer in dict.fromkeys((cell.load, cell.tracer) for cell in cells):
        mine = [cell for cell in cells if (cell.load, cell.tracer) == (load, tracer)]

        def of(measure: Callable[[Cell], float | None], mine: list[Cell] = mine) -> Summary | None:
            return summarize(map(measure, mine))

        rows.append(
            [
                load,
                tracer,
                show(of(lambda cell: cell.rate), 1, 1e-3),
                show(kept(cells, load, tracer, NONE)),
                show(kept(cells, load, tracer, EMPTY)),
                show(of(lambda cell: cell.cpu_s_per_million), 2),
                show(of(lambda cell: cell.rss_mb), 0),
                show(of(lambda cell: cell.peak_rss_mb), 0),
                show(of(lambda cell: cell.lost), 1, 100),
                show(of(lambda cell: cell.silent), 1, 100),
                show(of(lambda cell: cell.start_s), 0, 1e3),
            ]
        )
    return _table(rows)


def invocation_table(found: Sequence[Invocation]) -> str:
    """One row for each load, tracepoint and program."""
    rows = [["load", "tracepoint", "tracer", "program", "ns a run", "above empty"]]
    keys = dict.fromkeys((i.load, i.tracepoint, i.tracer, i.program) for i in found)
    for load, tracepoint, tracer, program in sorted(keys, key=lambda key: key[:2]):
        times = (i.ns for i in found if (i.load, i.tracepoint, i.tracer) == (load, tracepoint, tracer))
        above = None if tracer == EMPTY else above_empty(found, load, tracepoint, tracer)
        rows.append([load, tracepoint, tracer, program, show(summarize(times), 1), show(above, 1)])
    return _table(rows)


def drain_line(drains: Sequence[Drain]) -> str:
    """Million records a CPU second."""
    rates = sorted(one.records / one.cpu_s / 1e6 for one in drains)
    middle = rates[len(rates) // 2]
    return f"{middle:.1f} ({rates[0]:.1f}–{rates[-1]:.1f}) million records per CPU second (target: 4.5 or more)"


def verdicts(cells: Sequence[Cell], found: Sequence[Invocation]) -> Iterator[str]:
    """One line for each target that was measured."""
    for load, tracer, base, target in _KEPT:
        if summary := kept(cells, load, tracer, base):
            yield _verdict(target, load, summary, 3)
    for tracer, (loads, target) in _ABOVE_EMPTY.items():
        for load in loads:
            if summary := above_empty(found, load, "signal_generate", tracer):
                yield _verdict(target, load, summary, 1)
    starts = (cell.start_s for cell in cells if cell.tracer == WATCH)
    if summary := summarize(start_s and start_s * 1e3 for start_s in starts):
        yield _verdict(_START, WATCH, summary, 0)


def _verdict(target: Target, where: str, summary: Summary, digits: int) -> str:
    sign = "≥" if target.at_least else "≤"
    return f"{target.what} {sign} {target.bound:g}, {where}: {show(summary, digits)}: {target.verdict(summary)}"


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
