"""crashed and crash-masked: faults, failures, and the supervisor that hides them."""

import dataclasses

import pytest

from sigtrace.detectors.base import Thresholds
from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, Shutdown
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    SEGFAULT,
    Container,
    S,
    exited,
    findings,
    killed_by,
    named,
    run,
)

BOX = Container()
UP = [BOX.exec(1, BOX.init)]
CRASHES = ("crashed", "crash-masked")
MINUTE = 60 * S


def crashes(*steps, until=None):
    return [f for f in findings(UP, *steps, until=until) if f.code in CRASHES]


def worker(k, born, comm="worker", parent=None):
    return BOX.child(k, comm, parent, start_ns=born)


def forked(steps):
    """They never executed a program of their own."""
    return [dataclasses.replace(o, event=dataclasses.replace(o.event, forked=True)) for o in steps]


def loop(times=3, status=SEGFAULT, *, every=MINUTE, lives=None, comm="worker", parent=None, begin=MINUTE):
    """A worker that dies again and again, each replaced at once."""
    lives = every - MS if lives is None else lives
    return [
        BOX.exit(begin + k * every, status, worker(k + 1, begin + k * every - lives, comm, parent))
        for k in range(times)
    ]


@pytest.mark.parametrize("status", [killed_by(s) for s in (4, 5, 6, 7, 8, 11, 31)] + [SEGFAULT])
def test_three_faults_of_one_parents_children_each_replaced_are_a_loop(status):
    found = crashes(loop(status=status), until=9999 * S)
    assert named(found)[-1] == "crash-masked/supervisor-restarts"
    finding = found[-1]
    assert (finding.severity, finding.certainty, finding.count) == (Severity.ERROR, Certainty.OBSERVED, 3)
    assert finding.parent.key == BOX.init.key
    assert finding.window_s == 120
    assert "3 processes died in 2 min, and PID 1 (init) replaced each" in finding.message


def test_workers_that_exit_with_a_status_are_a_loop_too_if_they_were_at_work():
    (finding,) = crashes(loop(status=exited(1)))
    assert (finding.code, finding.certainty) == ("crash-masked", Certainty.INFERRED)


def test_forked_workers_that_fail_at_once_are_a_loop():
    # as gunicorn's, which fail while they load the application: they are what their parent is
    (finding,) = crashes(forked(loop(status=exited(3), every=S, lives=100 * MS, comm="init")))
    assert finding.code == "crash-masked"
    assert not crashes(loop(status=exited(3), every=S, lives=100 * MS, comm="init")), "it executed another program"


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_a_shells_subshells_are_no_workers(shell):
    # until (echo >/dev/tcp/db/5432); do sleep 1; done
    parent = BOX.child(90, shell)
    assert not crashes(forked(loop(30, exited(1), every=S, lives=30 * MS, comm=shell, parent=parent)))


@pytest.mark.parametrize("comm", ["pg_isready", "nc", "curl", "test"])
@pytest.mark.parametrize("times", [3, 30, 300])
def test_a_script_that_tries_again_until_a_server_answers_is_no_loop(comm, times):
    assert not crashes(loop(times, exited(1), every=S, lives=30 * MS, comm=comm), until=9999 * S)


@pytest.mark.parametrize("parent", [BOX.child(90, "sh"), BOX.child(91, "supervisord")])
def test_the_supervisor_may_be_anywhere_in_the_container(parent):
    (finding,) = [f for f in crashes(loop(parent=parent)) if f.code == "crash-masked"]
    assert finding.parent.key == parent.key


def test_the_crashes_of_two_parents_are_no_loop_of_one():
    one, two = BOX.child(90, "a"), BOX.child(91, "b")
    steps = sorted([*loop(2, parent=one), *loop(2, parent=two)], key=lambda o: o.event.time_ns)
    assert "crash-masked" not in [f.code for f in crashes(steps, until=9999 * S)]


def test_processes_that_were_all_there_before_the_first_crash_are_no_loop():
    """A pool that dies at once: nobody replaced anybody."""
    steps = [BOX.exit(MINUTE + k, SEGFAULT, worker(k + 1, S + k)) for k in range(8)]
    assert named(crashes(steps, until=9999 * S)) == ["crashed/fatal-signal"]


def test_crashes_that_are_too_far_apart_are_no_loop():
    found = crashes(loop(5, every=601 * S), until=9999 * S)
    assert "crash-masked" not in [f.code for f in found]
    assert len(found) >= 2


def test_how_many_make_a_loop_is_a_threshold():
    chain = Chain(Thresholds(loop_crashes=5, crash_hold_s=1000.0))
    told = run(chain, UP, loop(4), until=MINUTE * 4)
    assert not told
    assert [v.code for v in run(chain, loop(1, begin=5 * MINUTE), until=MINUTE * 5)] == ["crash-masked"]


@pytest.mark.parametrize(("times", "counts"), [(3, [3]), (29, [3]), (30, [3, 30]), (300, [3, 30, 300])])
def test_a_loop_is_told_at_ten_times_the_count(times, counts):
    steps = loop(times, every=2 * S, lives=S)
    found = [f for f in crashes(steps, until=steps[-1].event.time_ns) if f.code == "crash-masked"]
    assert [f.count for f in found] == counts
    assert max(len(f.evidence) for f in found) <= EVIDENCE_MAX


def test_the_last_count_is_told_when_it_has_ended():
    found = [f for f in crashes(loop(7), until=9999 * S) if f.code == "crash-masked"]
    assert [f.count for f in found] == [3, 7]
    found = [f for f in crashes(loop(7), BOX.exit(8 * MINUTE, exited(0))) if f.code == "crash-masked"]
    assert [f.count for f in found] == [3, 7]


def test_a_loop_that_begins_again_later_is_a_new_one():
    steps = [*loop(7), *loop(4, begin=MINUTE * 60)]
    assert [f.count for f in crashes(steps, until=99_999 * S) if f.code == "crash-masked"] == [3, 7, 3, 4]


def test_the_message_counts_what_came_before_the_last():
    steps = [*loop(2, exited(1)), *loop(1, begin=3 * MINUTE)]
    (finding,) = [f for f in crashes(steps) if f.code == "crash-masked"]
    assert "the last was worker (pid 2), SIGSEGV, core dumped" in finding.message
    assert finding.message.endswith("before it 2 × exit 1")


def test_without_the_parent_nobody_can_say_who_replaced_it():
    steps = [dataclasses.replace(o, event=dataclasses.replace(o.event, parent=None)) for o in loop(5)]
    assert not crashes(steps, until=9999 * S)


def test_a_fault_that_the_main_process_passed_on_in_another_status_is_told_too():
    assert named(crashes(loop(1), BOX.exit(MINUTE + MS, exited(1)))) == ["crashed/fatal-signal", "crashed/exit-status"]


# ---- a fault alone


def test_a_fault_that_makes_no_loop_is_told_alone_after_a_while():
    steps = loop(1)
    assert not crashes(steps, until=MINUTE + 5 * S - 1)
    (finding,) = crashes(steps, until=MINUTE + 5 * S)
    assert (finding.code, finding.cause, finding.severity) == ("crashed", "fatal-signal", Severity.ERROR)
    assert (finding.certainty, finding.signo) == (Certainty.OBSERVED, signals.SIGSEGV)
    assert finding.message.startswith("worker (pid 2), a child of PID 1, died of a fault: exit 139")


def test_a_status_of_a_child_is_no_crash_alone():
    assert not crashes(loop(2, exited(1)), until=9999 * S)


def test_a_worker_that_crashes_once_an_hour_is_told_each_time():
    assert named(crashes(loop(3, every=3600 * S), until=99_999 * S)) == ["crashed/fatal-signal"] * 3


def test_what_is_held_is_told_at_the_end():
    assert [v.code for v in run(Chain(), UP, loop(1), until=MINUTE, end=True)] == ["crashed"]


def test_what_the_main_process_passes_on_is_told_with_its_story_alone():
    found = crashes(loop(1), BOX.exit(MINUTE + MS, exited(139)))
    assert named(found) == ["crashed/relayed"]


# ---- what is no crash


@pytest.mark.parametrize(
    ("why", "steps"),
    [
        ("exit 0", loop(5, exited(0))),
        ("SIGKILL has a finding of its own", loop(5, KILLED)),
        ("SIGTERM is no fault", loop(5, killed_by(signals.SIGTERM))),
        ("SIGPIPE is no fault", loop(5, killed_by(signals.SIGPIPE))),
    ],
)
def test_other_ends_are_no_crashes(why, steps):
    assert not crashes(steps, until=9999 * S), why


@pytest.mark.parametrize("sender", [BASH, BOX.init])
def test_a_fault_that_somebody_sent_is_no_fault(sender):
    """``kill -SEGV``, and a supervisor that wants a core of its hung worker."""
    child = worker(1, S)
    steps = [BOX.signal(MINUTE - 1, signals.SIGSEGV, sender, task=child), BOX.exit(MINUTE, SEGFAULT, child)]
    assert not crashes(steps, until=9999 * S)


def test_an_abort_of_its_own_is_a_crash():
    child = worker(1, S)
    abort = BOX.signal(MINUTE - 1, signals.SIGABRT, child, task=child)
    found = crashes(abort, BOX.exit(MINUTE, killed_by(signals.SIGABRT), child), until=9999 * S)
    assert named(found) == ["crashed/fatal-signal"]


def test_commands_that_entered_from_outside_crash_for_themselves():
    probes = [BOX.guest(50 + k, start_ns=(50 + k) * S) for k in range(5)]
    steps = [
        o for k, p in enumerate(probes) for o in (BOX.exec((50 + k) * S, p), BOX.exit((50 + k) * S + 1, SEGFAULT, p))
    ]
    assert not crashes(steps, until=9999 * S)


@pytest.mark.parametrize(
    "before",
    [
        [BOX.term(MINUTE - S, **HANDLED), BOX.deliver(MINUTE - S + 1)],
        [BOX.kill(MINUTE - S)],
        [BOX.exit(MINUTE - S, exited(0))],
    ],
)
def test_what_breaks_while_the_container_is_stopping_is_no_loop(before):
    assert not [f for f in crashes(before, loop(5, every=S), until=9999 * S) if f.code == "crash-masked"]


def test_a_thread_dump_hides_no_later_loop():
    dump = [BOX.signal(S, signals.SIGQUIT, **HANDLED), BOX.deliver(S + 1, signals.SIGQUIT)]
    found = crashes(dump, loop(5, begin=3 * MINUTE), until=9999 * S)
    assert "crash-masked" in [f.code for f in found]


def test_a_stop_signal_that_nothing_followed_hides_no_later_loop():
    dropped = BOX.term(S, **DROPPED)
    found = crashes(dropped, loop(5, begin=700 * S), until=9999 * S)
    assert "crash-masked" in [f.code for f in found]


def test_children_that_the_oom_killer_takes_are_no_loop():
    steps = []
    for k in range(1, 6):
        at, child = k * MINUTE, worker(k, k * MINUTE - 30 * S)
        steps += [BOX.kill(at, None, task=child), BOX.oom(at + 40_000, child), BOX.exit(at + MS, KILLED, child)]
    found = findings(UP, steps, until=9999 * S)
    assert {f.code for f in found} == {"killed"}


@pytest.mark.parametrize(
    ("comm", "status", "loops"),
    [("postgres", 1, False), ("celery", 155, False), ("postgres", 2, True), ("app", 1, True)],
)
def test_children_that_leave_as_their_program_wants_them_to_are_no_loop(comm, status, loops):
    """PostgreSQL: a client that was refused. Celery: a worker that has done its number of tasks."""
    main = dataclasses.replace(BOX.init, comm=comm)
    ends = [
        BOX.exit(k * 10 * S, exited(status), BOX.child(k + 1, comm, start_ns=k * 10 * S - S), forked=True, parent=main)
        for k in range(1, 6)
    ]
    assert named(crashes(BOX.exec(1, main), ends)) == (["crash-masked/supervisor-restarts"] if loops else [])


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_crashes(kind):
    box = Container(kind=kind)
    steps = [box.exit(k * MINUTE, SEGFAULT, box.child(k, start_ns=k * MINUTE - S)) for k in range(1, 9)]
    assert not run(Chain(), steps, until=9999 * S)


# ---- the main process


@pytest.mark.parametrize(
    ("status", "cause"), [(SEGFAULT, "fatal-signal"), (exited(1), "exit-status"), (exited(137), "exit-status")]
)
def test_the_main_processs_own_crash_comes_before_its_shutdown(status, cause):
    finding, shutdown = run(Chain(), UP, BOX.exit(S, status))
    assert (finding.code, finding.cause, finding.subject.key) == ("crashed", cause, BOX.init.key)
    assert isinstance(shutdown, Shutdown)
    assert shutdown.findings == ("crashed",)


def test_who_gives_each_process_another_name_fills_no_list_with_them():
    steps = [BOX.exit(S + n * MS, SEGFAULT, worker(n + 2, S + n * MS - 1, f"name-{n}")) for n in range(1000)]
    found = crashes(steps, until=9999 * S)
    alone = [f for f in found if f.code == "crashed"]
    together = [f for f in found if f.code == "crash-masked"]
    assert len(alone) == 17
    assert {f.subject.comm for f in alone} == {f"name-{n}" for n in range(17)}
    assert not together


def test_names_that_crashed_long_ago_make_room_for_others():
    old = [BOX.exit(n * S, SEGFAULT, worker(n + 2, 1, f"old-{n}")) for n in range(1, 17)]
    new = [BOX.exit(3600 * S + n * S, SEGFAULT, worker(n + 50, 1, f"new-{n}")) for n in range(3)]
    found = crashes(old, new, until=9999 * S)
    assert {f.subject.comm for f in found} >= {"new-0", "new-1", "new-2"}


def test_what_made_no_loop_is_forgotten():
    chain = Chain()
    (detector,) = [d for d in chain._detectors if type(d).__name__ == "Crashes"]
    for n in range(1, 100):
        box = Container(n)
        run(chain, box.exit(n * S, SEGFAULT, box.child(start_ns=n)), until=n * S)
    assert len(detector._loops) == 99
    run(chain, until=2400 * S)
    assert not detector._loops
    assert not detector._names
    assert chain.deadline() is None


def test_of_many_loops_a_bounded_number_is_remembered():
    chain = Chain()
    for n in range(1, 2500):
        box = Container(n)
        run(chain, box.exit(n * S, SEGFAULT, box.child(start_ns=n)), until=n * S)
    (detector,) = [d for d in chain._detectors if type(d).__name__ == "Crashes"]
    assert len(detector._loops) <= 2000
