"""The shutdown record: told once, with those who were left, at its time."""

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import codes, signals
from sigtrace.model.finding import Ended, Shutdown
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    MS,
    PROGRAM,
    SEGFAULT,
    SHELL_FORM,
    WALL,
    Container,
    S,
    exited,
    flat,
    killed_by,
    named,
    run,
    shutdown_of,
    story,
    verdict,
)

BOX = Container()
HOST = Container(2, host_pid=True)
TERM = killed_by(signals.SIGTERM)


def test_what_is_found_once_the_story_is_told_is_kept_for_nobody():
    chain = Chain()
    kills = [BOX.kill(S + n * MS, BASH, task=BOX.child(n)) for n in range(1, 4)]
    found = run(chain, BOX.exec(1, BOX.init), kills, BOX.exit(2 * S, exited(0)), until=200 * S)
    kinds = [type(one).__name__ for one in found]
    assert kinds == ["Finding", "Shutdown", "Finding"]
    assert found[1].findings == ("killed",)
    assert not chain._shutdowns._codes


# ---- those who were left


def leaving(box, *, told=(), left=(), entered=()):
    """The main process handles the stop signal and leaves at once, with others at work."""
    return [
        box.exec(1, box.init),
        *(box.exec(2, task) for task in entered),
        box.term(S, **HANDLED),
        box.deliver(S + 1),
        box.snapshot(S + 20 * MS, box.init, *left, *entered),
        *(box.term(S + 30 * MS, box.init, task=task, **HANDLED) for task in told),
        box.exit(S + 50 * MS, exited(0)),
        *(box.teardown(S + 51 * MS, task) for task in (*left, *entered)),
        *(box.exit(S + 52 * MS, KILLED, task) for task in (*left, *entered)),
    ]


def test_workers_that_were_torn_down_at_work_make_it_incomplete():
    worker = BOX.child(comm="celery")
    shutdown, findings = story(leaving(BOX, left=[worker]))
    assert (shutdown.outcome, shutdown.cause) == ("incomplete", "main-exited-first")
    assert named(findings) == ["signal-not-forwarded/main-exited-first"]
    assert [(p.task.comm, p.ended) for p in shutdown.processes] == [
        ("init", Ended.HANDLED),
        ("celery", Ended.TORN_DOWN),
    ]


def test_workers_that_were_told_and_torn_down_are_incomplete_but_nobody_failed_to_forward():
    worker = BOX.child()
    shutdown, findings = story(leaving(BOX, left=[worker], told=[worker]))
    assert (shutdown.outcome, named(findings)) == ("incomplete", [])


def test_an_operators_shell_that_is_torn_down_makes_nothing_incomplete():
    shell = BOX.guest(comm="bash", argv=("bash",))
    shutdown, findings = story(leaving(BOX, entered=[shell]))
    assert (shutdown.outcome, named(findings)) == ("graceful", [])


@pytest.mark.parametrize("after", [S // 2, 3 * S], ids=["late", "never seen"])
def test_who_is_listed_after_the_end_of_an_init_is_waited_for_though_the_kernel_comes_to_it_late(after):
    worker = BOX.child(comm="celery")
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.exit(S + MS, exited(0))]
    steps += [
        *BOX.snapshot(S + 20 * MS, worker),
        BOX.teardown(S + after, worker),
        BOX.exit(S + after + 1, KILLED, worker),
    ]
    shutdown, findings = story(steps)
    assert (shutdown.outcome, shutdown.cause) == ("incomplete", "main-exited-first")
    assert named(findings) == ["signal-not-forwarded/main-exited-first"]


def test_who_is_listed_after_the_end_of_an_init_and_leaves_by_itself_makes_nothing_incomplete():
    worker = BOX.child(comm="celery")
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.exit(S + MS, exited(0))]
    steps += [*BOX.snapshot(S + 20 * MS, worker), BOX.exit(S + 21 * MS, exited(0), worker)]
    assert verdict(steps, until=9 * S) == ("graceful", None)


def test_in_a_host_pid_namespace_those_that_live_on_make_nothing_incomplete():
    worker = HOST.child()
    steps = [o for o in flat(leaving(HOST, left=[worker])) if not (o.event.teardown or o.event.task.key == worker.key)]
    assert verdict(steps, until=9 * S) == ("graceful", None)


def test_in_a_host_pid_namespace_those_that_the_runtime_kills_make_it_incomplete():
    worker = HOST.child()
    steps = [HOST.exec(1, HOST.init), HOST.term(S, **HANDLED), HOST.deliver(S + 1)]
    steps += [*HOST.snapshot(S + 20 * MS, HOST.init, worker), HOST.exit(S + 50 * MS, exited(0))]
    steps += [HOST.kill(S + 80 * MS, task=worker), HOST.exit(S + 81 * MS, KILLED, worker)]
    shutdown, findings = story(steps)
    assert shutdown.outcome == "incomplete"
    assert named(findings) == ["signal-not-forwarded/main-exited-first"]


def test_processes_that_had_gone_before_the_stop_make_nothing_incomplete():
    old = [BOX.child(1), BOX.child(2)]  # they exit with 0 one day, which is never told
    steps = [BOX.snapshot(S, BOX.init, *old), BOX.term(99 * S, **HANDLED), BOX.deliver(99 * S + 1)]
    assert verdict(*steps, BOX.exit(99 * S + 5 * MS, exited(0)), until=200 * S) == ("graceful", None)


def test_a_job_that_ends_with_others_at_work_is_exited():
    worker = BOX.child()
    steps = [BOX.exec(1, BOX.init), BOX.exec(2, worker), BOX.exit(S, exited(0)), BOX.teardown(S + 1, worker)]
    assert verdict(steps, BOX.exit(S + 2, KILLED, worker)) == ("exited", None)


@pytest.mark.parametrize(("box", "waits"), [(BOX, 1000 * MS), (Container(2, host_pid=True), 200 * MS)])
def test_it_waits_for_those_that_are_left_longer_if_the_kernel_kills_them_but_not_for_ever(box, waits):
    steps = [box.exec(1, box.init), box.term(S, **HANDLED), box.snapshot(S + 1, box.init, box.child())]
    steps += [box.exit(2 * S, exited(0))]
    chain = Chain()
    assert not run(chain, *steps, until=2 * S + waits - 1)
    *_, shutdown = run(chain, until=2 * S + waits)
    assert [p.ended for p in shutdown.processes] == [Ended.HANDLED, None]
    assert not run(chain, until=100 * S)


@pytest.mark.parametrize("after", [1 * MS, 21 * MS])
def test_it_is_told_when_the_last_has_gone(after):
    worker = BOX.child()
    chain = Chain()
    steps = [BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, worker), BOX.exit(2 * S, exited(0))]
    told = run(chain, *steps, BOX.exit(2 * S + after, KILLED, worker), until=2 * S + 22 * MS)
    assert isinstance(told[-1], Shutdown)
    assert told[-1].processes[1].ended is Ended.TORN_DOWN


def test_it_waits_for_each_of_those_that_are_left():
    workers = [BOX.child(1), BOX.child(2)]
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, *workers)]
    steps += [BOX.exit(2 * S, exited(0)), *(BOX.exit(2 * S + k * 30 * MS, KILLED, w) for k, w in enumerate(workers, 1))]
    assert [p.ended for p in shutdown_of(steps).processes[1:]] == [Ended.TORN_DOWN, Ended.TORN_DOWN]


def test_it_is_told_once_whatever_comes_after():
    child = BOX.child()
    verdicts = run(
        Chain(),
        BOX.term(S, **HANDLED),
        BOX.snapshot(S + 1, BOX.init, child),
        BOX.exit(2 * S, exited(0)),
        BOX.exit(2 * S + 1, KILLED, child),
        BOX.exit(2 * S + 2, KILLED, BOX.child(2)),
        BOX.snapshot(2 * S + 3, child),
        BOX.kill(8 * S, task=BOX.child(3)),
        until=100 * S,
    )
    assert len([v for v in verdicts if isinstance(v, Shutdown)]) == 1


def test_a_story_that_still_waits_is_told_at_the_end():
    steps = [BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, BOX.child()), BOX.exit(2 * S, exited(0))]
    assert isinstance(run(Chain(), *steps, until=2 * S, end=True)[-1], Shutdown)


# ---- its parts


def test_a_configured_stop_signal_counts_and_sighup_alone_does_not():
    hup = Container(stop_signal=signals.SIGHUP)
    asked = shutdown_of(hup.signal(S, signals.SIGHUP, **HANDLED), hup.exit(2 * S, exited(0)))
    assert (asked.outcome, asked.stop_signo) == ("graceful", signals.SIGHUP)
    assert verdict(BOX.signal(S, signals.SIGHUP, BASH, **HANDLED), BOX.exit(2 * S, exited(0))) == ("exited", None)


def test_a_stop_signal_from_inside_asks_for_nothing():
    shutdown = shutdown_of(BOX.term(S, sender=BOX.child(), **HANDLED), BOX.exit(2 * S, exited(0)))
    assert (shutdown.outcome, shutdown.stop_signo) == ("exited", 0)


@pytest.mark.parametrize("signo", [signals.SIGINT, signals.SIGQUIT])
def test_a_thread_dump_of_a_while_ago_is_no_stop(signo):
    dump = [BOX.exec(1, BOX.init), BOX.signal(S, signo, **HANDLED), BOX.deliver(S + 1, signo)]
    assert verdict(*dump, BOX.exit(100 * S, exited(1)), until=999 * S) == ("crashed", "exit-status")
    assert verdict(*dump, BOX.exit(2 * S, exited(1))) == ("graceful", None)


def test_the_story_of_a_shell_form_is_whole():
    init, child = Container(argv=SHELL_FORM).init, BOX.child(comm="gunicorn")
    shutdown, findings = story(
        BOX.term(S, **DROPPED),
        BOX.snapshot(S + MS, init, child),
        BOX.kill(11 * S),
        BOX.exit(11 * S + MS, KILLED),
        BOX.teardown(11 * S + 2 * MS, child),
        BOX.exit(11 * S + 3 * MS, KILLED, child),
    )
    assert named(findings) == ["signal-dropped/shell-form", "killed/grace-expired"]
    assert shutdown.findings == ("signal-dropped", "killed")
    assert [(p.task.comm, p.ended) for p in shutdown.processes] == [
        ("init", Ended.KILLED),
        ("gunicorn", Ended.TORN_DOWN),
    ]
    assert shutdown.main.argv == SHELL_FORM
    assert shutdown.wall_ns == WALL + 11 * S + MS
    assert [e.time_ns for e in shutdown.evidence] == [S, 11 * S, 11 * S + MS]


@pytest.mark.parametrize(
    ("signalled", "status", "ended"),
    [
        (HANDLED, exited(0), Ended.HANDLED),
        (HANDLED, TERM, Ended.HANDLED),
        (BY_DEFAULT, TERM, Ended.DEFAULT),
        (None, exited(0), Ended.EXITED),
        (IGNORED, exited(0), Ended.EXITED),
        (None, SEGFAULT, Ended.CRASHED),
        (HANDLED, SEGFAULT, Ended.CRASHED),
        (HANDLED, KILLED, Ended.KILLED),
    ],
)
def test_each_process_says_how_it_ended_during_the_stop(signalled, status, ended):
    child = BOX.child()
    forwarded = [BOX.signal(S + 2, signals.SIGTERM, BOX.init, task=child, **signalled)] if signalled else []
    shutdown = shutdown_of(
        BOX.term(S, **HANDLED),
        BOX.snapshot(S + 1, BOX.init, child),
        *forwarded,
        BOX.exit(2 * S, status, child),
        BOX.exit(3 * S, exited(0)),
    )
    assert [(p.task.key, p.ended) for p in shutdown.processes] == [(BOX.init.key, Ended.HANDLED), (child.key, ended)]
    assert shutdown.processes[1].signalled_wall_ns == (WALL + S + 2 if signalled else None)
    assert shutdown.processes[1].exited_wall_ns == WALL + 2 * S


def test_who_ended_long_before_the_stop_is_no_part_of_its_story():
    dump = [BOX.signal(S, signals.SIGQUIT, **HANDLED), BOX.deliver(S + 1, signals.SIGQUIT)]
    steps = [BOX.exec(1, BOX.init), dump, BOX.exit(20 * S, exited(1), BOX.child())]
    steps += [BOX.term(3600 * S, **HANDLED), BOX.deliver(3600 * S + 1), BOX.exit(3600 * S + MS, exited(0))]
    assert [p.task.key for p in shutdown_of(steps).processes] == [BOX.init.key]


def test_no_more_than_128_processes_are_in_a_story():
    children = [BOX.child(k) for k in range(1, 99)] + [BOX.child(k, pid=9000 + k) for k in range(200, 300)]
    steps = [BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, *children)]
    steps += [BOX.exit(S + 2 + k, exited(0), task) for k, task in enumerate(children)]
    shutdown = shutdown_of(*steps, BOX.exit(2 * S, exited(0)))
    assert len(shutdown.processes) == 128
    assert shutdown.processes_omitted == 199 - 128
    # The main one, and those that ended last.
    assert [p.task.key for p in shutdown.processes] == [BOX.init.key, *(child.key for child in children[-127:])]


def test_those_that_were_torn_down_are_in_it_first():
    children = [BOX.child(k, pid=9000 + k) for k in range(1, 201)]
    killed, others = children[0], children[1:]
    steps = [BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, *children), BOX.exit(S + 2, KILLED, killed)]
    steps += [BOX.exit(S + 3 + k, exited(0), task) for k, task in enumerate(others)]
    assert killed.key in [p.task.key for p in shutdown_of(*steps, BOX.exit(2 * S, exited(0))).processes]


def test_every_outcome_and_cause_it_can_tell_is_in_the_catalogue():
    for stop in (None, HANDLED, BY_DEFAULT, DROPPED, IGNORED, BLOCKED):
        for kill in (False, True):
            for status in (exited(0), exited(1), KILLED, TERM, SEGFAULT):
                steps = [BOX.term(S, **stop)] if stop else []
                steps += [BOX.kill(2 * S)] if kill else []
                shutdown = shutdown_of(*steps, BOX.exit(3 * S, status))
                outcome = codes.OUTCOMES[shutdown.outcome]
                assert shutdown.cause in outcome.causes or (outcome.may_be_null and shutdown.cause is None)
                Ended(shutdown.processes[0].ended)


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_shutdowns(kind):
    box = Container(kind=kind)
    assert not run(Chain(), box.term(S, **HANDLED), box.exit(2 * S, exited(1)), until=99 * S)


def test_the_limit_of_the_grace_is_the_workloads():
    box = Container(grace_limit_s=30.0, argv=PROGRAM)
    assert shutdown_of(box.term(S, **HANDLED), box.exit(2 * S, exited(0))).grace_limit_s == 30.0


def test_who_was_not_seen_to_end_was_torn_down_only_if_the_kernel_tore_somebody_down():
    """The limiter keeps exits of containers with hundreds of processes."""
    workers = [BOX.child(k) for k in range(1, 300)]
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, *workers)]
    told = shutdown_of(steps, BOX.exit(2 * S, exited(0)), until=100 * S)
    assert (told.outcome, told.findings) == ("graceful", ())
    assert {p.ended for p in told.processes[1:]} == {None}
