"""A shutdown as bars on a time axis: a process a line, from the stop signal to its end, signals as marks."""

from __future__ import annotations

from typing import Final

from sigtrace.model import signals
from sigtrace.model.event import Kind, Task
from sigtrace.model.finding import Ended, ProcessEnd, Shutdown
from sigtrace.model.text import command_line
from sigtrace.sinks.headlines import seconds
from sigtrace.tui.lines import Line, clean, fit, fit_line, width_of

#: Lines of processes; the rest is counted.
PROCESSES_MAX: Final = 60
#: What a process's end looks like.
_ENDS: Final = {
    Ended.HANDLED: ("●", "green", "handled it"),
    Ended.DEFAULT: ("●", "yellow", "default action"),
    Ended.KILLED: ("✗", "red", "killed"),
    Ended.TORN_DOWN: ("✗", "yellow", "torn down"),
    Ended.OOM: ("✗", "red", "OOM killer"),
    Ended.CRASHED: ("✗", "red", "crashed"),
    Ended.EXITED: ("●", "", "exited"),
    None: ("→", "dim", "not seen to end"),
}
_LONGEST_END: Final = 15


def _letter(signo: int) -> str:
    """A mark of one column: T K I Q H, else the first letter of its name."""
    return signals.name(signo).removeprefix("SIG")[:1] or "?"


def _label(task: Task, width: int) -> str:
    number = f"{task.ns_pid or task.pid}"
    name = task.comm if width < 30 or not task.argv else command_line(task.argv)
    return fit(f"{number:>5} {clean(name)}", width)


def _span(shutdown: Shutdown) -> tuple[int, int]:
    """From when to when, ns since the epoch: the first signal, or the fatal event, to the last end."""
    times = [event.wall_ns for event in shutdown.evidence]
    times += [p.signalled_wall_ns for p in shutdown.processes if p.signalled_wall_ns]
    ends = [p.exited_wall_ns for p in shutdown.processes if p.exited_wall_ns]
    end = max([*ends, shutdown.wall_ns])
    if shutdown.duration_s:
        times.append(shutdown.wall_ns - int(shutdown.duration_s * 1e9))
    start = min([t for t in times if t <= end], default=end)
    return start, max(end, start + 1)


def waterfall(shutdown: Shutdown, width: int) -> list[Line]:
    """The axis, a line for each process, and what the marks mean. ``width``: columns, 40 or more."""
    start, end = _span(shutdown)
    label = max(12, min(width // 4, 48))
    room = max(width - label - _LONGEST_END - 4, 4)

    def place(wall_ns: int) -> int:
        return min(max((wall_ns - start) * (room - 1) // (end - start), 0), room - 1)

    lines = [_axis(start, end, label, room)]
    processes = sorted(shutdown.processes, key=lambda p: (p.task.key != shutdown.main.key, p.exited_wall_ns or end))
    if not any(p.task.key == shutdown.main.key for p in processes):
        processes.insert(0, ProcessEnd(shutdown.main, exited_wall_ns=shutdown.wall_ns))
    marks: dict[tuple[int, int], dict[int, int]] = {}
    for event in shutdown.evidence:
        if event.kind is Kind.SIGNAL_GENERATE and event.task:
            marks.setdefault(event.task.key, {})[place(event.wall_ns)] = event.signo
    seen: set[int] = set()
    for process in processes[:PROCESSES_MAX]:
        own = marks.get(process.task.key, {})
        if process.signalled_wall_ns and shutdown.stop_signo:
            own.setdefault(place(process.signalled_wall_ns), shutdown.stop_signo)
        seen.update(own.values())
        until = place(process.exited_wall_ns) if process.exited_wall_ns else room - 1
        lines.append([(_label(process.task, label), "bold" if process is processes[0] else ""), (" ", "")])
        lines[-1] += _bar(process, own, until, room)
    if len(processes) > PROCESSES_MAX:
        lines.append([(f"{'':{label}} and {len(processes) - PROCESSES_MAX:,} more", "dim")])
    if seen:
        told = ", ".join(f"{_letter(signo)} {signals.name(signo)}" for signo in sorted(seen))
        lines.append([(fit("", label + 1), ""), (f"{told}; ━ told, ─ never told", "dim")])
    return [fit_line(line, width) for line in lines]


def _axis(start: int, end: int, label: int, room: int) -> Line:
    whole = seconds((end - start) / 1e9)
    half = seconds((end - start) / 2e9)
    line = "0" + " " * (room - 1)
    if room > 30:
        at = (room - 1) // 2 - width_of(half) // 2
        line = line[:at] + half + line[at + len(half) :]
    line = line[: room - width_of(whole)] + whole
    return [(fit("", label + 1), ""), (fit(line, room), "dim")]


def _bar(process: ProcessEnd, marks: dict[int, int], until: int, room: int) -> Line:
    glyph, style, word = _ENDS[process.ended]
    told = min(marks, default=room)
    line: Line = []
    for at in range(room):
        if at in marks:
            line.append((_letter(marks[at]), "reverse bold"))
        elif at == until:
            line.append((glyph, style))
        elif at < until:
            line.append(("━" if at >= told else "─", style if at >= told else "dim"))
        else:
            line.append((" ", ""))
    return [*_merged(line), (f" {glyph} ", style), (fit(word, _LONGEST_END), style)]


def _merged(line: Line) -> Line:
    found: Line = []
    for text, style in line:
        if found and found[-1][1] == style:
            found[-1] = (found[-1][0] + text, style)
        else:
            found.append((text, style))
    return found
