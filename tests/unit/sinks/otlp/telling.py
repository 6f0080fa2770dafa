"""Shared by the tests of spans: what a verdict becomes, checked by the strict receiver."""

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from sigtrace.sinks.otlp.queues import part_of_request
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.spans import Origin, fill_telling
from tests.receivers.strict import Checker, attributes_of
from tests.unit.detectors.events import S

BOOT = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
NODE = "node-1"
SETTINGS = OtlpSettings()
LONG = 10**4 * S


def raw_of(telling, settings=SETTINGS, boot=BOOT):
    message = ResourceSpans()
    fill_telling(message, telling, Origin(boot, NODE, settings))
    return part_of_request(message)


def told(telling, settings=SETTINGS, boot=BOOT):
    """(resource, spans), and nothing is wrong with them."""
    checker = Checker()
    checker.take_traces(raw_of(telling, settings, boot))
    assert checker.finish() == []
    assert len(checker.traces) == telling.count
    return checker.traces[0][0], checker.spans


def of(one):
    """The attributes of a span, an event or a link."""
    return attributes_of(one.attributes)


def named(spans, name="process.shutdown"):
    return [span for span in spans if span.name == name]
