"""Records as JSON, one object a line."""

import io
import json

from sigtrace.detectors.chain import Chain
from sigtrace.model.event import Kind
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.jsonl import Jsonl
from tests.unit.detectors.events import DROPPED, Container, S, killed_by, lost, run

BOX = Container(argv=("sh", "-c", "caf\u00e9 \u202e\x1b[2J"))
VERDICTS = run(Chain(), BOX.term(S, **DROPPED), BOX.kill(2 * S), BOX.exit(3 * S, killed_by(9)))


def written(steps, **chosen):
    stream = io.StringIO()
    writer = LineWriter(stream)
    sink = Jsonl(writer, **chosen)
    for step in steps:
        (sink.observation if hasattr(step, "event") else sink.verdict)(step)
    writer.close()
    assert sink.take_dropped() == 0
    return stream.getvalue()


def test_each_record_is_one_line_of_ascii_with_its_number():
    text = written([BOX.term(1), *VERDICTS, lost(2)], events=lambda _: True)
    records = [json.loads(line) for line in text.splitlines()]
    assert [r["seq"] for r in records] == list(range(1, len(VERDICTS) + 3))
    assert [r["type"] for r in records] == ["event", *(["finding"] * 2), "shutdown", "event"]
    assert text.isascii()
    assert "\x1b" not in text


def test_only_the_events_that_were_asked_for_are_written():
    text = written([BOX.term(1), lost(2)], events=lambda o: o.event.kind is Kind.LOST)
    assert [json.loads(line)["kind"] for line in text.splitlines()] == ["lost"]
    assert written([BOX.term(1)], events=None) == ""
    assert written(VERDICTS, events=None, verdicts=False) == ""
