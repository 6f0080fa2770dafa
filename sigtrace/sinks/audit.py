"""Audits for a person, as a table with the worst first, and as records."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sigtrace.audit.predict import waited
from sigtrace.audit.rows import Audit, Debt, Reaps, WouldBe
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.record import SCHEMA, Record, rfc3339, task_record, workload_record
from sigtrace.model.text import columns, command_line, cut
from sigtrace.sinks.style import Style

_HEAD: Final = ("POD · CONTAINER", "PID 1", "STOP SIGNAL", "WOULD BE", "REAPS")
_GAP: Final = 2
_INDENT: Final = 4
_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
#: What a container that gets its stop signal so will not do because of it.
_STAYS: Final = frozenset({WouldBe.DROPPED, WouldBe.IGNORED, WouldBe.PENDING})
#: As many children as a record names.
_CHILDREN_MAX: Final = 32


def audit_text(audits: list[Audit], style: Style, among: int) -> list[str]:
    """The lines of the table, and then what mends what. ``among``: how many containers there are on the node."""
    if not audits:
        return ["no container is running" if not among else f"none of the {among} running containers is meant"]
    cells = [_cells(audit) for audit in audits]
    widths = _widths(cells, style.width)
    lines = [style(_row(_HEAD, widths), "bold")]
    for audit, row in zip(audits, cells, strict=True):
        lines.append(_painted(_row(row, widths), audit, style))
        for note in _notes(audit):
            lines += [style(line, "dim") for line in style.wrap(note, _INDENT)]
    return [*lines, *_fixes(audits, style), "", *style.wrap(_summary(audits), 0)]


def _cells(audit: Audit) -> tuple[str, ...]:
    main = audit.main
    command = command_line(main.argv) if main.argv else main.comm
    return (
        audit.workload.title,
        command if audit.is_init else f"pid {main.pid} {command}",
        signals.name(audit.signo),
        audit.would_be.value,
        "" if audit.reaps is Reaps.UNKNOWN else audit.reaps.value,
    )


def _widths(cells: list[tuple[str, ...]], width: int) -> list[int]:
    """Of the columns: the last three as wide as they have to be, the names and the commands get the rest."""
    needed = [max(columns(row[n]) for row in [_HEAD, *cells]) for n in range(len(_HEAD))]
    rest = max(width - sum(needed[2:]) - _GAP * (len(_HEAD) - 1), 2)
    first = min(needed[0], max(rest // 2, rest - needed[1]))
    return [first, min(needed[1], rest - first), *needed[2:]]


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    fitted = [cut(cell, width) for cell, width in zip(cells, widths, strict=True)]
    padded = [cell + " " * (width - columns(cell)) for cell, width in zip(fitted, widths, strict=True)]
    return (" " * _GAP).join(padded).rstrip()


def _painted(row: str, audit: Audit, style: Style) -> str:
    return style(row, _COLOURS[audit.severity]) if audit.severity else row


def _notes(audit: Audit) -> list[str]:
    notes = [audit.why] if audit.why else []
    return notes + [_debt(debt, audit) for debt in audit.zombies]


def _debt(debt: Debt, audit: Audit) -> str:
    what = f"{debt.count:,} {'zombie' if debt.count == 1 else 'zombies'} ({', '.join(debt.names)})"
    if debt.parent is None:
        return f"{what}, owed by a parent that was not seen"
    if debt.parent.key == audit.main.key and audit.is_init:
        return f"{what}: PID 1 does not wait for them"
    return f"{what}: {debt.parent.comm} (pid {debt.parent.ns_pid or debt.parent.pid}) does not wait for them"


def _fixes(audits: list[Audit], style: Style) -> list[str]:
    """Each advice once, with the containers that it is for."""
    whom: dict[str, list[str]] = {}
    for audit in audits:
        for advice in audit.advice:
            whom.setdefault(advice, []).append(audit.workload.title)
    lines: list[str] = []
    for advice, titles in whom.items():
        mend = style.wrap(advice, 5, "fix")
        mend[0] = style(mend[0][:3], "green", "bold") + mend[0][3:]
        lines += [*([] if lines else [""]), *mend, *style.wrap(f"for {', '.join(titles)}", 5)]
    return lines


def _summary(audits: list[Audit]) -> str:
    counts = Counter(audit.would_be for audit in audits)
    told = ", ".join(f"{counts[would_be]:,} {would_be.value}" for would_be in WouldBe if counts[would_be])
    stay = sum(counts[would_be] for would_be in _STAYS)
    total = f"{len(audits):,} {'container' if len(audits) == 1 else 'containers'}"
    return f"{total}: {told}" + (f"; {stay:,} would run on until SIGKILL" if stay else "")


def audit_record(audit: Audit) -> Record:
    """An ``audit``; ``seq`` is its writer's."""
    event, masks = audit.event, audit.event.masks
    return {
        "schema": SCHEMA,
        "type": "audit",
        "time": rfc3339(event.wall_ns),
        "workload": workload_record(audit.workload),
        "task": task_record(audit.main),
        "init": audit.is_init,
        "signal": signals.name(audit.signo),
        "signo": audit.signo,
        "signal_source": audit.signal_source.value,
        "would_be": audit.would_be.value,
        "cause": audit.cause,
        "severity": audit.severity.word if audit.severity else None,
        "why": audit.why,
        "advice": list(audit.advice),
        "shell": audit.shell,
        "children": [task_record(child) for child in audit.children[:_CHILDREN_MAX]],
        "unheard": [task_record(child) for child in audit.unheard[:_CHILDREN_MAX]],
        "reaps": audit.reaps.value,
        "zombies": audit.zombie_count,
        "zombies_by_parent": [
            {"parent": task_record(debt.parent), "count": debt.count, "names": list(debt.names)}
            for debt in audit.zombies
        ],
        "stopped": event.stopped,
        "frozen": event.frozen,
        "traced": event.ptraced,
        "masks": None
        if masks is None
        else {
            "blocked": f"{masks.blocked:016x}",
            "waited": f"{waited(masks):016x}",
            "pending": f"{masks.pending:016x}",
            "caught": f"{masks.caught:016x}",
            "ignored": f"{masks.ignored:016x}",
            "signalfd": f"{masks.signalfd:016x}",
        },
    }
