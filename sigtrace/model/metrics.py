"""The metrics: their names, units and attributes, and the frozen types in which they leave the bookkeeping.

The names are a contract with dashboards and alerts (docs: metrics); attributes are those of OpenTelemetry, and
Prometheus's names follow from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from sigtrace.model.workload import Workload


class MetricKind(StrEnum):
    """How its values are to be read."""

    COUNTER = "counter"
    """a total since ``start_wall_ns``; only grows"""
    UP_DOWN = "up-down"
    """a number that is there now, and that sums up over containers"""
    GAUGE = "gauge"
    """a number that is there now, and that no sum makes sense of"""
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, whoever exports it."""

    name: str
    kind: MetricKind
    unit: str
    """UCUM, as OpenTelemetry writes it: ``{signal}``, ``s``, ``By``"""
    description: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """of a histogram: the upper bounds of its buckets, inclusive; the last bucket has none"""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The value of a histogram's point."""

    buckets: tuple[int, ...]
    """how many fell into each, not cumulative; one more than there are bounds"""
    total: float
    """the sum of all values"""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.buckets)

    def plus(self, other: Distribution) -> Distribution:
        """Both together; of one metric, so that their buckets are the same."""
        buckets = tuple([a + b for a, b in zip(self.buckets, other.buckets, strict=True)])
        return Distribution(buckets, self.total + other.total)


class Point(NamedTuple):
    """One series, now. A tuple, because there are thousands of them every few seconds."""

    values: tuple[str | None, ...]
    """of the metric's attributes, in their order; None: not known, so that the attribute is left out"""
    value: float | Distribution
    start_wall_ns: int
    """since when it is counted, ns since the epoch"""
    overflow: bool = False
    """what found no room as a series of its own (attribute otel.metric.overflow); it has no other attributes"""


class Family(NamedTuple):
    """A metric, and its points on one resource."""

    metric: Metric
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class ContainerMetrics:
    """What a container has."""

    workload: Workload | None
    """None: all those that found no room as containers of their own"""
    first_wall_ns: int
    gone_wall_ns: int | None
    """when its cgroup was removed; None: it lives"""
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """The last totals of containers that are gone and forgotten, whose successor has the same names.

    A scraper knows a container by its names: for it a restart is no new series, so a total must not fall.
    """

    identity: Identity
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """Everything that is counted, at one moment. The same for each exporter."""

    wall_ns: int
    start_wall_ns: int
    """since when the agent counts"""
    containers: tuple[ContainerMetrics, ...] = ()
    agent: tuple[Family, ...] = ()
    carried: tuple[Carried, ...] = ()
    resumed: bool = False
    """the kernel has counted for longer than this agent, and one before it told of that"""


class Identity(NamedTuple):
    """How a scraper knows a container: what is not known is empty."""

    namespace: str
    pod: str
    container: str


def container_name(workload: Workload) -> str:
    """Its name, or what stands for it where no runtime tells one: the beginning of its id, else its cgroup."""
    return workload.container_name or (workload.container_id or "")[:12] or workload.cgroup or ""


def identity_of(workload: Workload) -> Identity:
    """The labels of a container."""
    return Identity(workload.namespace or "", workload.pod or "", container_name(workload))


SIGNAL: Final = "signal.name"
CAUSE: Final = "cause"
OUTCOME: Final = "outcome"
NAMESPACE: Final = "k8s.namespace.name"
CONTAINER: Final = "k8s.container.name"
OVERFLOW: Final = "otel.metric.overflow"

SIGNALS: Final = Metric(
    "sigtrace.signal.generated",
    MetricKind.COUNTER,
    "{signal}",
    "Signals that were sent to processes of the container, by the kernel's result (delivered means queued).",
    (SIGNAL, "signal.result"),
)
EXITS: Final = Metric(
    "sigtrace.process.exits",
    MetricKind.COUNTER,
    "{process}",
    "Processes of the container that ended, by exit status or signal.",
    ("exit.status",),
)
ZOMBIES: Final = Metric(
    "sigtrace.zombie.count", MetricKind.UP_DOWN, "{process}", "Processes that have exited and that nobody waits for."
)
ZOMBIE_AGE: Final = Metric("sigtrace.zombie.age", MetricKind.GAUGE, "s", "How long the oldest zombie has been one.")
DROPPED: Final = Metric(
    "sigtrace.signal.dropped",
    MetricKind.COUNTER,
    "{signal}",
    "Signals that the kernel dropped because PID 1 had no handler.",
    (NAMESPACE, CONTAINER, SIGNAL, CAUSE),
)
SHUTDOWNS: Final = Metric(
    "sigtrace.container.shutdowns",
    MetricKind.COUNTER,
    "{shutdown}",
    "Ends of a container's main process, by how and why.",
    (NAMESPACE, CONTAINER, OUTCOME, CAUSE),
)
DURATION: Final = Metric(
    "sigtrace.container.shutdown.duration",
    MetricKind.HISTOGRAM,
    "s",
    "From the stop signal, else the fatal event, to the main process's exit.",
    (NAMESPACE, CONTAINER, OUTCOME),
    (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0),
)
KILLS: Final = Metric(
    "sigtrace.process.kills",
    MetricKind.COUNTER,
    "{kill}",
    "SIGKILLs that ended a process, by why.",
    (NAMESPACE, CONTAINER, CAUSE),
)
CRASHES: Final = Metric(
    "sigtrace.crash.masked",
    MetricKind.COUNTER,
    "{crash}",
    "Crashes that a supervisor inside the container hid by starting anew.",
    (NAMESPACE, CONTAINER),
)
LOST: Final = Metric(
    "sigtrace.event.lost", MetricKind.COUNTER, "{event}", "Events that could not be told, by why.", (CAUSE,)
)
EXPORTED: Final = Metric(
    "sigtrace.export.items",
    MetricKind.COUNTER,
    "{item}",
    "Spans and data points, by what became of them.",
    ("export.type", "result"),
)
CPU_TIME: Final = Metric("process.cpu.time", MetricKind.COUNTER, "s", "CPU time that sigtrace itself has used.")
MEMORY: Final = Metric("process.memory.usage", MetricKind.UP_DOWN, "By", "Physical memory that sigtrace itself has.")

METRICS: Final = (
    SIGNALS, EXITS, ZOMBIES, ZOMBIE_AGE, DROPPED, SHUTDOWNS, DURATION, KILLS, CRASHES, LOST, EXPORTED, CPU_TIME, MEMORY,
)  # fmt: skip
