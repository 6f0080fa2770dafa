"""The shutdown record: how a container's main process ended, told once."""

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import codes, signals
from sigtrace.model.finding import Ended, SenderRole, Shutdown
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    IGNORED,
    MS,
    PROGRAM,
    PYTHON,
    SHELL_FORM,
    WALL,
    Container,
    S,
    exited,
    killed_by,
    run,
    story,
)

BOX = Container()
KILLED = killed_by(signals.SIGKILL)
BLOCKED = BY_DEFAULT | {"blocked": True}


def shutdown_of(*steps):
    return story(*steps)[0]


@pytest.mark.parametrize(
    ("stop", "status", "outcome", "cause"),
    [
        (HANDLED, exited(0), "graceful", None),
        (HANDLED, exited(1), "graceful", None),
        (HANDLED, exited(143), "graceful", None),
        (HANDLED, killed_by(signals.SIGTERM), "graceful", None),  # it handled it and then raised it again
        (BLOCKED | {"waited": True}, exited(0), "graceful", None),  # sigwait, as tini does
        (BLOCKED, exited(0), "graceful", None),  # signalfd, as systemd does
        (BY_DEFAULT, killed_by(signals.SIGTERM), "terminated", "no-handler"),
        (HANDLED, killed_by(signals.SIGSEGV), "crashed", "fatal-signal"),
        (BY_DEFAULT, killed_by(signals.SIGSEGV), "crashed", "fatal-signal"),
        (DROPPED, exited(0), "exited", None),
        (DROPPED, exited(3), "crashed", "exit-status"),
        (None, exited(0), "exited", None),
        (None, exited(1), "crashed", "exit-status"),
        (None, exited(137), "crashed", "exit-status"),
        (None, killed_by(signals.SIGSEGV), "crashed", "fatal-signal"),
        (None, killed_by(signals.SIGABRT | 0x80), "crashed", "fatal-signal"),
        (None, KILLED, "killed", "unknown"),
    ],
)
def test_without_a_kill_the_status_and_what_became_of_the_stop_signal_decide(stop, status, outcome, cause):
    before = [] if stop is None else [BOX.term(S, **stop)]
    shutdown = shutdown_of(*before, BOX.exit(3 * S, status))
    assert (shutdown.outcome, shutdown.cause) == (outcome, cause)
    assert shutdown.wait_status == status
    assert shutdown.stop_signo == (signals.SIGTERM if stop else 0)
    assert shutdown.requested_by is (SenderRole.RUNTIME if stop else None)
    assert shutdown.grace_s == shutdown.duration_s == (2.0 if stop else None)


@pytest.mark.parametrize(
    ("stop", "cause"),
    [
        (DROPPED, "dropped"),
        (IGNORED, "ignored"),
        (BLOCKED, "pending"),
        (BY_DEFAULT | {"stopped": True}, "pending"),
        (BY_DEFAULT | {"frozen": True}, "pending"),
        (HANDLED | {"stopped": True}, "pending"),
        (BY_DEFAULT | {"ptraced": True}, "pending"),
        (HANDLED, "slow"),
        (BLOCKED | {"waited": True}, "slow"),
        (BY_DEFAULT, "unknown"),
    ],
)
def test_an_escalation_says_why_the_stop_signal_was_not_enough(stop, cause):
    shutdown = shutdown_of(BOX.term(S, **stop), BOX.kill(S + 300 * MS), BOX.exit(S + 310 * MS, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("escalated", cause)
    assert (shutdown.grace_s, shutdown.duration_s) == (0.3, 0.31)
    assert "killed" in shutdown.findings


def test_what_was_delivered_at_last_was_slow_and_not_pending():
    shutdown = shutdown_of(
        BOX.term(S, **HANDLED | {"blocked": True}), BOX.deliver(2 * S), BOX.kill(3 * S), BOX.exit(3 * S + 1, KILLED)
    )
    assert shutdown.cause == "slow"


def test_a_delivery_counts_after_many_others():
    shutdown = shutdown_of(
        BOX.term(S, **HANDLED | {"blocked": True}),
        *(BOX.deliver(S + i, signals.SIGCHLD) for i in range(1, 20)),
        BOX.deliver(2 * S),
        BOX.kill(3 * S),
        BOX.exit(3 * S + 1, KILLED),
    )
    assert shutdown.cause == "slow"


@pytest.mark.parametrize(("killer", "cause"), [(None, "unknown"), (BASH, "manual"), (PYTHON, "unknown")])
def test_a_kill_that_nothing_came_before_is_killed(killer, cause):
    shutdown = shutdown_of(BOX.kill(S, killer, outside=True), BOX.exit(S + MS, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("killed", cause)
    assert (shutdown.stop_signo, shutdown.grace_s, shutdown.duration_s) == (0, None, 0.001)


def test_a_runtime_that_only_kills_sent_no_stop_signal():
    shutdown, findings = story(BOX.kill(S), BOX.exit(S + MS, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("killed", "no-stop-signal")
    assert [f.cause for f in findings] == ["no-stop-signal"]


def test_the_killed_and_the_shutdown_agree_on_a_stop_by_somebody_else():
    shutdown, findings = story(
        BOX.term(S, BASH, **DROPPED), BOX.kill(600 * S), BOX.exit(601 * S, KILLED), until=602 * S
    )
    assert (shutdown.outcome, shutdown.cause) == ("killed", "no-stop-signal")
    assert [(f.code, f.cause) for f in findings if f.code == "killed"] == [("killed", "no-stop-signal")]
    assert shutdown.stop_signo == 0


def test_the_oom_killer_comes_before_everything():
    shutdown = shutdown_of(BOX.term(S, **DROPPED), BOX.kill(2 * S, None), BOX.oom(2 * S + 1), BOX.exit(3 * S, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("oom", "main-process")
    assert shutdown.processes[0].ended is Ended.OOM


def test_every_outcome_and_cause_it_can_tell_is_in_the_catalogue():
    for stop in (None, HANDLED, BY_DEFAULT, DROPPED, IGNORED, BLOCKED):
        for kill in (False, True):
            for status in (exited(0), exited(1), KILLED, killed_by(15), killed_by(11)):
                steps = [BOX.term(S, **stop)] if stop else []
                steps += [BOX.kill(2 * S)] if kill else []
                shutdown = shutdown_of(*steps, BOX.exit(3 * S, status))
                outcome = codes.OUTCOMES[shutdown.outcome]
                assert shutdown.cause in outcome.causes or (outcome.may_be_null and shutdown.cause is None)
                Ended(shutdown.processes[0].ended)


def test_a_configured_stop_signal_counts_and_sighup_alone_does_not():
    hup = Container(stop_signal=signals.SIGHUP)
    asked = shutdown_of(hup.signal(S, signals.SIGHUP, **HANDLED), hup.exit(2 * S, exited(0)))
    assert (asked.outcome, asked.stop_signo) == ("graceful", signals.SIGHUP)
    assert shutdown_of(BOX.signal(S, signals.SIGHUP, **HANDLED), BOX.exit(2 * S, exited(0))).outcome == "exited"


def test_a_stop_signal_from_inside_asks_for_nothing():
    shutdown = shutdown_of(BOX.term(S, sender=BOX.child(), **HANDLED), BOX.exit(2 * S, exited(0)))
    assert (shutdown.outcome, shutdown.stop_signo) == ("exited", 0)


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
    assert [(f.code, f.cause) for f in findings] == [("signal-dropped", "shell-form"), ("killed", "grace-expired")]
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
        (HANDLED, killed_by(signals.SIGTERM), Ended.HANDLED),
        (BY_DEFAULT, killed_by(signals.SIGTERM), Ended.DEFAULT),
        (None, exited(0), Ended.EXITED),
        (None, killed_by(signals.SIGSEGV), Ended.CRASHED),
        (HANDLED, killed_by(signals.SIGSEGV), Ended.CRASHED),
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
    assert [(p.task.key, p.ended) for p in shutdown.processes] == [
        (BOX.init.key, Ended.HANDLED),
        (child.key, ended),
    ]
    assert shutdown.processes[1].signalled_wall_ns == (WALL + S + 2 if signalled else None)
    assert shutdown.processes[1].exited_wall_ns == WALL + 2 * S


def test_it_waits_a_fifth_of_a_second_for_those_that_are_left_and_not_longer():
    chain = Chain()
    early = run(chain, BOX.term(S, **HANDLED), BOX.snapshot(S + 1, BOX.init, BOX.child()), until=2 * S)
    early += list(chain.feed(BOX.exit(2 * S, exited(0))))
    assert not early
    assert chain.deadline() == 2 * S + 200 * MS
    (shutdown,) = chain.tick(2 * S + 200 * MS)
    assert [p.ended for p in shutdown.processes] == [Ended.HANDLED, None]
    assert not list(chain.tick(100 * S))


def test_it_is_told_at_once_when_the_last_has_gone():
    chain = Chain()
    steps = [BOX.term(S, **HANDLED), *BOX.snapshot(S + 1, BOX.init, BOX.child()), BOX.exit(2 * S, exited(0))]
    assert not [v for step in steps for v in chain.feed(step)]
    (shutdown,) = chain.feed(BOX.exit(2 * S + 1, KILLED, BOX.child()))
    assert shutdown.processes[1].ended is Ended.KILLED
    assert chain.deadline() is None


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
        until=100 * S,
    )
    assert len([v for v in verdicts if isinstance(v, Shutdown)]) == 1


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_shutdowns(kind):
    box = Container(kind=kind)
    assert not [v for v in run(Chain(), box.exit(S, exited(1))) if isinstance(v, Shutdown)]


def test_the_limit_of_the_grace_is_the_workloads():
    box = Container(grace_limit_s=30.0, argv=PROGRAM)
    assert shutdown_of(box.term(S, **HANDLED), box.exit(2 * S, exited(0))).grace_limit_s == 30.0
