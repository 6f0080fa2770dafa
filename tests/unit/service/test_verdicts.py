"""Verdicts over the wire come back as they were, and nothing that an agent can send breaks a reader."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.model.event import Task
from sigtrace.model.finding import Finding, ProcessEnd, Shutdown
from sigtrace.model.record import verdict_record
from sigtrace.service.verdicts import VERDICT_MAX, UnknownVerdictError, VerdictDecoder, VerdictEncoder
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style
from tests.unit.service.conftest import finding, recorded, shutdown


def back(verdict):
    return VerdictDecoder().verdict(json.loads(VerdictEncoder().json(verdict)))


def test_every_verdict_of_the_recordings_comes_back_as_it_was():
    encoder, decoder = VerdictEncoder(), VerdictDecoder()
    for verdict in recorded():
        raw = encoder.json(verdict)
        assert b"\n" not in raw
        again = decoder.verdict(json.loads(raw))
        assert again == verdict
        assert json.dumps(verdict_record(again)) == json.dumps(verdict_record(verdict))


def test_every_field_of_a_verdict_is_sent():
    for kind in (Finding, Shutdown):
        fields = {f.name for f in dataclasses.fields(kind)}
        seen = {
            f
            for v in recorded()
            if type(v) is kind
            for f in json.loads(VerdictEncoder().json(v))[kind.__name__.lower()]
        }
        # What no recording has is sent all the same: the codec goes by the dataclass.
        assert seen <= fields
        assert len(seen) > len(fields) * 0.6


def test_a_verdict_that_is_too_long_loses_evidence_and_processes_and_is_still_told():
    many = tuple(ProcessEnd(Task(n, n, "worker", argv=("x" * 200, str(n)))) for n in range(5000))
    short = back(shutdown(processes=many))
    assert (short.outcome, len(short.processes), short.evidence) == ("escalated", 64, ())
    assert len(VerdictEncoder().json(shutdown(processes=many))) <= VERDICT_MAX


def test_a_verdict_of_a_later_version_is_passed_over_by_its_own_error():
    for verdict in (finding(code="new-code"), finding(cause="new-cause"), shutdown(outcome="vanished")):
        with pytest.raises(UnknownVerdictError):
            back(verdict)
    with pytest.raises(UnknownVerdictError):
        VerdictDecoder().verdict({"tasks": [], "prophecy": {}})


def test_a_field_of_a_later_version_is_passed_over():
    value = json.loads(VerdictEncoder().json(finding()))
    value["finding"]["mood"] = {"grim": [1]}
    value["colour"] = "red"
    assert VerdictDecoder().verdict(value) == finding()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["finding"].update(subject=9),
        lambda v: v["finding"].update(wall_ns=1 << 70),
        lambda v: v["finding"].update(wall_ns="now"),
        lambda v: v["finding"].update(signo=65),
        lambda v: v["finding"].update(evidence={"a": 1}),
        lambda v: v["finding"].update(workload=[]),
        lambda v: v.update(tasks={}),
        lambda v: v.update(tasks=[[]]),
    ],
)  # fmt: skip
def test_what_no_agent_writes_is_a_value_error(change):
    value = json.loads(VerdictEncoder().json(finding()))
    change(value)
    with pytest.raises(ValueError, match=r"."):
        VerdictDecoder().verdict(value)


def test_text_that_a_terminal_acts_on_is_made_printable():
    value = json.loads(VerdictEncoder().json(finding()))
    value["finding"]["message"] = "\x1b[2J" + "\u202e"
    assert VerdictDecoder().verdict(value).message == "\\x1b[2J\\u202e"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({f.name for kind in (Finding, Shutdown) for f in dataclasses.fields(kind)})


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([finding(), shutdown()]), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3), JSON)
def test_whatever_an_agent_sends_is_a_verdict_that_can_be_told_or_a_value_error(verdict, changes, task):
    value = json.loads(VerdictEncoder().json(verdict))
    value["finding" if isinstance(verdict, Finding) else "shutdown"].update(changes)
    value["tasks"].append(task)
    try:
        read = VerdictDecoder().verdict(value)
    except ValueError:
        return
    json.dumps(verdict_record(read))
    told = _Lines()
    story = Story(told, Style())
    story.verdict(read)
    story.close()
    assert all(line.isprintable() for line in told.lines)


class _Lines(LineWriter):
    def __init__(self):
        self.lines = []

    def write(self, text):
        self.lines += text.splitlines()
