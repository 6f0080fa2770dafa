"""A container's story and a verdict's, as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sigtrace.audit.rows import Audit, Debt, Reaps, WouldBe
from sigtrace.model import signals
from sigtrace.model.event import Masks
from sigtrace.model.explain import UnknownWordError, explain
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.overview import Row
from sigtrace.model.text import command_line
from sigtrace.model.workload import Observation, Workload
from sigtrace.sinks.overview.rows import brief_of
from sigtrace.sinks.story import belongs_to_shutdown, finding_story, shutdown_story
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import event_lines
from sigtrace.tui.cells import COLOURS, age, number, spark
from sigtrace.tui.feed import Inside, Process
from sigtrace.tui.lines import Line, clean, fit, of_ansi, width_of, wrapped
from sigtrace.tui.mend import mend_row
from sigtrace.tui.waterfall import waterfall

_INDENT: Final = 11
#: Of an argv of 4 KB.
_ARGV_LINES: Final = 6
#: Of the last verdict: below, it is told in full.
_LAST_LINES: Final = 3
_STORIES: Final = 20
_PROCESSES_MAX: Final = 200
_WORST: Final = {
    WouldBe.HANDLED: "green",
    WouldBe.TAKEN: "green",
    WouldBe.DEFAULT: "green",
    WouldBe.DROPPED: "red",
    WouldBe.IGNORED: "yellow",
    WouldBe.PENDING: "yellow",
    WouldBe.UNKNOWN: "dim",
}


def _section(name: str, width: int) -> list[Line]:
    return [[("", "")], [(fit(f"── {name} " + "─" * width, width)[: width - 1], "bold")]]


def _ansi(width: int) -> Style:
    return Style(colour=True, width=width)


def container_story(
    row: Row, inside: Inside | None, verdicts: Sequence[Verdict], now_ns: int, width: int
) -> list[Line]:
    """All of a container: who it is, what would become of its stop signal, who is in it, how it ended, the advice."""
    mine = [v for v in verdicts if v.workload and v.workload.cgroup_id == row.workload.cgroup_id]
    lines = _who(row, now_ns, width, mine)
    if inside is None:
        lines += [[("", "")], [("looking…", "dim")]]
    else:
        lines += _handlers(inside, width)
        if inside.processes:
            lines += _processes(inside.processes, width)
        if inside.audit and inside.audit.zombies:
            lines += _zombies(inside.audit, width)
        if inside.note:
            lines += wrapped(inside.note, width, style="dim")
    last = next((v for v in reversed(mine) if isinstance(v, Shutdown)), None)
    if last is not None:
        lines += _section("shutdown", width) + waterfall(last, width)
    if mine:
        lines += _section("verdicts, the newest first", width)
        for told in stories(mine, width)[:_STORIES]:
            lines += [*told, [("", "")]]
    return lines


def stories(verdicts: Sequence[Verdict], width: int) -> list[list[Line]]:
    """As `watch` tells them, the newest first: what belongs to a shutdown is told with it."""
    told: list[list[Line]] = []
    held: dict[tuple[int, int], list[Finding]] = {}
    for verdict in verdicts:
        if isinstance(verdict, Shutdown):
            told.append([of_ansi(one) for one in shutdown_story(verdict, held.pop(verdict.main.key, []), _ansi(width))])
        elif belongs_to_shutdown(verdict) and verdict.subject:
            held.setdefault(verdict.subject.key, []).append(verdict)
        else:
            told.append([of_ansi(one) for one in finding_story(verdict, _ansi(width))])
    alone = [finding for findings in held.values() for finding in findings]
    told += [[of_ansi(one) for one in finding_story(finding, _ansi(width))] for finding in alone]
    return told[::-1]


def _who(row: Row, now_ns: int, width: int, verdicts: Sequence[Verdict]) -> list[Line]:
    workload = row.workload
    colour = COLOURS[row.worst] if row.worst else ""
    state = f"ended {age((now_ns - row.ended_wall_ns) / 1e9)} ago: {row.outcome or 'gone'}" if row.ended_wall_ns else ""
    # The line above the page shows the title, if it has room.
    lines = wrapped(workload.title, width, style="bold") if width_of(workload.title) >= width else []
    facts = [workload.runtime or "", (workload.container_id or "")[:12], workload.image or "", workload.node or ""]
    lines += wrapped(" · ".join(fact for fact in facts if fact) or (workload.cgroup or ""), width, style="dim")
    if state:
        lines += wrapped(state, width, style="yellow")
    counts = [
        (row.dropped, "dropped"),
        (row.escalated, "escalated"),
        (row.killed, "killed"),
        (row.crashed, "crashed"),
        (row.masked, "masked crashes"),
        (row.zombies, "zombies"),
    ]
    told = ", ".join(f"{n:,} {what}" for n, what in counts if n) or "no trouble so far"
    lines += wrapped(told, width, _INDENT, "counts", style=colour)
    if row.last is not None:
        ago = age((now_ns - row.last.wall_ns) / 1e9)
        style = COLOURS[row.last.severity] if row.last.severity else "green"
        lines += wrapped(f"{row.last.text} ({ago} ago)", width, _INDENT, "last", style=style, most=_LAST_LINES)
        if advice := mend_row(row, [brief_of(verdict) for verdict in verdicts]):
            lines += wrapped(advice, width, _INDENT, "fix", style="green")
    rate = "not counted by this backend"
    if row.signals is not None and row.exits is not None:
        rate = f"{row.signals:,} signals, {row.exits:,} exits; {number(row.rate) or '0'} signals/s "
    lines.append([(fit("signals", _INDENT), "dim"), (rate, ""), (spark(row.history, 32).strip(), "cyan")])
    if row.main is not None:
        argv = command_line(row.main.argv) if row.main.argv else row.main.comm
        which = "PID 1" if row.main.ns_pid == 1 else f"pid {row.main.pid}"
        lines += wrapped(argv, width, _INDENT, which, "bold", most=_ARGV_LINES)
    return lines + _stop(workload, width)


def _stop(workload: Workload, width: int) -> list[Line]:
    """What it declares."""
    told = []
    if workload.stop_signal:
        told.append(f"stop signal {signals.name(workload.stop_signal)}")
    if workload.grace_limit_s is not None:
        told.append(f"{workload.grace_limit_s:g} s of grace")
    if workload.pre_stop is not None:
        told.append(f"preStop {workload.pre_stop.kind.value}")
    return wrapped(", ".join(told), width, _INDENT, "declares") if told else []


def _names(mask: int) -> str:
    return " ".join(signals.name(signo).removeprefix("SIG") for signo in signals.mask_signals(mask))


def _handlers(inside: Inside, width: int) -> list[Line]:
    audit = inside.audit
    if audit is None:
        return []
    lines: list[Line] = []
    masks: Masks | None = audit.event.masks
    if masks is not None:
        for what, mask in (
            ("handles", masks.caught),
            ("ignores", masks.ignored),
            ("blocks", masks.blocked | masks.real_blocked),
            ("signalfd", masks.signalfd),
            ("pending", masks.pending),
        ):
            if mask:
                lines += wrapped(_names(mask), width, _INDENT, what)
        if not masks.caught:
            lines += wrapped("no signal at all", width, _INDENT, "handles", style="yellow")
    lines += _section("audit: if it were stopped now", width)
    what = f"{signals.name(audit.signo)} would be {audit.would_be.value}"
    lines += wrapped(f"{what}{': ' if audit.why else ''}{audit.why}", width, style=_WORST[audit.would_be])
    if audit.unheard:
        others = ", ".join(f"{child.comm} (pid {child.ns_pid or child.pid})" for child in audit.unheard[:8])
        lines += wrapped(f"would never hear of it: {others}", width)
    if audit.reaps in (Reaps.YES, Reaps.NO):
        lines += wrapped(f"reaps orphans: {audit.reaps.value}", width, style="dim")
    for advice in audit.advice:
        lines += wrapped(advice, width, 5, "fix", style="green")
    return lines


def _processes(processes: Sequence[Process], width: int) -> list[Line]:
    lines = _section(f"{len(processes):,} processes", width)
    lines.append([(fit("    PID    HOST  PARENT S   AGE COMMAND", width), "dim")])
    for process in processes[:_PROCESSES_MAX]:
        head = f"{process.ns_pid or process.pid:>7} {process.pid:>7} {process.parent_pid:>7} {process.state:1} "
        head += f"{age(process.age_s):>5} "
        command = command_line(process.argv) if process.argv else f"[{process.comm}]"
        style = "yellow" if process.state == "Z" else ""
        lines.append([(clean(head), "dim"), (fit(clean(command), max(width - len(head), 8)), style)])
    if len(processes) > _PROCESSES_MAX:
        lines.append([(f"and {len(processes) - _PROCESSES_MAX:,} more", "dim")])
    return lines


def _zombies(audit: Audit, width: int) -> list[Line]:
    lines = _section("zombies, by who owes the wait", width)
    for debt in audit.zombies:
        lines += wrapped(_debt(debt, audit), width, style="yellow")
    return lines


def _debt(debt: Debt, audit: Audit) -> str:
    what = f"{debt.count:,} ({', '.join(debt.names)})"
    if debt.parent is None:
        return f"{what}: of a parent that was not seen"
    if debt.parent.key == audit.main.key and audit.is_init:
        return f"{what}: PID 1 does not wait for them"
    return f"{what}: {debt.parent.comm} (pid {debt.parent.ns_pid or debt.parent.pid}) does not wait for them"


def verdict_story(verdict: Verdict, around: Sequence[Verdict], width: int) -> list[Line]:
    """A verdict in full: its story, the evidence, and what `explain` says. ``around``: where its findings are."""
    lines: list[Line] = []
    if isinstance(verdict, Shutdown):
        own = [v for v in around if isinstance(v, Finding) and v.subject and v.subject.key == verdict.main.key]
        mine = [v for v in own if belongs_to_shutdown(v)]
        lines += [of_ansi(one) for one in shutdown_story(verdict, mine, _ansi(width))]
        lines += _section("who ended when", width) + waterfall(verdict, width)
        words = [verdict.outcome, *(f"{finding.code}/{finding.cause}" for finding in mine)]
    else:
        lines += [of_ansi(one) for one in finding_story(verdict, _ansi(width))]
        lines.append([("", "")])
        lines += wrapped(f"how it is known: {verdict.certainty.value}", width, style="dim")
        words = [f"{verdict.code}/{verdict.cause}"]
    if verdict.evidence:
        lines += _section(f"evidence: {len(verdict.evidence)} events", width)
        for event in verdict.evidence:
            lines += [of_ansi(one) for one in event_lines(Observation(event, verdict.workload), _ansi(width))]
    return lines + _explained(words, width)


def _explained(words: Sequence[str], width: int) -> list[Line]:
    lines: list[Line] = []
    for word in dict.fromkeys(words):
        try:
            found = explain(word)
        except UnknownWordError:
            continue
        for one in found[-1:]:  # of a name that a finding and an outcome share, the outcome
            lines += _section(f"explain {word}", width)
            lines += wrapped(one.title, width, style="bold")
            for paragraph in one.text:
                lines += wrapped(paragraph, width)
            for advice in one.advice:
                lines += wrapped(advice, width, 5, "fix", style="green")
    return lines
