"""The records of interface.md: their keys, and that JSON takes every one."""

import dataclasses
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model import codes
from sigtrace.model.causes import Severity
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Result, Task
from sigtrace.model.finding import Certainty, Ended, Finding, Mechanism, ProcessEnd, SenderRole, Shutdown
from sigtrace.model.record import event_record, rfc3339, shutdown_record, task_record, verdict_record, workload_record
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, OomScope, Workload, WorkloadKind

# Word for word from interface.md, "Records".
COMMON = {"schema", "type", "time"}  # and `seq`, which the sink counts
TASK = {"pid", "tid", "ns_pid", "comm", "start_ns", "uid", "cgroup_id"}
WORKLOAD = set("kind runtime container_id container_name image pod namespace pod_uid node cgroup".split())
SIGNAL = set(
    "kind signal signo result disposition blocked si_code target target_workload sender sender_workload".split()
)
EXIT = set("kind task workload exit_code exit_signal core_dumped main_process".split())
FINDING = set(
    "code cause severity certainty workload subject parent signal count first_time window_s message advice evidence "
    "trace_id".split()
)
SHUTDOWN = set(
    "outcome cause stop_signal requested_by scope grace_s grace_limit_s pre_stop_s pre_stop_kind duration_s "
    "wait_status status_code processes findings".split()
)
WALL = 1_700_000_000_123_456_789

TEXT = st.text(max_size=8)
TASKS = st.builds(
    Task,
    pid=st.integers(0, 2**32),
    start_ns=st.integers(0, 2**64),
    comm=TEXT,
    uid=st.none() | st.integers(0, 2**32),
    argv=st.none() | st.lists(TEXT).map(tuple),
    ancestry=st.lists(TEXT).map(tuple),
)
WORKLOADS = st.builds(
    Workload, st.sampled_from(WorkloadKind), st.integers(0, 2**64), pod=st.none() | TEXT, container_id=st.none() | TEXT
)
EVENTS = st.builds(
    Event,
    time_ns=st.integers(0, 2**62),
    wall_ns=st.integers(0, 2**62),
    kind=st.sampled_from(Kind),
    task=st.none() | TASKS,
    sender=st.none() | TASKS,
    signo=st.integers(0, 255),
    result=st.none() | st.sampled_from(Result),
    disposition=st.none() | st.sampled_from(Disposition),
    si_code=st.none() | st.integers(-(2**31), 2**31 - 1),
    info=st.none() | st.sampled_from(Info),
    blocked=st.none() | st.booleans(),
    wait_status=st.none() | st.builds(WaitStatus, st.integers(-(2**31), 2**31 - 1)),
    loss=st.none() | st.sampled_from(Loss),
    count=st.integers(0, 2**64),
)
SECONDS = st.none() | st.floats(0, 1e9)
FINDINGS = st.builds(
    Finding,
    code=st.sampled_from(list(codes.CODES)),
    cause=TEXT,
    severity=st.sampled_from(Severity),
    certainty=st.sampled_from(Certainty),
    time_ns=st.integers(0, 2**62),
    wall_ns=st.integers(0, 2**62),
    workload=st.none() | WORKLOADS,
    subject=st.none() | TASKS,
    message=TEXT,
    advice=TEXT,
    parent=st.none() | TASKS,
    signo=st.integers(0, 64),
    window_s=SECONDS,
    evidence=st.lists(EVENTS, max_size=3).map(tuple),
    mechanism=st.none() | st.sampled_from(Mechanism),
    sender_role=st.none() | st.sampled_from(SenderRole),
    origin=st.none() | TASKS,
)
SHUTDOWNS = st.builds(
    Shutdown,
    outcome=st.sampled_from(list(codes.OUTCOMES)),
    cause=st.none() | TEXT,
    time_ns=st.integers(0, 2**62),
    wall_ns=st.integers(0, 2**62),
    workload=WORKLOADS,
    main=TASKS,
    wait_status=st.builds(WaitStatus, st.integers(0, 0xFFFF)),
    requested_by=st.none() | st.sampled_from(SenderRole),
    grace_s=SECONDS,
    duration_s=SECONDS,
    processes=st.lists(
        st.builds(
            ProcessEnd,
            TASKS,
            st.none() | st.integers(0, 2**62),
            st.none() | st.integers(0, 2**62),
            st.none() | st.sampled_from(Ended),
        ),
        max_size=3,
    ).map(tuple),
    findings=st.lists(TEXT).map(tuple),
    scope=st.none() | st.sampled_from(["pod", "container"]),
    pre_stop_s=SECONDS,
    pre_stop_kind=st.none() | st.sampled_from(["exec", "http", "sleep"]),
    oom_scope=st.none() | st.sampled_from(OomScope),
    first_victim=st.none() | TASKS,
    origin=st.none() | TASKS,
)


def as_json(record):
    """As the sink writes it: no NaN, nothing that json does not know."""
    return json.loads(json.dumps(record, allow_nan=False))


@given(EVENTS, st.none() | WORKLOADS, st.none() | WORKLOADS)
def test_every_event_is_json_with_the_keys_of_its_kind(event, workload, sender_workload):
    record = as_json(event_record(Observation(event, workload, sender_workload)))
    assert (record["schema"], record["type"], record["kind"]) == (1, "event", event.kind.value)
    keys = set(record)
    if event.kind in {Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER}:
        assert keys == COMMON | SIGNAL
    elif event.kind is Kind.LOST:
        assert keys == COMMON | {"kind", "cause", "count"}
    elif event.wait_status:
        assert keys == COMMON | EXIT
        assert (record["exit_code"] is None) != (record["exit_signal"] is None)
    else:
        assert keys == COMMON | {"kind", "task", "workload"}


@given(FINDINGS)
def test_every_finding_is_json_with_the_contracts_keys(finding):
    record = as_json(verdict_record(finding))
    assert record["type"] == "finding"
    assert set(record) == COMMON | FINDING | {"mechanism", "sender_role", "origin", "closing"}
    assert len(record["evidence"]) == len(finding.evidence)
    assert {e["type"] for e in record["evidence"]} <= {"event"}


@given(SHUTDOWNS)
def test_every_shutdown_is_json_with_the_contracts_keys(shutdown):
    record = as_json(verdict_record(shutdown))
    assert record["type"] == "shutdown"
    assert set(record) == COMMON | SHUTDOWN | {
        "task",
        "workload",
        "oom_scope",
        "first_victim",
        "origin",
        "processes_omitted",
    }
    assert set(record["wait_status"]) in ({"exited"}, {"signaled"})
    assert all(set(p) == {"task", "signalled_at", "exited_at", "ended"} for p in record["processes"])


BARE = Shutdown("oom", None, 0, 0, Workload(WorkloadKind.CONTAINER, 1), Task(1, 1), WaitStatus(9))


def test_an_oom_names_its_scope_its_first_victim_and_whose_end_was_passed_on():
    record = shutdown_record(BARE)
    assert (record["oom_scope"], record["first_victim"], record["origin"]) == (None, None, None)
    full = dataclasses.replace(BARE, oom_scope=OomScope.POD, first_victim=Task(7, 8), origin=Task(9, 10))
    record = as_json(shutdown_record(full))
    assert (record["oom_scope"], record["first_victim"]["pid"], record["origin"]["pid"]) == ("pod", 7, 9)


def test_a_pre_stop_hook_and_the_scope_of_the_stop_are_told():
    full = dataclasses.replace(BARE, pre_stop_s=2.5, pre_stop_kind="exec", scope="pod")
    record = as_json(shutdown_record(full))
    assert (record["pre_stop_s"], record["pre_stop_kind"], record["scope"]) == (2.5, "exec", "pod")


@pytest.mark.parametrize("main", [False, True])
def test_an_exit_says_whether_it_was_the_main_processs(main):
    event = Event(1, WALL, Kind.EXIT, Task(5, 6), wait_status=WaitStatus(137 << 8))
    record = event_record(Observation(event, Workload(WorkloadKind.CONTAINER, 9), main=main))
    assert (record["main_process"], record["exit_code"], record["exit_signal"]) == (main, 137, None)
    assert record["core_dumped"] is False


def test_what_is_not_known_is_null_and_argv_is_left_out():
    assert workload_record(None) is task_record(None) is None
    assert set(workload_record(Workload(WorkloadKind.HOST, 1))) == WORKLOAD
    assert set(task_record(Task(1, 2))) == TASK
    assert task_record(Task(1, 2))["ns_pid"] is None
    assert set(task_record(Task(1, 2, argv=()))) == TASK | {"argv"}
    assert set(task_record(Task(1, 2), sender=True)) == TASK | {"ancestry"}


def test_a_signal_reads_as_the_contract_says():
    event = Event(
        1,
        WALL,
        Kind.SIGNAL_GENERATE,
        Task(5, 6, "sh", ns_pid=1),
        Task(7, 8, "runc", ancestry=("containerd-shim",)),
        signo=15,
        result=Result.IGNORED,
        disposition=Disposition.DEFAULT,
        blocked=False,
        si_code=0,
    )
    record = event_record(Observation(event, Workload(WorkloadKind.CONTAINER, 9)))
    assert record["time"] == "2023-11-14T22:13:20.123456789Z"
    assert (record["signal"], record["signo"]) == ("SIGTERM", 15)
    assert (record["result"], record["disposition"], record["blocked"]) == ("ignored", "default", False)
    assert (record["target"]["ns_pid"], record["sender"]["ancestry"]) == (1, ["containerd-shim"])
    assert (record["target_workload"]["kind"], record["sender_workload"]) == ("container", None)


def test_results_and_dispositions_have_the_contracts_words():
    assert [r.word for r in Result] == ["delivered", "ignored", "already_pending", "overflow", "lose_info"]
    assert [d.word for d in Disposition] == ["default", "ignore", "handler"]
    assert {k.value for k in Kind} >= set("signal_generate signal_deliver exit reap exec oom_kill lost".split())


@given(st.integers(0, 2**63))
def test_times_have_nine_digits_and_lose_none(wall_ns):
    text = rfc3339(wall_ns)
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", text)
    assert match
    seconds = datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp()
    assert int(seconds) * 10**9 + int(match[2]) == wall_ns
