"""zombie-unreaped: who owes the wait for which."""

import dataclasses

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.finding import EVIDENCE_MAX, Certainty
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import HANDLED, SHIM, Container, S, exited, findings, run

BOX = Container(argv=("python3", "-u", "app.py"))
HOST = Container(2, host_pid=True)
DAEMON = BOX.child(30, "daemon")


def zombies(*steps, until=None):
    return findings(*steps, until=until, code="zombie-unreaped")


def dead(*numbers, box=BOX, at=20 * S, parent=None, comm="sleep", since=S):
    """One listing."""
    return [box.zombie(at, box.child(k, comm), parent, exit_ns=since) for k in numbers]


def test_orphans_that_pid_1_does_not_wait_for_are_its_debt():
    (finding,) = zombies(dead(1, 2, 3))
    assert (finding.cause, finding.severity, finding.certainty) == (
        "pid1-does-not-reap",
        Severity.WARNING,
        Certainty.OBSERVED,
    )
    assert (finding.count, finding.parent.key, finding.window_s) == (3, BOX.init.key, pytest.approx(19))
    text = "3 zombies, the oldest 19 s: 3 × sleep; PID 1 (python3 -u app.py) does not wait for them"
    assert finding.message == text


def test_those_of_a_live_parent_are_that_parents():
    (finding,) = zombies(BOX.exec(1, BOX.init), dead(1, parent=DAEMON))
    assert (finding.cause, finding.parent.key) == ("parent-never-waits", DAEMON.key)
    assert finding.message.endswith("1 × sleep; daemon (pid 31) does not wait for them")


def test_a_main_process_that_is_no_init_is_a_parent_like_any_other():
    (finding,) = zombies(HOST.exec(1, HOST.init), dead(1, box=HOST))
    assert finding.cause == "parent-never-waits"


def test_the_init_of_a_pods_shared_namespace_inherits_orphans_as_pid_1():
    pause = dataclasses.replace(SHIM, pid=500, comm="pause", ns_pid=1, pidns=4026537777)
    (finding,) = zombies(dead(1, box=HOST, parent=pause))
    assert finding.cause == "pid1-does-not-reap"


def test_each_parent_has_a_finding_of_its_own():
    found = zombies(dead(1, 2), dead(3, parent=DAEMON), dead(1, box=HOST))
    assert [(f.cause, f.count) for f in found] == [
        ("pid1-does-not-reap", 2),
        ("parent-never-waits", 1),
        ("parent-never-waits", 1),
    ]


def test_the_oldest_is_named_and_an_age_that_is_not_known_is_not_made_up():
    (finding,) = zombies([*dead(1, since=5 * S), *dead(2, since=3 * S)])
    assert finding.subject.key == BOX.child(2).key
    (finding,) = zombies(dead(1, since=0))
    assert "older than this trace" in finding.message


@pytest.mark.parametrize(("pids_max", "severity"), [(None, "warning"), (6, "warning"), (5, "error"), (4, "error")])
def test_above_half_of_pids_max_it_is_an_error(pids_max, severity):
    box = Container(pids_max=pids_max)
    (finding,) = zombies(dead(1, 2, 3, box=box))
    assert finding.severity.word == severity


def test_it_is_told_again_when_it_becomes_an_error():
    box = Container(pids_max=10)
    found = zombies(dead(1, 2, 3, box=box), dead(4, 5, 6, box=box, at=30 * S))
    assert [(f.count, f.severity.word) for f in found] == [(3, "warning"), (6, "error")]


def test_repeats_are_told_at_ten_times_the_count():
    listings = [dead(k, at=(20 + k) * S) for k in range(1, 101)]
    # and once more when those that came with the first have been listed
    assert [f.count for f in zombies(listings)] == [1, 3, 30]


def test_evidence_is_bounded():
    (finding,) = zombies(dead(*range(1, 60)))
    assert (finding.count, len(finding.evidence)) == (59, EVIDENCE_MAX)


def test_when_all_are_reaped_the_whole_count_is_told():
    steps = [dead(1, 2), dead(3, at=30 * S), [BOX.reap(40 * S, BOX.child(k)) for k in (1, 2, 3)]]
    first, last = zombies(*steps)
    assert (first.count, first.closing, last.count, last.closing) == (2, False, 3, True)
    assert last.message == "all 3 zombies of PID 1 (python3 -u app.py) are reaped now"


def test_one_that_was_reaped_before_it_was_told_is_none():
    assert not zombies(dead(1), BOX.reap(20 * S, BOX.child(1)))


def test_one_that_has_another_parent_now_is_that_ones():
    steps = [dead(1, parent=DAEMON), dead(1, at=30 * S)]
    found = zombies(*steps, until=99 * S)
    assert [(f.cause, f.count) for f in found] == [("parent-never-waits", 1), ("pid1-does-not-reap", 1)]


def test_who_has_just_inherited_them_may_be_about_to_reap_them():
    steps = [dead(1, parent=DAEMON), dead(1, at=30 * S), BOX.reap(31 * S, BOX.child(1))]
    assert [f.cause for f in zombies(*steps, until=99 * S)] == ["parent-never-waits"]


def test_a_container_that_is_stopping_has_no_more_use_for_a_wait():
    stop = [BOX.exec(1, BOX.init), BOX.term(19 * S, **HANDLED), BOX.deliver(19 * S + 1)]
    assert not zombies(stop, dead(1, 2), BOX.exit(25 * S, exited(0)), until=99 * S)


def test_a_stop_that_came_to_nothing_hides_them_for_its_time_alone():
    dump = [BOX.exec(1, BOX.init), BOX.signal(19 * S, signals.SIGQUIT, **HANDLED), BOX.deliver(19 * S + 1, 3)]
    assert [f.count for f in zombies(dump, dead(1, 2), until=3600 * S)] == [2]


@pytest.mark.parametrize(
    "steps",
    [
        [BOX.snapshot(S, BOX.init, BOX.child())],
        [BOX.exit(S, exited(0), BOX.child())],
        [BOX.reap(S, BOX.child())],
        [dataclasses.replace(o, event=dataclasses.replace(o.event, parent=None)) for o in dead(1)],
    ],
)
def test_nothing_else_is_a_zombie(steps):
    assert not zombies(steps)


def test_zombies_of_a_container_that_has_ended_are_nobodys():
    assert not zombies(BOX.exec(1, BOX.init), BOX.exit(19 * S, exited(0)), dead(1, 2))


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_it(kind):
    assert not zombies(dead(1, box=Container(kind=kind)))


def test_what_was_not_told_yet_is_told_at_the_end():
    assert [v.code for v in run(Chain(), dead(1), until=20 * S, end=True)] == ["zombie-unreaped"]
    told = run(Chain(), dead(1), dead(2, at=30 * S), until=40 * S, end=True)
    assert [v.count for v in told] == [1, 2]


def test_zombies_that_come_and_go_leave_nothing():
    chain = Chain()
    for k in range(1, 2000):
        child = BOX.child(pid=10_000 + k)
        run(chain, BOX.zombie(k * S, child, exit_ns=1), BOX.reap(k * S + 5, child), until=k * S + 9)
    (detector,) = [d for d in chain._detectors if type(d).__name__ == "Zombies"]
    assert not detector._debts
    assert not detector._owners
