"""benchmarks/scale.py: what it counts is what it encodes."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.scale import LEAN, METRICS_S, Node, simulate
from benchmarks.scale_tables import CLUSTERS, report

NODE = Node(pods=10, containers=2, workers=3, names=5)


def test_the_spans_it_counts_are_those_it_encodes():
    told = simulate(NODE)
    request = ExportTraceServiceRequest.FromString(b"".join(told.traces))
    spans = [span for r in request.resource_spans for s in r.scope_spans for span in s.spans]
    assert len(spans) == told.spans
    roots = [span for span in spans if not span.parent_span_id]
    assert len({span.trace_id for span in roots}) == len(roots) == NODE.total
    assert len(told.lines) >= NODE.total


def test_each_living_container_and_each_name_has_its_series():
    before = simulate(NODE).before
    assert before.series["sigtrace_container_info"] == NODE.total
    assert before.series["sigtrace_crash_masked_total"] == NODE.names
    assert before.lean == sum(before.series[name] for name in LEAN)
    assert before.total == sum(1 for line in before.scrape.splitlines() if not line.startswith(b"#"))


def test_a_cluster_is_as_many_nodes():
    told = simulate(NODE)
    text = report(NODE, told)
    (row,) = [line for line in text.splitlines() if line.startswith(f"| OTLP points/s, every {METRICS_S} s")]
    cells = row.strip("| ").split(" | ")[1:]
    assert len(cells) == len(CLUSTERS)
    assert float(cells[0].split()[0]) == float(f"{told.before.points / METRICS_S * 10:.3g}")
