"""The recordings of the lab's scenarios, replayed: what was told live, byte for byte, without root or BPF."""

import io
import json

import pytest

from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.filter import WorkloadFilter
from sigtrace.recorder import run
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.chosen import Filtered
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sources.replay import open_recording
from tests.recordings import FOLDER


def replayed(path):
    text = io.StringIO()
    writer = LineWriter(text, 100_000)
    with open_recording(str(path)) as recording:
        told = Jsonl(writer, events=None, boot_id=recording.header.boot_id)
        run(recording, [Filtered(told, WorkloadFilter(container=path.stem))])
        events = recording.events
    assert not writer.close(10)
    return text.getvalue(), events


def test_each_scenario_has_one():
    assert {path.stem for path in FOLDER.glob("*.sigtrace")} == set(SCENARIOS)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sigtrace")), ids=lambda path: path.stem)
def test_a_replay_says_what_was_said_live(path):
    said, events = replayed(path)
    assert said == path.with_suffix(".jsonl").read_text(encoding="utf-8")
    assert events > 1
    records = [json.loads(line) for line in said.splitlines()]
    expect = SCENARIOS[path.stem].expect
    found = {(r["code"], r["cause"]) for r in records if r["type"] == "finding"}
    ends = [(r["outcome"], r["cause"]) for r in records if r["type"] == "shutdown"]
    assert (found, ends) == (set(expect.findings), [(expect.outcome, expect.cause)])
