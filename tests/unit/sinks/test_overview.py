"""What the aggregation makes of observations, verdicts and counters."""

import dataclasses
import json
import threading

import pytest

from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Loss, Task
from sigtrace.model.finding import Certainty, Finding, Shutdown
from sigtrace.model.overview import HISTORY, SnapshotDecoder, as_plain, of_plain
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.recorder import run
from sigtrace.sinks.overview import aggregate
from sigtrace.sinks.overview.aggregate import Overview
from sigtrace.sources.base import Counts
from sigtrace.sources.replay import open_recording
from tests.recordings import FOLDER

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND
APP = Workload(WorkloadKind.CONTAINER, 100, container_name="app", asked=True)
WEB = Workload(WorkloadKind.CONTAINER, 200, container_name="web", asked=True)
MAIN = Task(10, SECOND, "sh", ns_pid=1, argv=("sh", "-c", "app"), cgroup_id=100)


def seen(kind, at_s, workload=APP, task=MAIN, *, main=False, **more):
    at_ns = int(at_s * SECOND)
    return Observation(Event(at_ns, WALL + at_ns, kind, task, **more), workload, main=main)


def finding(code="signal-dropped", cause="shell-form", at_s=2, severity=Severity.ERROR, workload=APP, **more):
    at_ns = int(at_s * SECOND)
    return Finding(
        code, cause, severity, Certainty.OBSERVED, at_ns, WALL + at_ns, workload, MAIN, "it was so", "mend it", **more
    )


def shutdown(outcome="escalated", at_s=3, workload=APP):
    at_ns = int(at_s * SECOND)
    return Shutdown(outcome, "dropped", at_ns, WALL + at_ns, workload, MAIN, WaitStatus(9), 15, grace_s=1.0)


@pytest.fixture
def overview():
    made = Overview(source="capture", backend="bpf", node="n1")
    made.newest(0)
    return made


def snapshot(overview, at_s):
    overview.pass_time(int(at_s * SECOND))
    return overview.newest(0)


def row(overview, at_s, cgroup_id=100):
    return snapshot(overview, at_s).row(cgroup_id)


def test_a_container_is_there_from_its_first_event_with_its_main_process(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    found = row(overview, 2)
    assert (found.workload, found.main, found.since_wall_ns) == (APP, MAIN, WALL + SECOND)
    assert (found.ended_wall_ns, found.worst, found.troubles) == (0, None, 0)


@pytest.mark.parametrize("kind", [WorkloadKind.SANDBOX, WorkloadKind.UNIT, WorkloadKind.HOST, WorkloadKind.SESSION])
def test_what_is_no_container_has_no_row(overview, kind):
    overview.observation(seen(Kind.SIGNAL_GENERATE, 1, dataclasses.replace(APP, kind=kind)))
    assert snapshot(overview, 2).rows == ()


def test_a_later_event_without_argv_does_not_take_the_main_process_s_argv_away(overview):
    overview.observation(seen(Kind.EXEC, 1, main=True))
    overview.observation(seen(Kind.SIGNAL_GENERATE, 2, task=dataclasses.replace(MAIN, argv=None), main=True, signo=15))
    assert row(overview, 3).main.argv == ("sh", "-c", "app")


def test_a_container_that_ended_stays_a_while_and_then_goes(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.verdict(shutdown(at_s=3))
    found = row(overview, 4)
    assert (found.outcome, found.ended_wall_ns, found.escalated) == ("escalated", WALL + 3 * SECOND, 1)
    overview.newest(0)
    assert row(overview, 3 + 299) is not None
    assert row(overview, 3 + 302) is None


def test_what_is_told_of_a_container_that_has_gone_brings_no_row_back_for_ever(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.observation(Observation(Event(2 * SECOND, WALL, Kind.CGROUP_RMDIR, cgroup_id=100), APP))
    assert row(overview, 2 + 301) is None
    overview.verdict(finding("killed", count=10, closing=True))
    overview.newest(0)
    found = snapshot(overview, 2 + 303)
    assert (found.rows, len(found.briefs)) == ((), 1)


def test_a_main_process_that_begins_again_in_the_same_cgroup_brings_the_row_back(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.verdict(shutdown(at_s=3))
    overview.observation(seen(Kind.EXEC, 4, task=dataclasses.replace(MAIN, start_ns=4 * SECOND), main=True))
    assert row(overview, 5).ended_wall_ns == 0
    assert row(overview, 400).ended_wall_ns == 0


def test_a_removed_cgroup_ends_its_row_without_a_verdict(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.observation(Observation(Event(2 * SECOND, WALL, Kind.CGROUP_RMDIR, cgroup_id=100), APP))
    assert row(overview, 3).ended_wall_ns == WALL
    overview.observation(Observation(Event(2 * SECOND, WALL, Kind.CGROUP_RMDIR, cgroup_id=999), None))


COUNTED = [("signal-dropped", "dropped"), ("killed", "killed"), ("crashed", "crashed"), ("crash-masked", "masked")]


@pytest.mark.parametrize(("code", "name"), COUNTED)
def test_a_fold_that_is_told_three_times_counts_what_it_counted(overview, code, name):
    overview.observation(seen(Kind.TASK, 1, main=True))
    for count, closing in ((1, False), (10, False), (37, True)):
        overview.verdict(finding(code, count=count, closing=closing))
    assert getattr(row(overview, 3), name) == 37


def test_two_processes_that_were_killed_are_two(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.verdict(finding("killed", "by-peer"))
    overview.verdict(finding("killed", "by-peer"))
    assert row(overview, 3).killed == 2


def test_a_new_fold_after_one_that_ended_counts_on(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    for count, closing in ((3, False), (5, True), (3, False)):
        overview.verdict(finding("crash-masked", count=count, closing=closing))
    assert row(overview, 3).masked == 8


def test_the_worst_stays_and_the_last_is_the_last(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.verdict(finding(severity=Severity.ERROR))
    overview.verdict(finding("killed", "manual", 3, Severity.WARNING))
    found = row(overview, 4)
    assert found.worst is Severity.ERROR
    assert (found.last.code, found.last.severity) == ("killed", Severity.WARNING)


def test_a_graceful_end_is_no_trouble(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    overview.verdict(shutdown("graceful"))
    found = row(overview, 4)
    assert (found.worst, found.troubles, found.last.severity, found.last.shutdown) == (None, 0, None, True)


def test_verdicts_are_told_the_newest_first_and_kept_in_full(overview):
    first, second = finding(at_s=2), shutdown(at_s=3)
    overview.verdict(first)
    overview.verdict(second)
    assert [brief.code for brief in snapshot(overview, 4).briefs] == ["escalated", "signal-dropped"]
    assert overview.verdicts() == [first, second]


def test_verdicts_are_bounded(overview):
    for n in range(1000):
        overview.verdict(finding(at_s=n))
    assert len(snapshot(overview, 2000).briefs) == aggregate.BRIEFS_MAX
    assert len(overview.verdicts()) == aggregate.BRIEFS_MAX


def test_a_finding_of_nobody_is_listed_too(overview):
    overview.verdict(finding("events-lost", "ring-full", workload=None))
    found = snapshot(overview, 3)
    assert (found.rows, found.briefs[0].whose) == ((), "sigtrace")


def zombie(pid, exit_s):
    task = Task(pid, pid, "sleep", cgroup_id=100)
    return seen(Kind.TASK, 50, task=task, zombie=True, exit_ns=int(exit_s * SECOND), parent=MAIN)


def test_zombies_are_counted_while_they_wait_with_the_age_of_the_oldest(overview):
    overview.observation(zombie(20, 30))
    overview.observation(zombie(21, 20))
    assert (row(overview, 51).zombies, row(overview, 52).oldest_wall_ns) == (2, WALL + 20 * SECOND)
    overview.observation(seen(Kind.REAP, 53, None, task=Task(21, 21)))
    assert (row(overview, 54).zombies, row(overview, 55).oldest_wall_ns) == (1, WALL + 30 * SECOND)
    overview.verdict(shutdown(at_s=56))
    assert row(overview, 57).zombies == 0


def test_a_zombie_that_is_listed_again_is_one(overview):
    overview.observation(zombie(20, 30))
    overview.observation(zombie(20, 30))
    assert row(overview, 51).zombies == 1


def test_of_a_zombie_older_than_sigtrace_no_age_is_told(overview):
    overview.observation(zombie(20, 30))
    overview.observation(zombie(21, 0))
    assert (row(overview, 51).zombies, row(overview, 52).oldest_wall_ns) == (2, 0)


def test_losses_are_summed_by_cause(overview):
    for loss, count in ((Loss.RING_FULL, 3), (Loss.RING_FULL, 4), (Loss.RATE_LIMITED, 1)):
        overview.observation(Observation(Event(1, WALL, Kind.LOST, loss=loss, count=count)))
    assert snapshot(overview, 2).lost == {"ring-full": 7, "rate-limited": 1}


class Kernel:
    """Counters a test turns."""

    def __init__(self):
        self.counts = Counts()

    def __call__(self):
        return self.counts


WORKLOADS = {100: APP, 101: APP, 200: WEB, 300: dataclasses.replace(WEB, kind=WorkloadKind.UNIT, cgroup_id=300)}


@pytest.fixture
def kernel(overview):
    kernel = Kernel()
    overview.attach(kernel, WORKLOADS.get, backend="bpf")
    overview.observation(seen(Kind.TASK, 1))
    overview.observation(seen(Kind.TASK, 1, WEB))
    return kernel


def test_signals_come_from_the_kernel_s_counters_and_sub_cgroups_count_for_their_container(overview, kernel):
    kernel.counts = Counts({(100, 15, 0): 5, (101, 23, 0): 10, (200, 17, 0): 1, (300, 1, 0): 70, (999, 1, 0): 4})
    assert (row(overview, 10).signals, row(overview, 10).rate) == (15, 0.0)
    kernel.counts = Counts({(100, 15, 0): 9, (101, 23, 0): 26, (200, 17, 0): 1, (300, 1, 0): 170}, {(101, 9): 3})
    found = snapshot(overview, 12)
    assert (found.row(100).signals, found.row(100).rate, found.row(100).exits) == (35, 10.0, 3)
    assert found.row(200).rate == 0.0
    assert found.rate == pytest.approx((9 + 26 + 1 + 170 - 90) / 2)


def test_what_nobody_counts_is_unknown_and_not_nothing(overview, kernel):
    kernel.counts = Counts(known=False)
    snapshot(overview, 10)
    found = snapshot(overview, 12)
    seen_row = found.row(100)
    assert (seen_row.signals, seen_row.exits, seen_row.rate, seen_row.history) == (None, None, None, ())
    assert found.rate is None
    assert of_plain(as_plain(found)) == found
    assert as_plain(found)["rows"][0]["rate"] is None


def test_counters_that_are_given_back_take_nothing_away(overview, kernel):
    kernel.counts = Counts({(100, 15, 0): 50})
    assert row(overview, 10).signals == 50
    kernel.counts = Counts(signals_gone=50)
    found = row(overview, 12)
    assert (found.signals, found.rate) == (50, 0.0)


def test_rates_are_remembered_the_newest_last_and_no_longer_than_that(overview, kernel):
    for n in range(HISTORY + 9):
        overview.newest(0)
        kernel.counts = Counts({(100, 15, 0): 2 * n * n})
        last = row(overview, 10 + 2 * n)
    assert len(last.history) == HISTORY
    assert list(last.history) == sorted(last.history)
    assert last.history[-1] == round(last.rate)


def test_without_counters_what_was_told_is_counted(overview):
    for at in range(5):
        overview.observation(seen(Kind.SIGNAL_GENERATE, 1 + at / 10, signo=15))
    overview.observation(seen(Kind.EXIT, 2, wait_status=WaitStatus(0)))
    found = snapshot(overview, 3)
    assert (found.row(100).signals, found.row(100).exits, found.rate) == (5, 1, None)


def test_names_that_its_runtime_tells_late_are_taken(overview):
    bare = dataclasses.replace(APP, container_name=None, asked=False)
    overview.attach(Kernel(), {100: APP}.get)
    overview.observation(seen(Kind.TASK, 1, bare))
    assert row(overview, 2).workload is APP


def test_nothing_is_made_while_nobody_wants_it(monkeypatch):
    overview = Overview(source="agent")
    kernel = Kernel()
    asked = []
    overview.attach(lambda: asked.append(1) or kernel())
    overview.pass_time(SECOND)
    assert not asked
    overview.newest(0)
    overview.pass_time(2 * SECOND)
    overview.pass_time(2 * SECOND + 1)
    assert len(asked) == 1
    now = aggregate.time.monotonic()
    monkeypatch.setattr(aggregate.time, "monotonic", lambda: now + 60)
    overview.pass_time(9 * SECOND)
    assert len(asked) == 1


def test_who_asks_first_waits_for_the_pipeline():
    overview = Overview(source="agent")
    found = []
    reader = threading.Thread(target=lambda: found.append(overview.newest(20.0)))
    reader.start()
    at = 0
    while reader.is_alive():
        at += SECOND
        overview.pass_time(at)
    reader.join()
    assert found[0] is not None


def test_a_frame_is_a_line_of_json_made_once_for_all_readers(overview):
    overview.observation(seen(Kind.TASK, 1, main=True))
    found = snapshot(overview, 2)
    frame = overview.frame(0)
    assert frame is overview.frame(0)
    assert b"\n" not in frame
    assert SnapshotDecoder().snapshot(json.loads(frame)) == found


def test_before_the_first_snapshot_a_frame_is_empty():
    assert Overview(source="agent").frame(0) == b"{}"


def test_rows_have_their_bound(overview, monkeypatch):
    monkeypatch.setattr(aggregate, "ROWS_MAX", 3)
    for n in range(5):
        overview.observation(seen(Kind.TASK, 1, dataclasses.replace(APP, cgroup_id=n + 1)))
    found = snapshot(overview, 2)
    assert (len(found.rows), found.hidden) == (3, 2)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sigtrace")), ids=lambda path: path.stem)
def test_of_each_recording_every_verdict_is_listed_and_its_container_has_a_row(path):
    overview = Overview(source="replay")
    overview.newest(0)
    with open_recording(str(path)) as recording:
        run(recording, [overview])
    overview.publish(recording.end.ended_ns)
    found = overview.newest(0)
    assert len(found.briefs) == len(overview.verdicts()) > 0
    for verdict, brief in zip(reversed(overview.verdicts()), found.briefs, strict=True):
        assert brief == aggregate.brief_of(verdict)
        if verdict.workload:
            row = found.row(verdict.workload.cgroup_id)
            assert row.last.time_ns >= verdict.time_ns
            assert row.worst is None or not brief.severity or row.worst >= brief.severity
