"""A container of the lab is stopped, and the strict receiver gets one trace that shows why it took two seconds."""

import dataclasses
import os
from pathlib import Path

import pytest

from sigtrace.capture import run_in_background
from sigtrace.demonstration import Known, Verdicts, capture_for
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.ids import verdict_trace_id
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import Otlp
from tests.receivers.servers import HttpReceiver
from tests.receivers.strict import attributes_of

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
GRACE_S = 2.0
S = 1_000_000_000

#: A shell that waits for three servers, and hears nothing.
THREE = dataclasses.replace(
    SCENARIOS["shell-form"],
    name="three-workers",
    argv=("sh", "-c", "app-server app.conf & app-server app.conf & app-server app.conf & wait"),
)


@pytest.fixture
def receiver():
    with HttpReceiver() as receiver:
        yield receiver


def stopped(scenario, receiver, grace_s):
    """Stops it under a capture with OTLP; returns (what the lab saw, the verdicts, the spans of its container)."""
    settings = OtlpSettings.from_environment(receiver.url, environ={"OTEL_BSP_SCHEDULE_DELAY": "10"})
    told = []
    otlp = Otlp(settings, BOOT_ID, os.uname().nodename, tell=told.append)
    verdicts, known = Verdicts(), Known()
    name = known.add(scenario, f"otlp-{os.getpid()}-{scenario.name}")
    with capture_for("bpf", verdicts, known, sinks=[otlp]) as capture:
        capture.feed.step(0)
        finish = run_in_background(capture)
        try:
            result = run(scenario, grace_s, container=name)
            verdicts.wait_for_shutdown(result.cgroup_id)
        finally:
            finish()
    assert told == []
    tally = otlp.exporter.ledger()["spans"]
    assert (tally.exported, tally.lost, tally.waiting) == (tally.made, 0, 0)
    assert receiver.checker.finish() == []
    ours = [(resource, span) for resource, span in receiver.checker.traces if resource.get("container.name") == name]
    return result, verdicts.of(result.cgroup_id), ours


def named(spans, name):
    return [span for _, span in spans if span.name == name]


def test_a_shell_with_three_workers_makes_one_red_trace_with_a_bar_for_each(receiver):
    result, verdicts, spans = stopped(THREE, receiver, GRACE_S)
    (root,) = named(spans, "container.shutdown")
    processes = named(spans, "process.shutdown")
    assert {span.trace_id.hex() for _, span in spans} == {verdict_trace_id(BOOT_ID, verdict) for verdict in verdicts}
    assert attributes_of(processes[0].attributes)["process.executable.name"] == "sh"
    assert len(processes) == 4
    assert {span.parent_span_id for span in processes} == {root.span_id}
    assert named(spans, "sigtrace.finding") == []
    attributes = attributes_of(root.attributes)
    assert (root.status.code, attributes["error.type"], attributes["sigtrace.cause"]) == (2, "escalated", "dropped")
    assert "it never heard SIGTERM" in root.status.message

    term, kill = (event for event in root.events if event.name == "sigtrace.signal.generate")
    dropped = attributes_of(term.attributes)
    assert (dropped["sigtrace.signal.name"], dropped["sigtrace.signal.result"]) == ("SIGTERM", "ignored")
    assert dropped["sigtrace.signal.disposition"] == "default"
    assert (dropped["process.pid"], dropped["process.vpid"]) == (result.init_pid, 1)
    assert dropped["sigtrace.sender.process.pid"] == os.getpid()
    assert attributes_of(kill.attributes)["sigtrace.signal.name"] == "SIGKILL"
    sent = [signal.time_ns for signal in result.stop.signals]
    # By the lab's own clock; the two events are a system call apart from it.
    assert (kill.time_unix_nano - term.time_unix_nano) / S == pytest.approx((sent[1] - sent[0]) / S, abs=0.5)
    assert (kill.time_unix_nano - term.time_unix_nano) / S >= GRACE_S - 0.01
    assert root.start_time_unix_nano == term.time_unix_nano
    found = [attributes_of(event.attributes) for event in root.events if event.name == "sigtrace.finding"]
    assert {(f["sigtrace.finding.code"], f["sigtrace.cause"]) for f in found} == {
        ("signal-dropped", "shell-form"),
        ("killed", "grace-expired"),
    }
    workers = [attributes_of(span.attributes) for span in processes[1:]]
    assert {worker["sigtrace.process.ended"] for worker in workers} == {"torn-down"}
    assert len({worker["process.pid"] for worker in workers}) == 3
    (resource,) = {tuple(sorted((k, str(v)) for k, v in resource.items())) for resource, _ in spans}
    assert dict(resource)["service.name"] == result.container
    assert dict(resource)["host.name"] == os.uname().nodename


@pytest.mark.parametrize("name", ["exec-form", "main-first", "segfault", "never-waits", "shared-pid", "cgroup-kill"])
def test_other_ends_make_valid_traces_too(receiver, name):
    scenario = SCENARIOS[name]
    _, verdicts, spans = stopped(scenario, receiver, 0.3)
    assert {span.trace_id.hex() for _, span in spans} == {verdict_trace_id(BOOT_ID, verdict) for verdict in verdicts}
    (root,) = named(spans, "container.shutdown")
    assert attributes_of(root.attributes)["sigtrace.outcome"] == scenario.expect.outcome
    # The pause of a pod makes nothing.
    ours = {
        r["service.name"] for r, _ in receiver.checker.traces if r["service.name"].startswith(f"otlp-{os.getpid()}")
    }
    assert not [name for name in ours if name.endswith("-pause")]
