"""Events as lines for a person: time, what, to whom, from whom, and what the kernel did with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Info, Kind, Result, Task
from sigtrace.model.finding import Verdict
from sigtrace.model.text import command_line
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.style import Style

_RESULTS: Final = {
    Result.DELIVERED: "queued",
    Result.IGNORED: "ignored",
    Result.ALREADY_PENDING: "already pending",
    Result.OVERFLOW: "lost: the queue of pending signals is full",
    Result.LOSE_INFO: "queued without its siginfo",
}
#: Columns of the time and two blanks.
_INDENT: Final = 17
#: si_code of siginfo.h that says how a signal came, where nobody sent it.
_CODES: Final = {0x80: "kernel", -2: "timer"}


def clock(wall_ns: int, digits: int = 3) -> str:
    """Local time of day."""
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}.{ns:09d}"[: 9 + digits]


def who(task: Task | None) -> str:
    """``sh[4711]``, with the pid inside where it is another: ``sh[4711 is 1]``."""
    if task is None:
        return "?"
    inside = f" is {task.ns_pid}" if task.ns_pid and task.ns_pid != task.pid else ""
    return f"{task.comm}[{task.pid}{inside}]"


def fate(event: Event) -> str:
    """What the kernel did with a generated signal."""
    if event.result is None:
        return ""
    words = _RESULTS[event.result]
    if event.result is not Result.IGNORED:
        if event.blocked:
            return f"{words}, the target waits for it" if event.waited else f"{words}, blocked"
        states = [n for n in ("stopped", "frozen", "ptraced") if getattr(event, n)]
        return ", ".join([words, *states])
    if event.disposition is Disposition.IGNORE:
        return "ignored by choice (SIG_IGN)"
    if event.signo == signals.SIGCONT:
        return "no handler; if it was stopped, it goes on"
    if not signals.is_fatal(event.signo):
        return "ignored by default"
    if event.exiting:
        return "ignored: the target is already exiting"
    return "DROPPED: PID 1 of a namespace, no handler" if event.ns_init else words


def source(event: Event) -> str:
    """Where a signal came from."""
    if event.sender is not None:
        return " ‹ ".join([who(event.sender), *event.sender.ancestry[:3]])
    if event.teardown:
        return "kernel, tearing the namespace down"
    if event.info is Info.PRIV:
        return "kernel"
    return _CODES.get(event.si_code or 0, "kernel" if (event.si_code or 0) > 0 else "unknown")


def event_lines(observation: Observation, style: Style) -> list[str]:
    """One line for what happened to whom; below it the container, and what the kernel did and for whom."""
    event = observation.event
    target = who(event.task)
    details: list[tuple[str, tuple[str, ...]]] = []
    if observation.workload and observation.workload.is_container:
        details.append((observation.workload.title, ("cyan",)))
    if event.kind is Kind.LOST:
        head, details = f"LOST {event.count:,} events: {event.loss.value if event.loss else 'unknown'}", []
    elif event.kind is Kind.SIGNAL_GENERATE:
        head = f"{signals.name(event.signo)} → {target}"
        what = fate(event)
        bad = "DROPPED" in what or what.startswith("lost")
        details += [(what, ("red",) if bad else ()), (f"from {source(event)}", ("dim",))]
    elif event.kind is Kind.SIGNAL_DELIVER:
        handler = event.disposition.word if event.disposition is not None else "?"
        if event.signo == signals.SIGKILL:
            handler = "perhaps nobody's: the kernel ends each thread of a group with it"
        head = f"{signals.name(event.signo)} taken up by {target} ({handler})"
    elif event.kind is Kind.EXEC and event.task:
        head = f"exec {target}"
        details.append((command_line(event.task.argv or (event.task.comm,), style.width - _INDENT), ()))
    elif event.kind is Kind.EXIT and event.wait_status is not None:
        head = f"{target} exits: {event.wait_status}"
    elif event.kind is Kind.REAP:
        head = f"{target} is reaped"
    elif event.kind is Kind.OOM_KILL:
        head = f"OOM killer chose {target}"
    else:
        head = f"{event.kind.value} {target}"
    alarming = event.kind in (Kind.LOST, Kind.OOM_KILL)
    lines = style.wrap(head, _INDENT, clock(event.wall_ns, 6))
    at, rest = lines[0][:_INDENT], lines[0][_INDENT:]
    painted = [style(at, "dim") + style(rest, *(("red",) if alarming else ("bold",))), *lines[1:]]
    for text, names in details:
        painted += [style(line, *names) for line in style.wrap(text, _INDENT)]
    return painted


class EventText:
    """A :class:`sigtrace.sinks.base.Sink` for events."""

    def __init__(self, writer: LineWriter, style: Style, events: Callable[[Observation], bool]) -> None:
        self._writer = writer
        self._style = style
        self._events = events

    def observation(self, observation: Observation) -> None:
        """An event, attributed."""
        if self._events(observation):
            self._writer.write("\n".join(event_lines(observation, self._style)) + "\n")

    def verdict(self, verdict: Verdict) -> None:
        """Not shown here: `watch` tells verdicts."""

    def pass_time(self, now_ns: int) -> None:
        """It holds nothing back."""

    def take_dropped(self) -> int:
        """Lines that the reader was too slow for."""
        return self._writer.take_dropped()

    def close(self) -> None:
        """The writer is closed by its owner."""
