"""A shutdown is a tree of spans: what is in it, and that nothing hostile breaks it."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.model import ids, signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Loss, Task
from sigtrace.model.finding import Certainty, Ended, Finding, ProcessEnd, Shutdown
from sigtrace.model.redaction import redacted
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Workload, WorkloadKind
from sigtrace.sinks.otlp.events import EVENTS_MAX
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.spans import PROCESSES_MAX, Alone, Sibling, Tree, _harmless
from tests.unit.detectors.events import MS, WALL, Container, S, run, story
from tests.unit.detectors.lives import LIVES, whole
from tests.unit.sinks.otlp.telling import BOOT, LONG, NODE, named, of, raw_of, told

POD = {
    "container_id": "ab" * 32,
    "pod": "api-7d9f",
    "namespace": "default",
    "pod_uid": "u-1",
    "image": "registry:5000/api:1.2",
    "runtime": "containerd",
    "node": NODE,
}


def tree_of(name, **workload):
    box = Container(1, **POD | workload)
    shutdown, findings = story(whole(name, box, S), until=LONG)
    return Tree(shutdown, tuple(f for f in findings if ids.in_shutdown(f)))


def test_a_dropped_stop_signal_makes_a_red_tree_with_the_signals_as_events():
    resource, spans = told(tree_of("dropped"))
    root, *processes = spans
    assert (root.name, root.kind, root.parent_span_id) == ("container.shutdown", 1, b"")
    assert {span.parent_span_id for span in processes} == {root.span_id}
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (WALL + S + MS, WALL + 3 * S + 2 * MS + 10_000)
    attributes = of(root)
    assert attributes["sigtrace.outcome"] == attributes["error.type"] == "escalated"
    assert attributes["sigtrace.cause"] == "dropped"
    assert attributes["sigtrace.signal.name"] == "SIGTERM"
    assert attributes["sigtrace.exit.status"] == "SIGKILL"
    assert "process.exit.code" not in attributes
    assert attributes["sigtrace.grace.duration"] == pytest.approx(1.999)
    assert root.status.code == 2
    assert root.status.message == "SIGKILL after 2.0 s: it never heard SIGTERM"
    sent = [event for event in root.events if event.name == "sigtrace.signal.generate"]
    (term, kill) = sent
    assert of(term)["sigtrace.signal.name"] == "SIGTERM"
    assert (of(term)["sigtrace.signal.result"], of(term)["sigtrace.signal.disposition"]) == ("ignored", "default")
    assert of(term)["sigtrace.sender.process.executable.name"] == "runc"
    assert of(term)["sigtrace.sender.process.ancestry"] == ["containerd-shim", "systemd"]
    assert of(kill)["sigtrace.signal.name"] == "SIGKILL"
    assert kill.time_unix_nano - term.time_unix_nano == 2 * S - MS
    found = [of(event) for event in root.events if event.name == "sigtrace.finding"]
    assert [f["sigtrace.finding.code"] for f in found] == ["signal-dropped", "killed"]
    assert resource == {
        "service.name": "box1",
        "host.name": NODE,
        "k8s.node.name": NODE,
        "k8s.namespace.name": "default",
        "k8s.pod.name": "api-7d9f",
        "k8s.pod.uid": "u-1",
        "k8s.container.name": "box1",
        "container.id": "ab" * 32,
        "container.name": "box1",
        "container.runtime.name": "containerd",
        "container.image.name": "registry:5000/api",
        "container.image.tags": ["1.2"],
    }


def test_each_process_has_a_bar_from_when_it_was_told_to_when_it_left():
    _, spans = told(tree_of("kept waiting"))
    main, child = named(spans)
    assert of(main)["sigtrace.process.main"]
    assert (of(main)["process.pid"], of(main)["process.vpid"]) == (100, 1)
    assert of(main)["sigtrace.process.ended"] == "killed"
    assert (of(child)["process.executable.name"], of(child)["process.vpid"]) == ("app", 2)
    assert of(child)["sigtrace.process.ended"] == of(child)["error.type"] == "torn-down"
    assert main.start_time_unix_nano == WALL + S + MS
    assert main.end_time_unix_nano == WALL + 4 * S + MS
    assert child.end_time_unix_nano == WALL + 4 * S + 2 * MS + 10_000


def test_the_events_of_a_process_are_on_its_own_span_too():
    _, spans = told(tree_of("graceful"))
    (main,) = named(spans)
    assert [event.name for event in main.events] == [event.name for event in spans[0].events]
    assert "sigtrace.signal.generate" in {event.name for event in main.events}


@pytest.mark.parametrize("name", [name for name, (_, _, outcome) in LIVES.items() if not outcome.startswith("exited")])
def test_every_life_makes_a_valid_tree_whose_status_is_its_outcomes(name):
    tree = tree_of(name)
    _, spans = told(tree)
    failed = tree.shutdown.outcome in {"oom", "crashed", "escalated", "killed", "incomplete"}
    assert spans[0].status.code == (2 if failed else 0)
    assert (of(spans[0]).get("error.type") == tree.shutdown.outcome) == failed
    # A red bar would make the whole trace red in every backend.
    assert failed or not any(span.status.code for span in spans)
    assert spans[0].start_time_unix_nano <= min(span.start_time_unix_nano for span in spans)


def test_without_a_stop_signal_the_root_begins_at_the_fatal_event():
    for name, began in (("killed", 2 * S), ("oom", 2 * S)):
        tree = tree_of(name)
        assert told(tree)[1][0].start_time_unix_nano == WALL + began
    crash = tree_of("crashed")
    root = told(crash)[1][0]
    assert root.start_time_unix_nano == crash.shutdown.wall_ns


def test_the_same_verdict_makes_the_same_bytes_and_another_boot_other_ids():
    assert raw_of(tree_of("dropped")) == raw_of(tree_of("dropped"))
    ours, theirs = (told(tree_of("dropped"), boot=boot)[1] for boot in (BOOT, "another"))
    assert {s.span_id for s in ours}.isdisjoint({s.span_id for s in theirs})


def test_containers_that_stop_together_are_linked():
    siblings = (Sibling("ab" * 16, "sidecar"), Sibling("cd" * 16))
    _, spans = told(dataclasses.replace(tree_of("graceful"), siblings=siblings))
    first, second = spans[0].links
    assert (first.trace_id.hex(), first.span_id.hex()) == ("ab" * 16, ids.shutdown_span_id("ab" * 16))
    assert of(first) == {"k8s.container.name": "sidecar"}
    assert of(second) == {}


def processes(count, ended=Ended.HANDLED, took=lambda n: n):
    return tuple(
        ProcessEnd(Task(1000 + n, n + 1, f"w{n}", ns_pid=n + 2), WALL, WALL + took(n) * MS, ended) for n in range(count)
    )


def test_of_too_many_processes_the_main_one_the_killed_and_the_slowest_stay():
    shutdown = tree_of("graceful").shutdown
    quick = processes(400)
    killed = dataclasses.replace(quick[0], ended=Ended.KILLED)
    _, spans = told(Tree(dataclasses.replace(shutdown, processes=(shutdown.processes[0], killed, *quick[1:]))))
    kept = [of(span)["process.executable.name"] for span in named(spans)]
    assert len(kept) == PROCESSES_MAX
    assert kept[:2] == ["init", "w0"]
    assert set(kept[2:]) == {f"w{n}" for n in range(400 - PROCESSES_MAX + 2, 400)}
    assert of(spans[0])["sigtrace.processes.omitted"] == 401 - PROCESSES_MAX


def test_a_process_that_is_told_twice_has_one_span():
    shutdown = tree_of("graceful").shutdown
    doubled = dataclasses.replace(shutdown, processes=shutdown.processes * 2)
    assert len(told(Tree(doubled))[1]) == 2


def test_events_are_128_at_most_with_the_last_among_them_and_the_rest_is_counted():
    tree = tree_of("graceful")
    term = next(e for e in tree.shutdown.evidence if e.kind is Kind.SIGNAL_GENERATE)
    more = tuple(dataclasses.replace(term, time_ns=term.time_ns + n, wall_ns=term.wall_ns + n) for n in range(300))
    _, spans = told(Tree(dataclasses.replace(tree.shutdown, evidence=more)))
    assert len(spans[0].events) == EVENTS_MAX
    assert spans[0].events[-1].time_unix_nano == more[-1].wall_ns
    assert spans[0].dropped_events_count == 300 - EVENTS_MAX


def test_command_lines_are_redacted_in_spans_and_in_messages():
    secret = "tr0ub4dor"
    box = Container(1, **POD)
    argv = ("/bin/sh", "-c", f"gunicorn --password={secret} app")
    lives = whole("dropped", box, S)
    seen = [
        dataclasses.replace(o, event=dataclasses.replace(o.event, task=dataclasses.replace(o.event.task, argv=argv)))
        for o in lives
    ]
    shutdown, findings = story(seen, until=LONG)
    assert secret in f"{shutdown}"
    for telling in (Tree(shutdown, tuple(findings)), *map(Alone, findings)):
        assert secret not in f"{told(telling)}"


@pytest.mark.parametrize("name", LIVES)
def test_messages_are_redacted_as_everywhere_else(name):
    for finding in story_findings(name):
        assert _harmless(finding).message == redacted(finding).message
        assert _harmless(finding).advice == redacted(finding).advice


def story_findings(name):
    return [v for v in run(Chain(), whole(name, Container(1, **POD), S), until=LONG) if isinstance(v, Finding)]


def test_a_finding_of_its_own_is_a_closed_span_from_its_first_event_on():
    _, findings = story(whole("zombies", Container(1, **POD), S), until=LONG)
    (finding,) = findings
    resource, (span,) = told(Alone(finding))
    assert (span.name, span.parent_span_id) == ("sigtrace.finding", b"")
    assert span.trace_id.hex() == ids.verdict_trace_id(BOOT, finding)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (finding.first_wall_ns, finding.wall_ns)
    attributes = of(span)
    assert attributes["sigtrace.finding.code"] == "zombie-unreaped"
    assert attributes["sigtrace.cause"] == "pid1-does-not-reap"
    assert attributes["sigtrace.certainty"] == "observed"
    assert attributes["sigtrace.finding.count"] == 4
    assert attributes["sigtrace.parent.process.executable.name"] == "init"
    assert resource["k8s.pod.name"] == "api-7d9f"


def test_what_sigtrace_lost_is_told_by_itself():
    lost = Finding(
        "events-lost", "ring-full", Severity.WARNING, Certainty.OBSERVED, 5, WALL + 5, None, None, "7 events", "look",
        evidence=(Event(5, WALL + 5, Kind.LOST, loss=Loss.RING_FULL, count=7),), first_wall_ns=WALL,
    )  # fmt: skip
    resource, (span,) = told(Alone(lost), OtlpSettings(resource={"k8s.pod.name": "sigtrace-x"}))
    assert (resource["service.name"], resource["host.name"]) == ("sigtrace", NODE)
    assert resource["k8s.pod.name"] == "sigtrace-x"
    assert list(span.events) == []


def test_a_containers_resource_takes_what_the_environment_says_of_the_cluster_not_of_the_agent():
    environment = {
        "k8s.cluster.name": "c1",
        "service.name": "x",
        "k8s.pod.name": "sigtrace-x",
        "k8s.daemonset.name": "d",
    }
    resource, _ = told(tree_of("graceful"), OtlpSettings(resource=environment, service_name="x"))
    assert resource["k8s.cluster.name"] == "c1"
    assert resource["service.name"] == "box1"
    assert resource["k8s.pod.name"] == "api-7d9f"
    assert "k8s.daemonset.name" not in resource


def test_the_annotation_names_the_service_and_a_nameless_container_has_one_too():
    assert told(tree_of("graceful", service_name="checkout"))[0]["service.name"] == "checkout"
    assert told(tree_of("graceful", container_name=None))[0]["service.name"] == "ab" * 6
    bare = {**dict.fromkeys(POD), "container_name": None, "cgroup": "/lab/box"}
    assert told(tree_of("graceful", **bare))[0]["service.name"] == "box"
    assert told(tree_of("graceful", **bare | {"cgroup": None}))[0]["service.name"] == "unknown_service"


NAMES = st.text(alphabet=st.characters(), max_size=40) | st.just("x\udcff\u202e" * 700)
TIMES = st.integers(-(2**70), 2**70)
WORDS = st.none() | st.lists(st.text(max_size=40), max_size=6).map(tuple)
TASKS = st.builds(
    Task, st.integers(1, 2**22), st.integers(0, 2**63), NAMES, ns_pid=st.integers(0, 2**22), argv=WORDS,
    uid=st.none() | st.integers(0, 2**32), ancestry=st.lists(NAMES, max_size=8).map(tuple),
)  # fmt: skip
EVENTS = st.builds(Event, TIMES, TIMES, st.sampled_from(Kind), TASKS, st.none() | TASKS, signo=st.integers(1, 64))
ENDS = st.builds(ProcessEnd, TASKS, st.none() | TIMES, st.none() | TIMES, st.none() | st.sampled_from(Ended))
MAYBE = st.none() | NAMES
WORKLOADS = st.builds(
    Workload, st.just(WorkloadKind.CONTAINER), st.integers(0, 2**64), NAMES, NAMES, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE,
    MAYBE, node=MAYBE,
)  # fmt: skip
FINDINGS = st.builds(
    Finding, NAMES, NAMES, st.sampled_from(Severity), st.sampled_from(Certainty), TIMES, TIMES, WORKLOADS,
    st.none() | TASKS, NAMES, NAMES, first_wall_ns=st.just(0) | TIMES, evidence=st.lists(EVENTS, max_size=4).map(tuple),
)  # fmt: skip
OUTCOMES = st.sampled_from("oom crashed escalated killed incomplete terminated graceful exited".split())
SHUTDOWNS = st.builds(
    Shutdown, OUTCOMES, st.none() | NAMES, TIMES, TIMES, WORKLOADS, TASKS, st.integers(0, 0xFFFF).map(WaitStatus),
    stop_signo=st.sampled_from([0, signals.SIGTERM]), grace_s=st.none() | st.floats(0, 1e6),
    duration_s=st.none() | st.floats(0, 1e6), processes=st.lists(ENDS, max_size=6).map(tuple),
    evidence=st.lists(EVENTS, max_size=6).map(tuple), findings=st.lists(NAMES, max_size=3).map(tuple),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SHUTDOWNS, st.lists(FINDINGS, max_size=3))
def test_whatever_a_recording_holds_makes_a_valid_tree(shutdown, findings):
    told(Tree(shutdown, tuple(findings)))


@settings(max_examples=60, deadline=None)
@given(FINDINGS)
def test_whatever_a_recording_holds_makes_a_valid_finding(finding):
    told(Alone(finding))
