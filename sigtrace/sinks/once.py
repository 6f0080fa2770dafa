"""Tells each verdict once, though an agent and its successor on the same pinned rings both come to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from sigtrace.model import ids
from sigtrace.model.finding import Finding, Verdict
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import Sink

#: What is older than this before the end of what the agent before us had told, it told, if it is kept or not: detectors
#: wait no longer with what they know.
_WAITED_NS: Final = 10_000_000_000
#: What is found by listing processes; and so long after a resume such a finding may be one that was told.
_LISTED: Final = frozenset({"zombie-unreaped", "signal-pending", "stop-unanswered"})
_LISTED_NS: Final = 120_000_000_000


def key_of(boot_id: str, verdict: Verdict) -> str:
    """The same for the same verdict, whoever makes it.

    What a listing shows, a successor's listing shows at another time: of that its time is no part.
    """
    if not isinstance(verdict, Finding):
        return ids.verdict_trace_id(boot_id, verdict)
    whose = ids.verdict_trace_id(boot_id, verdict), verdict.time_ns
    if verdict.code in _LISTED:
        tasks = [task.key if task else None for task in (verdict.subject, verdict.parent)]
        whose = f"{boot_id} {verdict.workload.cgroup_id if verdict.workload else 0} {tasks}", 0
    grown = len(str(verdict.count))  # repeats are told again at ten times the count
    return f"{whose} {verdict.code} {verdict.cause} {verdict.signo} {grown} {verdict.closing}"


class Told:
    """What an agent before us told."""

    def __init__(self, boot_id: str, on_repeat: Callable[[Verdict], None] = lambda _: None) -> None:
        """``on_repeat``: is given each that is left out."""
        self._boot_id = boot_id
        self.on_repeat = on_repeat
        self._keys: set[str] = set()
        self._until_ns = 0

    def by(self, verdicts: Iterable[Verdict], until_ns: int) -> None:
        """``verdicts``: those that are kept; ``until_ns``: up to here (CLOCK_BOOTTIME) it had told everything.

        0: nothing was pinned, so that nothing comes twice.
        """
        if until_ns:
            self._keys = {key_of(self._boot_id, verdict) for verdict in verdicts}
            self._until_ns = until_ns

    def __contains__(self, verdict: Verdict) -> bool:
        listed = isinstance(verdict, Finding) and verdict.code in _LISTED
        if listed and verdict.time_ns > self._until_ns + _LISTED_NS:
            return False
        # What a fold adds has the time of its last event, and may be told long after it.
        folded = isinstance(verdict, Finding) and (verdict.closing or verdict.count > 1)
        old = verdict.time_ns < self._until_ns - _WAITED_NS and not folded
        return old or (bool(self._keys) and key_of(self._boot_id, verdict) in self._keys)


class Once:
    """Sinks behind it get what was not told before."""

    def __init__(self, sinks: Iterable[Sink], told: Told) -> None:
        self._sinks = tuple(sinks)
        self._told = told

    def observation(self, observation: Observation) -> None:
        """Events pass."""
        for sink in self._sinks:
            sink.observation(observation)

    def verdict(self, verdict: Verdict) -> None:
        """If it is new."""
        if verdict in self._told:
            self._told.on_repeat(verdict)
            return
        for sink in self._sinks:
            sink.verdict(verdict)

    def pass_time(self, now_ns: int) -> None:
        """Time passes."""
        for sink in self._sinks:
            sink.pass_time(now_ns)

    def take_dropped(self) -> int:
        """Of all of them."""
        return sum(sink.take_dropped() for sink in self._sinks)

    def close(self) -> None:
        """In their order."""
        for sink in self._sinks:
            sink.close()
