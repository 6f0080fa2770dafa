"""Through a collector that is not ours, over gRPC and HTTP: what comes out is what went in."""

import pytest

from sigtrace.model import ids
from tests.receivers.rotel import Rotel
from tests.receivers.sending import BOOT, sending
from tests.receivers.strict import attributes_of, value_of
from tests.receivers.test_collectors import metrics_request


@pytest.fixture
def rotel(tmp_path):
    with Rotel(tmp_path) as running:
        yield running


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_spans_and_their_resources_come_out_as_they_went_in(rotel, wait_until, protocol, compression):
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=prod%20eu"}
    with sending(rotel.urls[protocol], protocol=protocol, compression=compression, environ=environ) as sender:
        for n in range(5):
            sender.stop_one(n)
        sender.sink.exporter.export_metrics(metrics_request(), 1)
        wait_until(lambda: sender.tally.exported == 15, timeout=20)
    checker = rotel.behind.checker
    wait_until(lambda: len(checker.spans) == 15 and checker.metrics, timeout=20)
    assert checker.finish() == []
    resources = {resource["container.id"]: resource for resource, _ in checker.traces}
    assert set(resources) == {f"{n:064x}" for n in range(5)}
    for n in range(5):
        resource = resources[f"{n:064x}"]
        assert (resource["service.name"], resource["container.name"]) == (f"box-{n}", f"box-{n}")
        assert resource["k8s.cluster.name"] == "prod eu"
    (first,) = [s for r, s in checker.traces if s.name == "container.shutdown" and r["container.name"] == "box-0"]
    assert first.span_id.hex() == ids.shutdown_span_id(first.trace_id.hex())
    assert first.status.message == "SIGKILL after 2.0 s: it never heard SIGTERM"
    assert [event.name for event in first.events].count("sigtrace.signal.generate") == 2
    assert attributes_of(first.attributes)["sigtrace.outcome"] == "escalated"
    (_, metric), *_ = checker.metrics
    assert (metric.name, metric.unit) == ("sigtrace.test", "{thing}")
    assert value_of(first.attributes[0].value) == "escalated"
    assert BOOT not in f"{checker.traces}"
