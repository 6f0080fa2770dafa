"""A receiver of our own that checks every message against the OTLP specification and its protocol buffers' comments.

``problems`` of a Checker lists what is wrong; it is empty if all is well. The servers around it are in servers.py.
"""

import threading
from collections import defaultdict

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

#: Far more than anything of ours should need.
_TEXT_MAX = 4096
_U64 = 1 << 64


def value_of(any_value):
    """Plain Python of an AnyValue."""
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in any_value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(any_value.kvlist_value.values)
    return getattr(any_value, kind) if kind else None


def attributes_of(key_values):
    """Plain Python of attributes."""
    return {one.key: value_of(one.value) for one in key_values}


def _series(attributes):
    return tuple(sorted((key, str(value)) for key, value in attributes_of(attributes).items()))


class Checker:
    """Takes requests of both kinds, from any thread."""

    def __init__(self):
        self.problems = []
        self.traces = []
        """(resource attributes, span) of all spans"""
        self.metrics = []
        """(resource attributes, metric) of all metrics"""
        self._ids = set()
        self._kinds = {}
        self._last = {}
        self._lock = threading.RLock()

    @property
    def spans(self):
        with self._lock:
            return [span for _, span in self.traces]

    def finish(self):
        """What is wrong with all of it together: call it once nothing more comes. Returns the problems."""
        with self._lock:
            there = defaultdict(set)
            for span in self.spans:
                there[span.trace_id].add(span.span_id)
            for span in self.spans:
                if span.parent_span_id and span.parent_span_id not in there[span.trace_id]:
                    self._say(f"span {span.name} {span.span_id.hex()}: its parent was never sent")
            return self.problems

    def _say(self, problem):
        self.problems.append(problem)

    # ---- all messages

    def parse(self, kind, raw):
        """Parses strictly: text must be UTF-8, and there must be no field that OTLP doesn't know."""
        message = kind.FromString(raw)
        self._known(message, kind.__name__)
        return message

    def _known(self, message: Message, where: str):
        if len(UnknownFieldSet(message)):
            self._say(f"{where}: unknown fields")
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                for one in value if field.is_repeated else [value]:
                    self._known(one, f"{where}.{field.name}")

    def _attributes(self, key_values, where):
        keys = [one.key for one in key_values]
        if len(set(keys)) != len(keys):
            self._say(f"{where}: an attribute is there twice: {sorted(keys)}")
        for one in key_values:
            if not one.key:
                self._say(f"{where}: an attribute has no name")
            if one.value.WhichOneof("value") is None:
                self._say(f"{where}: {one.key} has no value")
            value = value_of(one.value)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and len(text) > _TEXT_MAX:
                    self._say(f"{where}: {one.key} has {len(text)} characters")
            if isinstance(value, list) and len({type(each) for each in value}) > 1:
                self._say(f"{where}: {one.key} is a list of several types")

    def _resource(self, resource, where):
        self._attributes(resource.attributes, f"{where}: resource")
        attributes = attributes_of(resource.attributes)
        if not isinstance(attributes.get("service.name"), str) or not attributes["service.name"]:
            self._say(f"{where}: resource without service.name")
        return attributes

    def _scope(self, scope, where):
        if not scope.name:
            self._say(f"{where}: scope without a name")
        self._attributes(scope.attributes, f"{where}: scope")

    # ---- traces

    def take_traces(self, raw):
        """A request as it came. Returns how many spans were in it."""
        with self._lock:
            request = self.parse(ExportTraceServiceRequest, raw)
            count = 0
            for resource_spans in request.resource_spans:
                resource = self._resource(resource_spans.resource, "spans")
                for scope_spans in resource_spans.scope_spans:
                    self._scope(scope_spans.scope, "spans")
                    for span in scope_spans.spans:
                        self._span(span)
                        self.traces.append((resource, span))
                        count += 1
            if not count:
                self._say("a request without a span")
            return count

    def _ids_of(self, one, where):
        if len(one.trace_id) != 16 or not any(one.trace_id):
            self._say(f"{where}: trace id {one.trace_id.hex()!r}")
        if len(one.span_id) != 8 or not any(one.span_id):
            self._say(f"{where}: span id {one.span_id.hex()!r}")

    def _span(self, span):
        where = f"span {span.name}"
        self._ids_of(span, where)
        if span.parent_span_id and (len(span.parent_span_id) != 8 or not any(span.parent_span_id)):
            self._say(f"{where}: parent id {span.parent_span_id.hex()!r}")
        if span.parent_span_id == span.span_id:
            self._say(f"{where}: it is its own parent")
        if (span.trace_id, span.span_id) in self._ids:
            self._say(f"{where}: {span.span_id.hex()} came twice")
        self._ids.add((span.trace_id, span.span_id))
        if not span.name:
            self._say("a span without a name")
        if not 1 <= span.kind <= 5:
            self._say(f"{where}: kind {span.kind}")
        if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano:
            self._say(f"{where}: from {span.start_time_unix_nano} to {span.end_time_unix_nano}")
        self._attributes(span.attributes, where)
        for event in span.events:
            if not event.name:
                self._say(f"{where}: an event without a name")
            if not span.start_time_unix_nano <= event.time_unix_nano <= span.end_time_unix_nano:
                self._say(f"{where}: event {event.name} lies outside")
            self._attributes(event.attributes, f"{where}: event {event.name}")
        for link in span.links:
            self._ids_of(link, f"{where}: link")
            self._attributes(link.attributes, f"{where}: link")
        if span.status.code not in {0, 1, 2} or (span.status.message and span.status.code != 2):
            self._say(f"{where}: status {span.status}")

    # ---- metrics

    def take_metrics(self, raw):
        """A request as it came. Returns how many data points were in it."""
        with self._lock:
            request = self.parse(ExportMetricsServiceRequest, raw)
            count = 0
            seen = set()
            for resource_metrics in request.resource_metrics:
                resource = self._resource(resource_metrics.resource, "metrics")
                whose = tuple(sorted((key, str(value)) for key, value in resource.items()))
                for scope_metrics in resource_metrics.scope_metrics:
                    self._scope(scope_metrics.scope, "metrics")
                    for metric in scope_metrics.metrics:
                        if (whose, metric.name) in seen:
                            self._say(f"{metric.name}: twice for one resource")
                        seen.add((whose, metric.name))
                        count += self._metric(metric, whose)
                        self.metrics.append((resource, metric))
            if not count:
                self._say("a request without a data point")
            return count

    def _metric(self, metric, whose):
        where = f"metric {metric.name}"
        kind = metric.WhichOneof("data")
        if not metric.name or len(metric.name) > 255 or not metric.name[0].isalpha():
            self._say(f"{where}: its name")
        if not all(c.isascii() and (c.isalnum() or c in "_.-/") for c in metric.name):
            self._say(f"{where}: its name")
        if kind not in {"sum", "gauge", "histogram"}:
            self._say(f"{where}: {kind}")
            return 0
        data = getattr(metric, kind)
        shape = (kind, metric.unit, metric.description, getattr(data, "is_monotonic", None))
        if self._kinds.setdefault(metric.name, shape) != shape:
            self._say(f"{where}: {shape}, and before {self._kinds[metric.name]}")
        temporality = getattr(data, "aggregation_temporality", None)
        if kind != "gauge" and temporality not in {1, 2}:
            self._say(f"{where}: temporality {temporality}")
        if not data.data_points:
            self._say(f"{where}: no data points")
        seen = set()
        for point in data.data_points:
            series = _series(point.attributes)
            if series in seen:
                self._say(f"{where}: a series twice: {series}")
            seen.add(series)
            self._attributes(point.attributes, where)
            self._point(point, kind, data, (whose, metric.name, series), where)
        return len(data.data_points)

    def _point(self, point, kind, data, series, where):
        if not 0 < point.time_unix_nano < _U64:
            self._say(f"{where}: time {point.time_unix_nano}")
        if kind != "gauge" and not 0 < point.start_time_unix_nano <= point.time_unix_nano:
            self._say(f"{where}: from {point.start_time_unix_nano} to {point.time_unix_nano}")
        if kind == "histogram":
            value = self._histogram(point, where)
        else:
            which = point.WhichOneof("value")
            if which is None:
                self._say(f"{where}: a point without a value")
                return
            value = (getattr(point, which),)
        if kind == "gauge":
            return
        before = self._last.get(series)
        self._last[series] = (point.start_time_unix_nano, point.time_unix_nano, value)
        rising = kind == "histogram" or data.is_monotonic
        if rising and min(value) < 0:
            self._say(f"{where}: {value} of what only rises")
        if before is None:
            return
        start, at, old = before
        if point.time_unix_nano < at:
            self._say(f"{where}: time goes backwards")
        if data.aggregation_temporality == 1:
            if point.start_time_unix_nano < at:
                self._say(f"{where}: a delta that overlaps with the one before")
        elif point.start_time_unix_nano == start:
            if rising and any(new < was for new, was in zip(value, old, strict=False)):
                self._say(f"{where}: it fell from {old} to {value}")
        elif point.start_time_unix_nano < at:
            self._say(f"{where}: a new start before the last point")

    def _histogram(self, point, where):
        bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
        if len(counts) != len(bounds) + 1:
            self._say(f"{where}: {len(counts)} buckets with {len(bounds)} bounds")
        if sum(counts) != point.count:
            self._say(f"{where}: the buckets hold {sum(counts)}, the count is {point.count}")
        if bounds != sorted(set(bounds)):
            self._say(f"{where}: bounds {bounds}")
        if point.HasField("sum") and not point.count and point.sum:
            self._say(f"{where}: a sum of nothing")
        return (point.count, *counts)
