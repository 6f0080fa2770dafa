"""What the user chose: a sink behind a filter, and one that only remembers how bad it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sigtrace.model.causes import Severity
from sigtrace.model.event import Kind, Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Finding, Verdict
from sigtrace.model.workload import Observation, Workload
from sigtrace.sinks.base import Sink


@dataclass
class Tally:
    """A :class:`sigtrace.sinks.base.Sink` that only remembers how bad it was."""

    worst: Severity | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    keep: bool = False

    def observation(self, observation: Observation) -> None:
        """Not counted."""

    def verdict(self, verdict: Verdict) -> None:
        """The worst finding so far."""
        if isinstance(verdict, Finding) and (self.worst is None or verdict.severity > self.worst):
            self.worst = verdict.severity
        if self.keep:
            self.verdicts.append(verdict)

    def pass_time(self, now_ns: int) -> None:
        """Nothing."""

    def take_dropped(self) -> int:
        """Nothing."""
        return 0

    def close(self) -> None:
        """Nothing."""


class Filtered:
    """A sink behind the user's filter."""

    def __init__(self, sink: Sink, chosen: WorkloadFilter, judged: Callable[[int, bool], None] | None = None) -> None:
        """``judged``: told of each event's cgroups (by id) whether they can be left out for good."""
        self._sink = sink
        self._filter = chosen
        self._judged = judged
        self.take_dropped = sink.take_dropped
        self.close = sink.close
        self.pass_time = sink.pass_time

    def observation(self, observation: Observation) -> None:
        """If its target or its sender is meant; losses always are."""
        if self._judged:
            self._judge(observation.event.task, observation.workload)
            self._judge(observation.event.sender, observation.sender_workload)
        if observation.event.kind is Kind.LOST or self._filter.observation(observation):
            self._sink.observation(observation)

    def verdict(self, verdict: Verdict) -> None:
        """If its workload is meant."""
        if verdict.workload is None or self._filter.verdict(verdict):
            self._sink.verdict(verdict)

    def _judge(self, task: Task | None, workload: Workload | None) -> None:
        if self._judged and task and workload:
            self._judged(task.cgroup_id, workload.is_definite and not self._filter.workload(workload))
