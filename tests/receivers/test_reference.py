"""What we build by hand is what OpenTelemetry's own SDK would send for the same spans."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Shutdown
from sigtrace.recorder import run
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.spans import Alone, Origin, Tree, fill_telling
from sigtrace.sources.replay import open_recording
from tests.receivers.strict import attributes_of

RECORDINGS = sorted((Path(__file__).parents[1] / "data/recordings").glob("*.sigtrace"))
SETTINGS = OtlpSettings.from_environment("http://127.0.0.1:4318", environ={})


def ours(path):
    """The spans of a recording's verdicts, one ResourceSpans each."""
    tally = Tally(keep=True)
    with open_recording(str(path)) as recording:
        run(recording, [Filtered(tally, WorkloadFilter())])
        origin = Origin(recording.header.boot_id, recording.header.node, SETTINGS)
    for verdict in tally.verdicts:
        message = ResourceSpans()
        fill_telling(message, Tree(verdict) if isinstance(verdict, Shutdown) else Alone(verdict), origin)
        yield message


def context(trace_id, span_id):
    number = int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big")
    return SpanContext(*number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def by_the_sdk(span: Span, resource, scope):
    """The same span as the SDK's own object."""
    code = {0: StatusCode.UNSET, 1: StatusCode.OK, 2: StatusCode.ERROR}[span.status.code]
    return ReadableSpan(
        name=span.name,
        context=context(span.trace_id, span.span_id),
        parent=context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
        resource=resource,
        attributes=attributes_of(span.attributes),
        events=[Event(e.name, attributes_of(e.attributes), e.time_unix_nano) for e in span.events],
        links=[Link(context(one.trace_id, one.span_id), attributes_of(one.attributes)) for one in span.links],
        kind=SpanKind(span.kind - 1),
        status=Status(code, span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def plain(message):
    """With attributes in the order of their keys: they are a set."""
    found = MessageToDict(message)

    def sort(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                sort(inner)
                if key == "attributes":
                    inner.sort(key=lambda one: one["key"])
        elif isinstance(value, list):
            for one in value:
                sort(one)

    sort(found)
    return found


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_our_spans_are_the_sdks(path):
    compared = 0
    for message in ours(path):
        (scope,) = message.scope_spans
        resource = Resource(attributes_of(message.resource.attributes))
        sdk_scope = InstrumentationScope(scope.scope.name, scope.scope.version)
        spans = [by_the_sdk(span, resource, sdk_scope) for span in scope.spans]
        (theirs,) = encode_spans(spans).resource_spans
        assert plain(message.resource) == plain(theirs.resource)
        for mine, other in zip(map(plain, scope.spans), map(plain, theirs.scope_spans[0].spans), strict=True):
            # The SDK leaves out that it is sampled (SpanFlags), drops no events that it was given, and says an empty
            # status where we leave out what is the default.
            assert mine.pop("flags") == other.pop("flags") | TraceFlags.SAMPLED
            mine.pop("droppedEventsCount", None)
            assert {"status": {}} | mine == other
        compared += len(spans)
    assert compared
