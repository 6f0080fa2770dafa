"""Verdicts for a person: one story a container shutdown, and every other finding."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sigtrace.model import codes, signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Info, Kind, Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.ids import in_shutdown
from sigtrace.model.text import columns, command_line
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.headlines import after, headline, seconds, title
from sigtrace.sinks.notes import notes
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import clock

#: Findings about a main process wait so long for the story they belong to, then they are told alone.
_HOLD_NS: Final = 120_000_000_000
_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_OUTCOMES: Final = {
    **dict.fromkeys(("escalated", "oom", "crashed", "killed"), "red"),
    **dict.fromkeys(("incomplete", "terminated"), "yellow"),
}
#: Whose advice a shutdown's story gives: the first that was found.
_TELLING: Final = (
    "signal-dropped",
    "signal-ignored",
    "signal-pending",
    "signal-not-forwarded",
    "stop-unanswered",
    "crashed",
    "killed",
)
_INDENT: Final = 16
#: Findings whose subject stands for many.
_ABOUT_MANY: Final = ("zombie-unreaped", "crash-masked")
_HIDDEN: Final = "the container never restarts, so no CrashLoopBackOff and no restart count will show this"


def _sender(event: Event) -> str:
    if event.sender is None:
        return "from the kernel" if event.info is Info.PRIV else "from an unknown sender"
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


def _which(main: Task) -> str:
    return "PID 1" if main.ns_pid == 1 else f"pid {main.pid}"


def _target(main: Task) -> str:
    return f"{_which(main)}  {command_line(main.argv, 40) if main.argv else main.comm}"


def shutdown_story(shutdown: Shutdown, findings: list[Finding], style: Style) -> list[str]:
    """What happened, in order, and the mend."""
    colour = _OUTCOMES.get(shutdown.outcome, "green")
    lines = _head(style, shutdown.wall_ns, shutdown.workload.title, headline(shutdown), colour)
    dropped = [f for f in findings if f.code == "signal-dropped"]
    main = _which(shutdown.main)
    for event in shutdown.evidence:
        if event.kind is Kind.SIGNAL_GENERATE and event.signo == signals.SIGKILL:
            how = " through cgroup.kill" if event.info is Info.NOINFO and not event.group else ""
            lines += _row(style, event.wall_ns, f"SIGKILL → {main}{how}{_over(shutdown, findings)}", _sender(event))
        elif event.kind is Kind.SIGNAL_GENERATE:
            notes = [_sender(event)]
            notes += [f.message for f in dropped if f.signo == event.signo][-1:]  # told again with its last count
            exact = any(f.code in _EXACT for f in findings)
            if not dropped and not exact and shutdown.outcome == "escalated":
                notes.append(codes.OUTCOMES["escalated"].causes[shutdown.cause or codes.UNKNOWN].meaning)
            # A command from outside may have asked the program behind an init, which passed on how that ended.
            other = event.task if event.task and event.task.key != shutdown.main.key else None
            lines += _row(
                style, event.wall_ns, f"{signals.name(event.signo)} → {_target(other or shutdown.main)}", *notes
            )
        elif event.kind is Kind.EXIT:
            lines += _row(style, event.wall_ns, f"{shutdown.wait_status}{_memory(shutdown)}", *_beside(findings))
    lines += _rest(shutdown, style)
    telling = [f for f in findings if f.code in _TELLING]
    for finding in sorted(telling, key=lambda f: _TELLING.index(f.code))[:1]:
        lines += _fix(style, finding.advice)
    if not telling and shutdown.outcome in ("oom", "incomplete", "terminated"):
        reason = codes.OUTCOMES[shutdown.outcome].causes.get(shutdown.cause or "")
        lines += _fix(style, reason.advice) if reason else []
    return lines


def _beside(findings: list[Finding]) -> list[str]:
    """What else was found of the main process, but for what the rows show already."""
    told = ("signal-not-forwarded", "signal-pending", "signal-ignored", "crashed", "stop-unanswered")
    return [f.message for f in findings if f.code in told]


def _memory(shutdown: Shutdown) -> str:
    """Whether an exit by SIGKILL was memory, where that is known: ptrace sees no sender, and not every OOM kill."""
    if shutdown.wait_status.signal != signals.SIGKILL or shutdown.outcome == "oom":
        return ""
    kills = [e for e in shutdown.evidence if e.kind is Kind.SIGNAL_GENERATE and e.signo == signals.SIGKILL]
    seen = any(e.info is not None for e in kills) or shutdown.outcome == "escalated"
    return "; not the OOM killer" if seen else "; whether it was the OOM killer was not seen"


#: Findings whose message says exactly why a stop signal did not end it.
_EXACT: Final = ("signal-pending", "signal-not-forwarded", "signal-ignored")


#: Causes of a SIGKILL that came before the configured time was up.
_EARLY: Final = ("grace-shortened", "pre-stop-overran")


def _over(shutdown: Shutdown, findings: list[Finding]) -> str:
    """Whether the time was up."""
    if not shutdown.grace_s:
        return ""
    if shutdown.cause in _EARLY or any(f.cause in _EARLY for f in findings):
        limit = f" of {shutdown.grace_limit_s:g} s" if shutdown.grace_limit_s else ""
        return f" {after(shutdown.grace_s)}{limit}"
    return f"; the grace period was over {after(shutdown.grace_s)}"


def _rest(shutdown: Shutdown, style: Style) -> list[str]:
    """What the other processes made of it, in a line; and the preStop hook."""
    lines = []
    if shutdown.pre_stop_s is not None:
        sure = shutdown.workload.asked
        what = "the preStop hook took" if sure else "a command that had entered, perhaps the preStop hook, took"
        lines += style.wrap(f"{what} {seconds(shutdown.pre_stop_s)}", _INDENT, "  preStop")
    others = Counter(p.ended.value if p.ended else "not seen to end" for p in shutdown.processes[1:])
    if others:
        lines += style.wrap(", ".join(f"{n} {how}" for how, n in others.most_common()), _INDENT, "  others")
    for label, text in notes(shutdown):
        lines += style.wrap(text, _INDENT, f"  {label}")
    return lines


def finding_story(finding: Finding, style: Style) -> list[str]:
    """A finding that belongs to no shutdown."""
    whose = finding.workload.title if finding.workload else "sigtrace"
    colour = _COLOURS[finding.severity]
    over = "over: " if finding.closing else ""
    what = f"{finding.severity.word}: {over}{title(finding)} ({finding.code}, {finding.cause})"
    lines = _head(style, finding.wall_ns, whose, what, colour)
    if finding.subject and finding.code not in _ABOUT_MANY:
        lines += style.wrap(_target(finding.subject), _INDENT)
    lines += style.wrap(finding.message, _INDENT)
    if finding.code == "crash-masked":
        lines += style.wrap(_HIDDEN, _INDENT, "  note")
    if finding.advice and not finding.closing:
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
        self.pass_time(observation.event.time_ns)

    def pass_time(self, now_ns: int) -> None:
        """What waited too long for its story is told alone."""
        for key, findings in list(self._held.items()):
            if findings[0].time_ns + _HOLD_NS < now_ns:
                self._tell_alone(self._held.pop(key))

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        if isinstance(verdict, Shutdown):
            findings = self._held.pop(verdict.main.key, [])
            self._write(shutdown_story(verdict, findings, self._style))
        elif belongs_to_shutdown(verdict) and verdict.subject:
            self._held.setdefault(verdict.subject.key, []).append(verdict)
            if verdict.code == "stop-unanswered":  # the story may never come
                self._tell_alone(self._held.pop(verdict.subject.key))
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


#: Whether it is part of a container's end rather than a thing of its own.
belongs_to_shutdown = in_shutdown
