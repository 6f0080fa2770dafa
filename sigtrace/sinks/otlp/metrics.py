"""What was collected, as OTLP messages (opentelemetry-proto, metrics.proto).

A container that lives has a resource of its own, what is counted at containers' ends is on the agent's. A container
that is gone is sent once more, with its last counts. Of a delta the state moves on only when the collector has taken
it: what it refused is in the next one. To be imported where OTLP is wanted: the messages' classes cost 20 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from sigtrace.model.metrics import (
    CPU_TIME,
    EXITS,
    EXPORTED,
    LOST,
    OVERFLOW,
    SIGNALS,
    Collected,
    Distribution,
    Family,
    Metric,
    MetricKind,
    Point,
)
from sigtrace.model.workload import Workload
from sigtrace.sinks.otlp.ledger import Tally
from sigtrace.sinks.otlp.resource import agent_resource, container_resource
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.wire import fill_scope, text

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

Request = tuple[ExportMetricsServiceRequest, int, Callable[[bool], None]]
"""the message, how many data points it has, and what is to be told whether they were taken"""

_SeriesKey = tuple[str, str, tuple[str | None, ...], bool]
"""container or nothing, metric, attributes, overflow"""
_AttributesKey = tuple[tuple[str, ...], tuple[str | None, ...], bool]

#: Tags of the fields in metrics.proto: data_points of Sum and Gauge, and those of NumberDataPoint.
_DATA_POINT: Final = b"\x0a"
_START, _TIME, _AS_DOUBLE, _AS_INT = 2 << 3 | 1, 3 << 3 | 1, 4 << 3 | 1, 6 << 3 | 1
_INT: Final = struct.Struct("<BQBQBq").pack
_DOUBLE: Final = struct.Struct("<BQBQBd").pack
#: What tells containers without an id apart.
_CGROUP: Final = "sigtrace.cgroup.id"
#: A cgroup's end is told a moment after it happened.
_LATE_NS: Final = 10_000_000_000


class Temporality(StrEnum):
    """OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE."""

    CUMULATIVE = "cumulative"
    DELTA = "delta"
    LOWMEMORY = "lowmemory"
    """delta, but for what is read as a total anyway"""

    def is_delta(self, metric: Metric) -> bool:
        """Whether this metric is told as what came since the last time."""
        if metric.kind not in (MetricKind.COUNTER, MetricKind.HISTOGRAM):
            return False
        return self is Temporality.DELTA or (self is Temporality.LOWMEMORY and metric not in _TOTALS)


#: As OpenTelemetry calls them: asynchronous counters.
_TOTALS: Final = (SIGNALS, EXITS, LOST, EXPORTED, CPU_TIME)


def export_items(ledger: Callable[[], Mapping[str, Tally]]) -> Mapping[tuple[str, str], int]:
    """The exporter's ledger as :attr:`sigtrace.sinks.metrics.bookkeeping.Metrics.export_items` wants it."""
    items: dict[tuple[str, str], int] = {}
    for what, tally in ledger().items():
        items |= {(what, "exported"): tally.exported, (what, "dropped"): tally.lost, (what, "retried"): tally.retried}
    return items


class MetricMessages:
    """Makes a request each time it is called; for the exporter's ``collect_metrics``. One thread calls it."""

    def __init__(self, collect: Callable[[], Collected], settings: OtlpSettings, node: str) -> None:
        self._collect = collect
        self._settings = settings
        self._agent = agent_resource(settings, node)
        self._temporality = Temporality(settings.temporality)
        self._resources: dict[str, tuple[Workload, Resource]] = {}
        self._attributes: dict[_AttributesKey, bytes] = {}
        self._old_resources, self._old_attributes = self._resources, self._attributes
        """of the request before, while one is made: what is not used again is forgotten"""
        self._taken: dict[_SeriesKey, float | Distribution] = {}
        """of deltas: what the collector has"""
        self._taken_wall_ns = 0
        self.begun = False
        """a collector has taken something"""

    def continue_from(self, other: MetricMessages) -> None:
        """In its place: deltas begin where its ended, for nobody is to be told twice."""
        self._taken, self._taken_wall_ns = other._taken, other._taken_wall_ns
        self.begun = other.begun

    def __call__(self) -> Request | None:
        """What there is now; None if there is nothing new, as the pipeline has not come to it."""
        collected = self._collect()
        if collected.wall_ns == self._taken_wall_ns:
            return None
        request = ExportMetricsServiceRequest()
        encoding = _Encoding(self, collected)
        self._old_resources, self._resources = self._resources, {}
        self._old_attributes, self._attributes = self._attributes, {}
        own = list(collected.agent)
        for one in collected.containers:
            gone = one.gone_wall_ns is not None and one.gone_wall_ns + _LATE_NS < self._taken_wall_ns
            if one.workload is None:
                own += one.families
            elif not gone:
                whose = one.workload.container_id or str(one.workload.cgroup_id)
                encoding.add(request.resource_metrics, whose, self._resource(whose, one.workload), one.families)
        encoding.add(request.resource_metrics, "", self._agent, own)
        self._old_resources, self._old_attributes = {}, {}

        def done(accepted: bool) -> None:
            if accepted:
                self._taken, self._taken_wall_ns = encoding.totals, collected.wall_ns
                self.begun = True

        return request, encoding.points, done

    def _resource(self, whose: str, workload: Workload) -> Resource:
        known = self._old_resources.get(whose)
        if known is None or (known[0] is not workload and known[0] != workload):
            resource = container_resource(workload, self._settings)
            if workload.container_id is None:  # an unknown runtime's may share their names: two writers of one series
                resource.attributes.add(key=_CGROUP, value=AnyValue(int_value=workload.cgroup_id))
            known = workload, resource
        self._resources[whose] = known
        return known[1]

    def attributes(self, metric: Metric, point: Point) -> bytes:
        """A data point with nothing else, as bytes; those of a series are the same each time."""
        key = metric.attributes, point.values, point.overflow
        made = self._attributes.get(key)
        if made is None:
            made = self._attributes[key] = self._old_attributes.get(key) or _attributes(metric, point)
        return made

    def taken(self, key: _SeriesKey) -> float | Distribution | None:
        """Of a series that is told as deltas: what was told before."""
        return self._taken.get(key)

    @property
    def taken_wall_ns(self) -> int:
        """When the collector last had everything."""
        return self._taken_wall_ns

    @property
    def temporality(self) -> Temporality:
        """What was asked for."""
        return self._temporality


class _Encoding:
    """One request in the making."""

    def __init__(self, messages: MetricMessages, collected: Collected) -> None:
        self._messages = messages
        self._now_ns = collected.wall_ns
        # What the kernel counted for an agent before us that one told. All else begins with what we collect first.
        self._told_before_ns = collected.start_wall_ns if collected.resumed and not messages.begun else 0
        self.points = 0
        self.totals: dict[_SeriesKey, float | Distribution] = {}

    def add(
        self,
        into: RepeatedCompositeFieldContainer[pb.ResourceMetrics],
        owner: str,
        resource: Resource,
        families: Iterable[Family],
    ) -> None:
        """A resource and its metrics; none without a point."""
        message = pb.ResourceMetrics(resource=resource)
        scope = message.scope_metrics.add()
        fill_scope(scope.scope)
        by_metric: dict[str, tuple[Metric, list[Point]]] = {}
        for family in families:
            by_metric.setdefault(family.metric.name, (family.metric, []))[1].extend(family.points)
        for metric, totals in by_metric.values():
            delta = self._messages.temporality.is_delta(metric)
            if points := self._deltas(owner, metric, totals) if delta else totals:
                self._metric(scope.metrics.add(), metric, points)
        if scope.metrics:
            into.append(message)

    def _deltas(self, owner: str, metric: Metric, points: list[Point]) -> list[Point]:
        """What came since; what did not change is left out."""
        deltas = []
        for point in points:
            key = owner, metric.name, point.values, point.overflow
            before = self._messages.taken(key)
            self.totals[key] = point.value
            if before is None and point.start_wall_ns < self._told_before_ns:
                continue  # where this agent begins
            value = _minus(point.value, before)
            if value == 0 or (isinstance(value, Distribution) and not value.count):
                continue
            start = max(point.start_wall_ns, self._messages.taken_wall_ns)
            deltas.append(Point(point.values, value, start, point.overflow))
        return deltas

    def _metric(self, message: pb.Metric, metric: Metric, points: list[Point]) -> None:
        message.name, message.unit, message.description = metric.name, metric.unit, metric.description
        delta = self._messages.temporality.is_delta(metric)
        temporality = pb.AGGREGATION_TEMPORALITY_DELTA if delta else pb.AGGREGATION_TEMPORALITY_CUMULATIVE
        self.points += len(points)
        if metric.kind is MetricKind.HISTOGRAM:
            message.histogram.aggregation_temporality = temporality
            message.histogram.data_points.extend(self._distribution(metric, point) for point in points)
            return
        points_of = message.gauge if metric.kind is MetricKind.GAUGE else message.sum
        points_of.MergeFromString(b"".join(self._number(metric, point) for point in points))
        if metric.kind is not MetricKind.GAUGE:
            message.sum.aggregation_temporality = temporality
            message.sum.is_monotonic = metric.kind is MetricKind.COUNTER

    def _number(self, metric: Metric, point: Point) -> bytes:
        """A data point of a Sum or a Gauge, as its bytes: there may be 20,000, and as messages each takes 6 us."""
        start = 0 if metric.kind is MetricKind.GAUGE else min(point.start_wall_ns, self._now_ns)
        pack = _INT if isinstance(point.value, int) else _DOUBLE
        tag = _AS_INT if isinstance(point.value, int) else _AS_DOUBLE
        raw = self._messages.attributes(metric, point) + pack(_START, start, _TIME, self._now_ns, tag, point.value)
        return _DATA_POINT + _varint(len(raw)) + raw

    def _distribution(self, metric: Metric, point: Point) -> pb.HistogramDataPoint:
        value = point.value if isinstance(point.value, Distribution) else Distribution((), 0.0)
        made = pb.HistogramDataPoint(
            start_time_unix_nano=min(point.start_wall_ns, self._now_ns),
            time_unix_nano=self._now_ns,
            count=value.count,
            sum=value.total,
            bucket_counts=value.buckets,
            explicit_bounds=metric.bounds,
        )
        made.attributes.extend(pb.NumberDataPoint.FromString(self._messages.attributes(metric, point)).attributes)
        return made


def _minus(value: float | Distribution, before: float | Distribution | None) -> float | Distribution:
    """What came since ``before``; all of it, where that is more: the series began anew."""
    if isinstance(value, Distribution):
        if not isinstance(before, Distribution) or before.count > value.count:
            return value
        buckets = tuple([a - b for a, b in zip(value.buckets, before.buckets, strict=True)])
        return Distribution(buckets, value.total - before.total)
    if before is None or isinstance(before, Distribution) or before > value:
        return value
    return value - before


def _attributes(metric: Metric, point: Point) -> bytes:
    made = pb.NumberDataPoint()
    if point.overflow:
        made.attributes.add(key=OVERFLOW, value=AnyValue(bool_value=True))
        return made.SerializeToString()
    for name, value in zip(metric.attributes, point.values, strict=True):
        if value is not None:
            made.attributes.add(key=name, value=AnyValue(string_value=text(value)))
    return made.SerializeToString()


def _varint(number: int) -> bytes:
    """As protobuf writes lengths."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
