"""Verdicts for a person: one story a container shutdown, and every other finding."""

from __future__ import annotations

from typing import Final

from sigtrace.model import codes, signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.text import columns, command_line
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import clock

#: Findings about a main process wait so long for the story they belong to, then they are told alone.
_HOLD_NS: Final = 120_000_000_000
_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_BAD: Final = frozenset({"escalated", "oom", "crashed", "killed"})
_INDENT: Final = 16


def seconds(value: float | None) -> str:
    """``0.004`` → ``4 ms``, ``30.012`` → ``30.0 s``."""
    if value is None:
        return "an unknown time"
    return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms" if value >= 0.001 else "under 1 ms"


def headline(shutdown: Shutdown) -> str:
    """The outcome in half a line."""
    name = signals.name(shutdown.stop_signo) if shutdown.stop_signo else "a stop signal"
    grace = seconds(shutdown.grace_s)
    took = seconds(shutdown.duration_s)
    outcome, cause = shutdown.outcome, shutdown.cause
    if outcome == "escalated":
        why = {
            "dropped": f"it never heard {name}",
            "ignored": f"it ignores {name}",
            "pending": f"{name} stayed pending",
            "slow": f"it heard {name} and was not done",
        }.get(cause or "", f"{name} did not end it")
        return f"SIGKILL after {grace}: {why}"
    if outcome == "killed":
        return f"SIGKILL; no stop signal was seen before it ({cause})"
    if outcome == "oom":
        return "the OOM killer took its main process"
    if outcome == "crashed":
        return f"crashed: {shutdown.wait_status}"
    if outcome == "graceful":
        return f"graceful in {took}"
    if outcome == "terminated":
        return f"ended by {name}'s default action in {took}: nothing was cleaned up"
    return f"{outcome}: {shutdown.wait_status}"


def _sender(event: Event) -> str:
    if event.sender is None:
        return "from the kernel" if event.info == 1 else "from an unknown sender"
    return "from " + " ‹ ".join([f"{event.sender.comm} (pid {event.sender.pid})", *event.sender.ancestry[:2]])


def _head(style: Style, wall_ns: int, title: str, what: str, colour: str) -> list[str]:
    """Time, whose it is and what it was: in one line if it fits."""
    at = clock(wall_ns)
    if len(at) + columns(title) + columns(what) + 5 <= style.width:
        return [f"{style(at, 'bold')}  {style(title, 'bold')}   {style(what, colour, 'bold')}"]
    titles = style.wrap(title, len(at) + 2, at)
    return [style(line, "bold") for line in titles] + [style(line, colour, "bold") for line in style.wrap(what, 2)]


def _row(style: Style, wall_ns: int, text: str, *notes: str) -> list[str]:
    lines = style.wrap(text, _INDENT, f"  {clock(wall_ns)}")
    lines[0] = style(lines[0][:_INDENT], "dim") + lines[0][_INDENT:]
    for note in notes:
        lines += style.wrap(note, _INDENT)
    return lines


def _fix(style: Style, advice: str) -> list[str]:
    lines = style.wrap(advice, 7, "  fix")
    lines[0] = style(lines[0][:5], "green", "bold") + lines[0][5:]
    return lines


def _target(main: Task) -> str:
    name = "PID 1" if main.ns_pid == 1 else f"pid {main.pid}"
    return f"{name}  {command_line(main.argv, 40) if main.argv else main.comm}"


def shutdown_story(shutdown: Shutdown, findings: list[Finding], style: Style) -> list[str]:
    """What happened, in order, and the mend."""
    colour = "red" if shutdown.outcome in _BAD else "green"
    lines = _head(style, shutdown.wall_ns, shutdown.workload.title, headline(shutdown), colour)
    dropped = [f for f in findings if f.code == "signal-dropped"]
    for event in shutdown.evidence:
        if event.kind is Kind.SIGNAL_GENERATE and event.signo == signals.SIGKILL:
            over = f"; the grace period was over after {seconds(shutdown.grace_s)}" if shutdown.grace_s else ""
            lines += _row(style, event.wall_ns, f"SIGKILL → PID 1{over}", _sender(event))
        elif event.kind is Kind.SIGNAL_GENERATE:
            notes = [_sender(event)]
            notes += [f.message for f in dropped if f.signo == event.signo]
            if not dropped and shutdown.outcome == "escalated":
                notes.append(codes.OUTCOMES["escalated"].causes[shutdown.cause or codes.UNKNOWN].meaning)
            lines += _row(style, event.wall_ns, f"{signals.name(event.signo)} → {_target(shutdown.main)}", *notes)
        elif event.kind is Kind.EXIT:
            oom = "" if shutdown.wait_status.signal != signals.SIGKILL or shutdown.outcome == "oom" else True
            lines += _row(style, event.wall_ns, f"{shutdown.wait_status}{'; not the OOM killer' if oom else ''}")
    for finding in sorted(findings, key=lambda f: f.code != "signal-dropped")[:1]:
        lines += _fix(style, finding.advice)
    return lines


def finding_story(finding: Finding, style: Style) -> list[str]:
    """A finding that belongs to no shutdown."""
    title = finding.workload.title if finding.workload else "sigtrace"
    colour = _COLOURS[finding.severity]
    what = f"{finding.severity.word}: {finding.code} ({finding.cause})"
    lines = _head(style, finding.wall_ns, title, what, colour)
    if finding.subject:
        lines += style.wrap(_target(finding.subject), _INDENT)
    lines += style.wrap(finding.message, _INDENT)
    if finding.advice:
        lines += _fix(style, finding.advice)
    return lines


class Story:
    """A :class:`sigtrace.sinks.base.Sink` for verdicts. Each is written in one piece: containers don't mix up."""

    def __init__(self, writer: LineWriter, style: Style) -> None:
        self._writer = writer
        self._style = style
        self._held: dict[tuple[int, int], list[Finding]] = {}

    def observation(self, observation: Observation) -> None:
        """Time goes on: what waited too long for its story is told alone."""
        now = observation.event.time_ns
        for key, findings in list(self._held.items()):
            if findings[0].time_ns + _HOLD_NS < now:
                self._tell_alone(self._held.pop(key))

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        if isinstance(verdict, Shutdown):
            findings = self._held.pop(verdict.main.key, [])
            self._write(shutdown_story(verdict, findings, self._style))
        elif belongs_to_shutdown(verdict) and verdict.subject:
            self._held.setdefault(verdict.subject.key, []).append(verdict)
        else:
            self._write(finding_story(verdict, self._style))

    def _tell_alone(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._write(finding_story(finding, self._style))

    def _write(self, lines: list[str]) -> None:
        self._writer.write("\n".join(lines) + "\n")

    def take_dropped(self) -> int:
        """Stories that the reader was too slow for."""
        return self._writer.take_dropped()

    def close(self) -> None:
        """Tells what still waits for its story."""
        for findings in self._held.values():
            self._tell_alone(findings)
        self._held.clear()


def belongs_to_shutdown(finding: Finding) -> bool:
    """Whether it is part of a container's end rather than a thing of its own."""
    workload = finding.workload
    if finding.subject is None or workload is None:
        return False
    main = finding.subject.ns_pid == 1 and workload.is_container
    return main and (finding.code, finding.cause) != ("signal-dropped", "from-inside")
