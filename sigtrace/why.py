"""`sigtrace why`: what already happened, from the running agent."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, RunError, UsageError
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Finding, Verdict
from sigtrace.model.record import verdict_record
from sigtrace.model.text import printable
from sigtrace.model.workload import Workload
from sigtrace.service.client import agent_socket, status
from sigtrace.service.follow import Verdicts
from sigtrace.service.protocol import Status
from sigtrace.service.store import ROOM
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.headlines import seconds
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style

#: What Kubernetes adds to the name of a Deployment, a DaemonSet or Job, a StatefulSet (rand.String of apimachinery).
_GENERATED: Final = re.compile(r"(?:-[0-9a-z]{6,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}|-\d{1,5}")
_ID_MIN: Final = 4
_NAMES_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict and the boot that it is of."""

    verdict: Verdict
    boot_id: str


def why(
    name: str | None,
    *,
    since_s: float | None,
    output: str,
    chosen: WorkloadFilter,
    fail_on: Severity | None,
    socket: str | None = None,
) -> int:
    """What the agent has kept, of the pod or container ``name`` if given. Returns the exit status.

    ``since_s``: no older than so many seconds. Raises NoAgentError and as Link does; UsageError if several pods of
    different owners begin with the name.
    """
    path = agent_socket(socket)
    now_ns = time.time_ns()
    since_ns = max(now_ns - int(since_s * 1e9), 1) if since_s else 0
    with Verdicts(path, since_ns=since_ns) as source:
        every = [Told(verdict, source.boot_id) for verdict in source]
        unknown = source.unknown
    agent = status(path)
    meant = matcher(name, [t.verdict.workload for t in every if t.verdict.workload]) if name else None
    told = [t for t in every if _is_meant(t.verdict, meant, chosen)]
    writer = LineWriter(sys.stdout, room=sys.maxsize)
    if output == "json":
        _write_records(told, writer)
    else:
        _write_stories(told, writer, Style.of(sys.stdout))
    notes = _notes(agent, since_ns, unknown)
    if not told:
        notes.insert(0, _nothing(name, since_s, agent, every))
    for note in notes if output == "text" else ():
        writer.write("\n".join(Style.of(sys.stdout).wrap(note, 0)) + "\n")
    writer.close(threading.TIMEOUT_MAX)
    if writer.failure is not None:
        raise RunError(f"cannot write to standard output: {writer.failure.strerror}", next_step="make room")
    worst = max((t.verdict.severity for t in told if isinstance(t.verdict, Finding)), default=None)
    return EXIT_FINDINGS if fail_on and worst and worst >= fail_on else EXIT_OK


def _is_meant(verdict: Verdict, meant: Callable[[Workload], bool] | None, chosen: WorkloadFilter) -> bool:
    if verdict.workload is None:  # losses concern whoever asks about all
        return meant is None
    return chosen.verdict(verdict) and (meant is None or meant(verdict.workload))


# ---- whom a name means


def matcher(name: str, workloads: Sequence[Workload]) -> Callable[[Workload], bool]:
    """Whom ``name`` means: ``pod``, ``namespace/pod``, a container's name, or the beginning of its id.

    A pod also goes by the name of its owner, or any beginning of its own, as long as that is one owner's. Raises
    UsageError if it is not.
    """
    namespace, slash, pod = name.rpartition("/")

    def exactly(workload: Workload) -> bool:
        if slash:
            return (workload.namespace, workload.pod) == (namespace, pod)
        by_id = len(name) >= _ID_MIN and (workload.container_id or "").startswith(name)
        return by_id or name in (workload.pod, workload.container_name)

    def begins(workload: Workload) -> bool:
        fits = not slash or workload.namespace == namespace
        return fits and (workload.pod or "").startswith(pod)

    if any(map(exactly, workloads)):
        return exactly
    owners = {(w.namespace or "", _owner(w.pod)) for w in workloads if w.pod and begins(w)}
    # api is api's own, even where there is an api-gateway, too.
    if same := {owner for owner in owners if owner[1] == pod}:
        owners = same
    if len(owners) > 1:
        shown = [f"{space}/{owner}" if space else owner for space, owner in sorted(owners)]
        more = f" and {len(shown) - _NAMES_MAX} more" if len(shown) > _NAMES_MAX else ""
        raise UsageError(f"{printable(name)} may be {', '.join(shown[:_NAMES_MAX])}{more}", next_step="say more of it")
    return lambda workload: begins(workload) and (workload.namespace or "", _owner(workload.pod or "")) in owners


def _owner(pod: str) -> str:
    """``api-7d9f6c5b8-x2x4z`` → ``api``, ``shop-0`` → ``shop``."""
    for at in range(1, len(pod)):
        if pod[at] == "-" and _GENERATED.fullmatch(pod[at:]):
            return pod[:at]
    return pod


# ---- what is written


def _write_records(told: list[Told], writer: LineWriter) -> None:
    for seq, one in enumerate(told, 1):
        record = verdict_record(one.verdict, one.boot_id) | {"seq": seq}
        writer.write(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")


def _write_stories(told: list[Told], writer: LineWriter, style: Style) -> None:
    """As `watch` writes them, with the day where it is another than today."""
    story = Story(writer, style)
    day = _day(time.time_ns())
    for one in told:
        if (its := _day(one.verdict.wall_ns)) != day:
            day = its
            writer.write(style(f"-- {day}", "bold") + "\n")
        story.pass_time(one.verdict.time_ns)
        story.verdict(one.verdict)
    story.close()


def _day(wall_ns: int) -> str:
    return f"{_local(wall_ns):%Y-%m-%d}"


def _time(wall_ns: int) -> str:
    return f"{_local(wall_ns):%Y-%m-%d %H:%M:%S}"


def _local(wall_ns: int) -> datetime:
    return datetime.fromtimestamp(wall_ns // 1_000_000_000).astimezone()


def _nothing(name: str | None, since_s: float | None, agent: Status, every: list[Told]) -> str:
    of = f" of {printable(name)}" if name else ""
    since = f" in the last {_span(since_s)}" if since_s else ""
    on = f" of node {printable(agent.node)}" if agent.node else ""
    last = ""
    if agent.last_shutdown_wall_ns:
        ours = agent.last_shutdown_wall_ns >= agent.started_wall_ns
        last = f"{', the last one' if ours else '; one before it saw the last'} at {_time(agent.last_shutdown_wall_ns)}"
    line = (
        f"nothing to tell{of}{since}: the agent{on} runs since {_time(agent.started_wall_ns)} and has seen "
        f"{_many(agent.shutdowns, 'shutdown')}{last}, and {_many(agent.findings, 'finding')}"
    )
    titles = list(dict.fromkeys(t.verdict.workload.title for t in reversed(every) if t.verdict.workload))
    if name and titles:
        line += f"; it has verdicts of {', '.join(titles[:_NAMES_MAX])}{' …' if len(titles) > _NAMES_MAX else ''}"
    return line


def _notes(agent: Status, since_ns: int, unknown: int) -> list[str]:
    notes = [
        f"note: no agent ran from {_time(gap.from_ns)} to {_time(gap.until_ns)} "
        f"({_span((gap.until_ns - gap.from_ns) / 1e9)}): "
        + (
            "what ended then is not known"
            if gap.lost is None
            else f"{_many(gap.lost, 'event')} of that time found no room, a verdict may be missing"
        )
        for gap in agent.gaps
        if gap.until_ns > max(since_ns, agent.oldest_wall_ns)
    ]
    if agent.kept >= ROOM and since_ns < agent.oldest_wall_ns:
        notes.append(
            f"note: the last {agent.kept:,} verdicts are kept: of before {_time(agent.oldest_wall_ns)} nothing is known"
        )
    if agent.chosen:
        notes.append(f"note: the agent runs with {printable(agent.chosen)}: of others it keeps nothing")
    if agent.lost:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in sorted(agent.lost.items()))
        notes.append(f"note: the agent could not be told of {_many(sum(agent.lost.values()), 'event')}: {causes}")
    if unknown:
        notes.append(f"note: {_many(unknown, 'verdict')} of the agent are of kinds that this version doesn't know")
    return notes


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _span(span_s: float) -> str:
    """``90 s`` → ``90.0 s``, ``3600`` → ``1 h``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if span_s >= 2 * length or (span_s >= length and span_s % length == 0):
            return f"{span_s / length:.0f} {unit}"
    return seconds(span_s)
