"""The strict receiver itself: it sees each fault, and lets what is right pass."""

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.receivers.strict import Checker


def trace():
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "x"
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "sigtrace"
    root = scope_spans.spans.add(trace_id=b"t" * 16, span_id=b"r" * 8, name="root", kind=1)
    root.start_time_unix_nano, root.end_time_unix_nano = 100, 200
    child = scope_spans.spans.add(trace_id=b"t" * 16, span_id=b"c" * 8, parent_span_id=b"r" * 8, name="child", kind=1)
    child.start_time_unix_nano, child.end_time_unix_nano = 120, 180
    child.events.add(name="e", time_unix_nano=150)
    child.links.add(trace_id=b"o" * 16, span_id=b"o" * 8)
    child.attributes.add(key="a").value.string_value = "b"
    return request, root, child


def metrics(start=100, at=200, count=3):
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.add(key="service.name").value.string_value = "x"
    scope_metrics = resource_metrics.scope_metrics.add()
    scope_metrics.scope.name = "sigtrace"
    total = scope_metrics.metrics.add(name="sigtrace.total", unit="{x}")
    total.sum.aggregation_temporality, total.sum.is_monotonic = 2, True
    total.sum.data_points.add(start_time_unix_nano=start, time_unix_nano=at, as_int=count)
    spread = scope_metrics.metrics.add(name="sigtrace.spread", unit="s")
    spread.histogram.aggregation_temporality = 2
    point = spread.histogram.data_points.add(start_time_unix_nano=start, time_unix_nano=at, count=count)
    point.explicit_bounds.extend([1.0, 2.0])
    point.bucket_counts.extend([count, 0, 0])
    return request, total, spread


def found(kind, *requests):
    checker = Checker()
    for request in requests:
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        (checker.take_traces if kind == "traces" else checker.take_metrics)(raw)
    return checker.finish()


def test_what_is_right_passes():
    assert found("traces", trace()[0]) == []
    assert found("metrics", metrics()[0], metrics(at=300, count=5)[0]) == []


def _zero(one, name, length):
    setattr(one, name, b"\0" * length)


SPOILT_TRACES = {
    "trace id": lambda _, root, __: _zero(root, "trace_id", 16),
    "span id": lambda _, root, __: setattr(root, "span_id", b"short"),
    "parent id": lambda _, __, child: setattr(child, "parent_span_id", b"\0" * 8),
    "its parent was never sent": lambda _, __, child: setattr(child, "parent_span_id", b"n" * 8),
    "its own parent": lambda _, __, child: setattr(child, "parent_span_id", child.span_id),
    "came twice": lambda _, root, child: setattr(child, "span_id", root.span_id),
    "without a name": lambda _, __, child: setattr(child, "name", ""),
    "kind 0": lambda _, __, child: setattr(child, "kind", 0),
    "from 300": lambda _, root, __: setattr(root, "start_time_unix_nano", 300),
    "lies outside": lambda _, __, child: setattr(child.events[0], "time_unix_nano", 999),
    "link": lambda _, __, child: setattr(child.links[0], "span_id", b""),
    "there twice": lambda _, __, child: child.attributes.add(key="a").value.CopyFrom(child.attributes[0].value),
    "has no value": lambda _, __, child: child.attributes.add(key="empty"),
    "has no name": lambda _, __, child: setattr(child.attributes[0], "key", ""),
    "status": lambda _, root, __: setattr(root.status, "message", "fine"),
    "without service.name": lambda request, _, __: request.resource_spans[0].resource.Clear(),
    "scope without a name": lambda request, _, __: request.resource_spans[0].scope_spans[0].scope.Clear(),
    "characters": lambda _, __, child: setattr(child.attributes[0].value, "string_value", "x" * 9999),
}


@pytest.mark.parametrize("problem", SPOILT_TRACES)
def test_it_sees_what_is_wrong_with_spans(problem):
    request, root, child = trace()
    SPOILT_TRACES[problem](request, root, child)
    assert any(problem in line for line in found("traces", request))


SPOILT_METRICS = {
    "temporality 0": lambda total, _: total.sum.ClearField("aggregation_temporality"),
    "from 0": lambda total, _: total.sum.data_points[0].ClearField("start_time_unix_nano"),
    "of what only rises": lambda total, _: setattr(total.sum.data_points[0], "as_int", -1),
    "without a value": lambda total, _: total.sum.data_points[0].ClearField("as_int"),
    "a series twice": lambda total, _: total.sum.data_points.add().CopyFrom(total.sum.data_points[0]),
    "no data points": lambda total, _: total.sum.ClearField("data_points"),
    "its name": lambda total, _: setattr(total, "name", "no spaces"),
    "buckets with": lambda _, spread: spread.histogram.data_points[0].bucket_counts.append(0),
    "the count is": lambda _, spread: setattr(spread.histogram.data_points[0], "count", 9),
    "bounds": lambda _, spread: spread.histogram.data_points[0].explicit_bounds.__setitem__(1, 1.0),
    "twice for one resource": lambda _, spread: setattr(spread, "name", "sigtrace.total"),
}


@pytest.mark.parametrize("problem", SPOILT_METRICS)
def test_it_sees_what_is_wrong_with_metrics(problem):
    request, total, spread = metrics()
    SPOILT_METRICS[problem](total, spread)
    assert any(problem in line for line in found("metrics", request))


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"at": 300, "count": 2}, "it fell"),
        ({"at": 150}, "time goes backwards"),
        ({"start": 150, "at": 300}, "a new start before"),
    ],
)
def test_it_sees_what_is_wrong_between_requests(second, problem):
    assert any(problem in line for line in found("metrics", metrics()[0], metrics(**second)[0]))


def test_it_sees_deltas_that_overlap():
    requests = [metrics(at=at)[0] for at in (200, 300)]
    for request in requests:
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            getattr(metric, metric.WhichOneof("data")).aggregation_temporality = 1
    assert any("overlaps" in line for line in found("metrics", *requests))


def test_it_sees_fields_that_otlp_does_not_know():
    raw = trace()[0].SerializeToString() + b"\xfa\x3f\x01x"
    assert any("unknown fields" in line for line in found("traces", raw))
