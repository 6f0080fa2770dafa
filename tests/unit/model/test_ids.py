"""Ids: the same for the same thing, others for others, never zero."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model import ids
from sigtrace.model.causes import Severity
from sigtrace.model.event import Task
from sigtrace.model.finding import Certainty, Finding, Shutdown
from sigtrace.model.record import verdict_record
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Workload, WorkloadKind
from sigtrace.sinks.story import belongs_to_shutdown
from tests.unit.detectors.events import Container, story
from tests.unit.detectors.lives import whole

BOOT = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
BOX = Workload(WorkloadKind.CONTAINER, 7, container_id="ab" * 32)
MAIN = Task(100, 5, "sh")
FINDING = Finding("killed", "manual", Severity.WARNING, Certainty.HEURISTIC, 9, 1009, BOX, MAIN, "m", "a", main=True)
SHUTDOWN = Shutdown("killed", "manual", 9, 1009, BOX, MAIN, WaitStatus(9))


def test_ids_never_change_from_release_to_release():
    trace = ids.shutdown_trace_id(BOOT, BOX, MAIN)
    assert trace == "e845948dd751c3a66ac7e24b6be7079a"
    assert ids.shutdown_span_id(trace) == "a44b03973b617fe6"


@given(st.text(), st.text(), st.integers(0), st.integers(0))
def test_ids_are_hexadecimal_of_the_right_length_and_never_zero(boot, container, pid, start):
    trace = ids.shutdown_trace_id(boot, dataclasses.replace(BOX, container_id=container), Task(pid, start))
    for name, length in ((trace, 32), (ids.shutdown_span_id(trace), 16), (ids.process_span_id(trace, MAIN), 16)):
        assert len(bytes.fromhex(name)) * 2 == len(name) == length
        assert int(name, 16)


def test_another_boot_container_or_start_of_the_same_container_is_another_trace():
    others = [
        ids.shutdown_trace_id("another", BOX, MAIN),
        ids.shutdown_trace_id(BOOT, dataclasses.replace(BOX, container_id="cd" * 32), MAIN),
        ids.shutdown_trace_id(BOOT, BOX, dataclasses.replace(MAIN, start_ns=6)),  # docker restart
        ids.shutdown_trace_id(BOOT, BOX, dataclasses.replace(MAIN, pid=101)),
    ]
    assert len({ids.shutdown_trace_id(BOOT, BOX, MAIN), *others}) == 5


def test_names_that_come_late_change_no_id():
    named = dataclasses.replace(BOX, pod="api", namespace="default", container_name="web", node="n")
    assert ids.shutdown_trace_id(BOOT, named, MAIN) == ids.shutdown_trace_id(BOOT, BOX, MAIN)
    told = dataclasses.replace(MAIN, comm="bash", argv=("bash", "-c", "x"))
    assert ids.shutdown_trace_id(BOOT, BOX, told) == ids.shutdown_trace_id(BOOT, BOX, MAIN)


def test_a_container_without_an_id_goes_by_its_cgroup():
    bare = dataclasses.replace(BOX, container_id=None)
    other = dataclasses.replace(bare, cgroup_id=8)
    assert ids.shutdown_trace_id(BOOT, bare, MAIN) != ids.shutdown_trace_id(BOOT, other, MAIN)


def test_a_finding_about_the_main_process_is_in_its_shutdowns_trace():
    assert ids.verdict_trace_id(BOOT, FINDING) == ids.verdict_trace_id(BOOT, SHUTDOWN)


def test_other_findings_have_a_trace_of_their_own_and_those_of_a_fold_share_it():
    first = dataclasses.replace(FINDING, main=False, first_ns=1009)
    later = dataclasses.replace(first, time_ns=50, wall_ns=1050, count=10)
    trace = ids.verdict_trace_id(BOOT, first)
    assert trace == ids.verdict_trace_id(BOOT, later) != ids.verdict_trace_id(BOOT, SHUTDOWN)
    assert ids.finding_span_id(trace, first) != ids.finding_span_id(trace, later)


def test_what_belongs_to_a_shutdown_is_what_watch_tells_with_it():
    for name in ("dropped", "kept waiting", "oom", "from inside", "crash loop", "zombies", "hung worker", "unanswered"):
        for finding in story(whole(name, Container(1), 10**9), until=10**12)[1]:
            assert ids.in_shutdown(finding) == belongs_to_shutdown(finding)


def test_a_record_has_its_trace_once_the_boot_is_known():
    assert verdict_record(FINDING)["trace_id"] is None
    assert verdict_record(FINDING, "")["trace_id"] is None
    for verdict in (FINDING, SHUTDOWN):
        assert verdict_record(verdict, BOOT)["trace_id"] == ids.verdict_trace_id(BOOT, verdict)
