"""The sink: what becomes a span, what waits for its shutdown, and what is told alone."""

import dataclasses

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import ids
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.model.workload import WorkloadKind
from sigtrace.pipeline import Pipeline
from sigtrace.sinks.otlp import sink as module
from sigtrace.sinks.otlp.ledger import Tally
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import Otlp, Pods
from tests.receivers.strict import Checker
from tests.unit.detectors.events import MS, Container, S, story
from tests.unit.detectors.lives import LIVES, whole
from tests.unit.sinks.otlp.telling import BOOT, LONG, NODE, of


class Exporter:
    """Takes everything."""

    def __init__(self, *_, **__):
        self.parts = []
        self.counts = []
        self.closed = 0

    def put_spans(self, count, build, settled=None):
        self.counts.append(count)
        self.parts.append(build())
        if settled:
            settled()
        return True

    def ledger(self):
        return {"spans": Tally()}

    def close(self, deadline_s):
        self.closed += 1
        return "7 spans could not be sent"


@pytest.fixture
def sink(monkeypatch):
    """A function that makes one; what it gave is in ``exporter``."""
    monkeypatch.setattr(module, "Exporter", Exporter)
    told = []

    def make(**given):
        endpoint = object()
        settings = OtlpSettings(traces=given.pop("traces", endpoint), exited=given.pop("exited", False))
        one = Otlp(settings, BOOT, NODE, tell=told.append, **given)
        one.told = told
        return one

    return make


def fed(sink, *steps, until=LONG, end=True):
    pipeline = Pipeline(Chain(), [sink])
    for observation in sorted((o for step in steps for o in step), key=lambda o: o.event.time_ns):
        pipeline.feed(observation)
    pipeline.advance(until)
    if end:
        pipeline.end()
    return spans_of(sink)


def spans_of(sink):
    checker = Checker()
    for part in sink.exporter.parts:
        checker.take_traces(part)
    assert checker.finish() == []
    assert len(checker.spans) == sum(sink.exporter.counts)
    return checker.spans


def names(spans):
    return [span.name for span in spans]


def test_a_finding_about_the_main_process_is_an_event_of_the_root_and_no_span(sink):
    spans = fed(sink(), whole("dropped", Container(1), S))
    assert names(spans) == ["container.shutdown", "process.shutdown", "process.shutdown"]
    codes = [of(event)["sigtrace.finding.code"] for event in spans[0].events if event.name == "sigtrace.finding"]
    assert codes == ["signal-dropped", "killed"]


@pytest.mark.parametrize("name", LIVES)
def test_every_life_gives_one_root_or_none_and_its_other_findings(sink, name):
    spans = fed(sink(), whole(name, Container(1), S))
    roots = [span for span in spans if span.name == "container.shutdown"]
    outcome = LIVES[name][2].split("/")[0]
    assert [of(root)["sigtrace.outcome"] for root in roots] == ([] if outcome == "exited" else [outcome])
    told = [of(e)["sigtrace.finding.code"] for root in roots for e in root.events if e.name == "sigtrace.finding"]
    alone = [of(span)["sigtrace.finding.code"] for span in spans if span.name == "sigtrace.finding"]
    assert sorted(told + alone) == sorted(code.split("/")[0] for code in LIVES[name][1])


def test_who_exits_by_itself_makes_a_span_only_if_asked(sink):
    assert fed(sink(), whole("job", Container(1), S)) == []
    assert names(fed(sink(exited=True), whole("job", Container(1), S))) == ["container.shutdown", "process.shutdown"]


def test_a_sandbox_makes_nothing(sink):
    shutdown, findings = story(whole("dropped", Container(1), S), until=LONG)
    one = sink()
    for verdict in (*findings, shutdown):
        pause = dataclasses.replace(verdict.workload, kind=WorkloadKind.SANDBOX)
        one.verdict(dataclasses.replace(verdict, workload=pause))
    one.close()
    assert one.exporter.parts == []


def test_a_stop_signal_that_nothing_follows_is_told_without_waiting(sink):
    one = sink()
    spans = fed(one, whole("unanswered", Container(1), S)[:-1], until=89 * S, end=False)
    assert names(spans) == ["sigtrace.finding"] * 2
    assert {of(span)["sigtrace.finding.code"] for span in spans} == {"signal-dropped", "stop-unanswered"}


def test_a_finding_whose_shutdown_never_comes_is_told_after_two_minutes(sink):
    _, findings = story(whole("dropped", Container(1), S), until=LONG)
    one = sink()
    one.verdict(findings[0])
    one.pass_time(findings[0].time_ns + 119 * S)
    assert one.exporter.parts == []
    one.pass_time(findings[0].time_ns + 121 * S)
    assert names(spans_of(one)) == ["sigtrace.finding"]


def test_the_end_tells_what_still_waits_and_what_was_lost(sink):
    _, findings = story(whole("dropped", Container(1), S), until=LONG)
    one = sink()
    one.verdict(findings[0])
    one.close()
    one.close()
    assert names(spans_of(one)) == ["sigtrace.finding"]
    assert one.told == ["OTLP: 7 spans could not be sent"]
    assert one.exporter.closed == 1


def test_findings_that_wait_are_bounded(sink, monkeypatch):
    monkeypatch.setattr(module, "_HELD_MAX", 3)
    one = sink()
    for n in range(1, 9):
        _, findings = story(whole("dropped", Container(n), S), until=LONG)
        one.verdict(findings[0])
    assert len(one._held) == 3
    assert len(one.exporter.parts) == 5


def test_findings_of_one_process_that_wait_are_bounded(sink):
    _, findings = story(whole("dropped", Container(1), S), until=LONG)
    one = sink()
    for n in range(500):
        one.verdict(dataclasses.replace(findings[0], time_ns=findings[0].time_ns + n))
    assert sum(map(len, one._held.values())) <= module._HELD_OF_ONE
    one.close()
    assert len(spans_of(one)) == 500


def test_without_an_endpoint_for_traces_it_does_nothing(sink):
    assert fed(sink(traces=None), whole("dropped", Container(1), S)) == []


def test_containers_of_a_pod_that_stop_together_are_linked_and_others_are_not(sink):
    pod = {"pod": "api", "pod_uid": "u-1", "namespace": "ns"}
    boxes = [Container(n, **pod) for n in (1, 2)] + [Container(3, pod="other", pod_uid="u-2"), Container(4, **pod)]
    lives = [whole("dropped", box, S + n * MS) for n, box in enumerate(boxes[:3])]
    much_earlier = whole("killed", boxes[3], S)
    later = [[dataclasses.replace(o, event=_shifted(o.event, 1000 * S)) for o in life] for life in lives]
    spans = fed(sink(), much_earlier, *later)
    roots = {of(s)["process.pid"]: s for s in spans if "sigtrace.process.main" in of(s)}
    trace = {pid: span.trace_id for pid, span in roots.items()}
    links = {s.trace_id: {link.trace_id for link in s.links} for s in spans if s.name == "container.shutdown"}
    there = {span.trace_id: span.span_id for span in spans if span.name == "container.shutdown"}
    # The first to be told knows those that have been asked as well.
    assert links == {trace[100]: {trace[200]}, trace[200]: {trace[100]}, trace[300]: set(), trace[400]: set()}
    for span in spans:
        assert all(there[link.trace_id] == link.span_id for link in span.links)


def _shifted(event, by):
    return dataclasses.replace(event, time_ns=event.time_ns + by, wall_ns=event.wall_ns + by)


def test_what_is_known_of_pods_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_PODS_MAX", 3)
    monkeypatch.setattr(module, "_IN_POD_MAX", 4)
    pods = Pods(BOOT)
    for n in range(1, 30):
        box = Container(n, pod_uid=f"u-{n % 7}")
        pods.note(box.kill(n * MS))
    assert len(pods._pods) == 3
    assert all(len(pod) <= 4 for pod in pods._pods.values())


def test_an_agent_that_was_started_again_gives_the_same_ids(sink):
    first = fed(sink(), whole("kept waiting", Container(1, container_id="ab"), S))
    again = fed(sink(), whole("kept waiting", Container(1, container_id="ab"), S))
    assert [s.SerializeToString() for s in first] == [s.SerializeToString() for s in again]


def test_records_name_the_trace_that_spans_are_in(sink):
    shutdown, findings = story(whole("dropped", Container(1), S), until=LONG)
    one = sink()
    for verdict in (*findings, shutdown):
        one.verdict(verdict)
    traces = {span.trace_id.hex() for span in spans_of(one)}
    assert {ids.verdict_trace_id(BOOT, verdict) for verdict in (*findings, shutdown)} == traces
    assert isinstance(shutdown, Shutdown)
    assert all(isinstance(finding, Finding) for finding in findings)


def test_a_trace_that_has_gone_out_settles_its_shutdown_and_the_findings_in_it(sink):
    shutdown, findings = story(whole("dropped", Container(1), S), until=LONG)
    settled = []
    one = sink(settled=settled.extend)
    for finding in findings:
        one.verdict(finding)
    assert settled == [], "they wait for it"
    one.verdict(shutdown)
    assert settled == [shutdown, *findings]
