"""Every scenario of the lab as it was recorded: valid spans, in the traces that its records name, each time."""

import json

import pytest

from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.filter import WorkloadFilter
from sigtrace.recorder import run
from sigtrace.sinks.chosen import Filtered
from sigtrace.sinks.otlp import sink as module
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import Otlp
from sigtrace.sources.replay import open_recording
from tests.receivers.strict import Checker, attributes_of
from tests.recordings import FOLDER


class Exporter:
    def __init__(self, *_, **__):
        self.parts = []

    def put_spans(self, count, build, settled=None):
        self.parts.append(build())

    def close(self, _): ...


def replayed(path, monkeypatch):
    monkeypatch.setattr(module, "Exporter", Exporter)
    with open_recording(str(path)) as recording:
        sink = Otlp(OtlpSettings(traces=object(), exited=True), recording.header.boot_id, "n", tell=print)
        run(recording, [Filtered(sink, WorkloadFilter(container=path.stem))])
    return sink.exporter.parts


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sigtrace")), ids=lambda path: path.stem)
def test_a_recording_makes_valid_spans_in_the_traces_of_its_records(path, monkeypatch):
    parts = replayed(path, monkeypatch)
    assert parts == replayed(path, monkeypatch)
    checker = Checker()
    for part in parts:
        checker.take_traces(part)
    assert checker.finish() == []
    lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert {span.trace_id.hex() for span in checker.spans} == {record["trace_id"] for record in records}
    (root,) = [span for span in checker.spans if span.name == "container.shutdown"]
    expect = SCENARIOS[path.stem].expect
    assert attributes_of(root.attributes)["sigtrace.outcome"] == expect.outcome
    told = [attributes_of(span.attributes) for span in checker.spans if span.name == "sigtrace.finding"]
    told += [attributes_of(event.attributes) for event in root.events if event.name == "sigtrace.finding"]
    assert {(one["sigtrace.finding.code"], one["sigtrace.cause"]) for one in told} == set(expect.findings)
