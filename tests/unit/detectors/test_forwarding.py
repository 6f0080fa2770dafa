"""signal-not-forwarded: the main process got the stop signal and told nobody."""

import dataclasses

import pytest

from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Disposition, Info
from sigtrace.model.finding import Certainty
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    MS,
    PROGRAM,
    SCRIPT,
    SHELL_FORM,
    TAKEN,
    Container,
    S,
    exited,
    findings,
    killed_by,
    story,
)

BOX = Container()
WORKER = BOX.child(comm="gunicorn")
LATE = BOX.child(3, comm="gunicorn", start_ns=2 * S)


def not_forwarded(*steps):
    return findings(*steps, until=99 * S, code="signal-not-forwarded")


def waits(fields=HANDLED, *, argv=SCRIPT, comm="init", others=(WORKER,), between=(), listed=True, killer=None):
    """The main process waits for its children until SIGKILL comes."""
    main = dataclasses.replace(BOX.init, argv=argv, comm=comm)
    return [
        BOX.exec(1, main),
        BOX.term(S, **fields),
        BOX.deliver(S + 1) if fields is HANDLED else [],
        BOX.snapshot(S + 20 * MS, main, *others) if listed else [],
        *between,
        BOX.kill(31 * S, killer) if killer else BOX.kill(31 * S),
        BOX.exit(31 * S + MS, KILLED),
        *(BOX.teardown(31 * S + 2 * MS, task) for task in others),
        *(BOX.exit(31 * S + 3 * MS, KILLED, task) for task in others),
    ]


@pytest.mark.parametrize(
    ("argv", "certainty"),
    [(SCRIPT, Certainty.OBSERVED), (SHELL_FORM, Certainty.OBSERVED), (PROGRAM, Certainty.INFERRED)],
)
@pytest.mark.parametrize("fields", [HANDLED, TAKEN])
def test_who_told_nobody_and_waited_for_sigkill_kept_them_waiting(argv, certainty, fields):
    (finding,) = not_forwarded(waits(fields, argv=argv))
    assert (finding.cause, finding.severity) == ("main-kept-waiting", Severity.WARNING)
    assert finding.certainty is certainty
    assert "gunicorn (pid 2) was never told, and it waited for them until SIGKILL came" in finding.message


def test_where_nobody_was_listed_in_time_those_who_were_torn_down_were_kept_waiting():
    """A machine so busy that SIGKILL came before the listing."""
    shutdown, found = story(waits(listed=False), until=99 * S)
    (finding,) = [f for f in found if f.code == "signal-not-forwarded"]
    assert (finding.cause, finding.certainty) == ("main-kept-waiting", Certainty.INFERRED)
    assert "gunicorn (pid 2) was never told" in finding.message
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "not-forwarded")
    assert "signal-not-forwarded" in shutdown.findings


def kept_until_late(box, argv, *, status=KILLED, killed=(), **how):
    """A machine so busy that the listing a stop signal asks for came when SIGKILL had."""
    main, worker = dataclasses.replace(box.init, argv=argv), box.child(comm="gunicorn")
    return [
        *[box.exec(1, main), box.term(S, **HANDLED), box.deliver(S + 1), box.kill(31 * S, **how), *killed],
        *box.snapshot(31 * S + 9 * MS, main, worker),
        *[box.exit(31 * S + 14 * MS, status), box.teardown(31 * S + 15 * MS, worker)],
        box.exit(31 * S + 19 * MS, KILLED, worker),
    ]


@pytest.mark.parametrize("host_pid", [False, True])
@pytest.mark.parametrize(("argv", "certainty"), [(SCRIPT, Certainty.OBSERVED), (PROGRAM, Certainty.INFERRED)])
def test_a_listing_between_sigkill_and_the_exit_shows_who_was_kept_waiting(argv, certainty, host_pid):
    box = Container(host_pid=host_pid)
    killed = [box.kill(31 * S + 1, task=box.child(comm="gunicorn"))] if host_pid else []
    shutdown, found = story(kept_until_late(box, argv, killed=killed), until=99 * S)
    (finding,) = [f for f in found if f.code == "signal-not-forwarded"]
    assert (finding.cause, finding.certainty, finding.time_ns) == ("main-kept-waiting", certainty, 31 * S)
    assert [event.signo for event in finding.evidence] == [signals.SIGTERM, signals.SIGKILL]
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "not-forwarded")
    assert "signal-not-forwarded" in shutdown.findings


def test_who_died_of_a_fault_when_sigkill_came_waited_for_nobody():
    assert not not_forwarded(kept_until_late(BOX, PROGRAM, status=killed_by(signals.SIGSEGV)))


@pytest.mark.parametrize("listed_at", [S + 20 * MS, 6 * S + MS, None])
def test_who_was_out_of_memory_while_it_stopped_waited_for_nobody(listed_at):
    box = Container(grace_limit_s=30.0)
    worker = box.child(comm="gunicorn")
    listed = box.snapshot(listed_at, box.init, worker) if listed_at else []
    before, after = (listed, []) if listed_at != 6 * S + MS else ([], listed)
    killed = [box.kill(6 * S, None, info=Info.PRIV), box.oom(6 * S + 40_000)]
    gone = [box.exit(6 * S + 2 * MS, KILLED), box.teardown(6 * S + 3 * MS, worker)]
    shutdown, found = story(
        [box.exec(1, box.init), box.term(S, **HANDLED), box.deliver(S + 1), *before, *killed, *after, *gone],
        [box.exit(6 * S + 4 * MS, KILLED, worker)],
        until=99 * S,
    )
    assert shutdown.outcome == "oom"
    assert "signal-not-forwarded" not in [f.code for f in found]


def test_whose_time_was_cut_short_is_not_said_to_have_kept_others_waiting():
    box = Container(grace_limit_s=30.0)
    main, worker = dataclasses.replace(box.init, argv=PROGRAM), box.child(comm="gunicorn")
    shutdown, found = story(
        [box.exec(1, main), box.term(S, **HANDLED), box.deliver(S + 1), *box.snapshot(S + 20 * MS, main, worker)],
        [box.kill(3 * S), box.exit(3 * S + MS, KILLED), box.teardown(3 * S + 2 * MS, worker)],
        [box.exit(3 * S + 3 * MS, KILLED, worker)],
        until=99 * S,
    )
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "grace-shortened")
    assert "signal-not-forwarded" not in [f.code for f in found]


def test_who_was_kept_waiting_may_be_gone_before_the_main_process():
    """A runtime's SIGKILL to all of a cgroup: the story's cause is what its finding says."""
    box = Container(host_pid=True)
    main, worker = dataclasses.replace(box.init, argv=PROGRAM), box.child(comm="gunicorn")
    shutdown, found = story(
        [box.exec(1, main), box.term(S, **HANDLED), box.deliver(S + 1), *box.snapshot(S + 20 * MS, main, worker)],
        [box.kill(31 * S), box.kill(31 * S + 1, task=worker)],
        [box.exit(31 * S + MS, KILLED, worker), box.exit(31 * S + 2 * MS, KILLED)],
        until=99 * S,
    )
    assert [f.cause for f in found if f.code == "signal-not-forwarded"] == ["main-kept-waiting"]
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "not-forwarded")


def test_a_helper_that_was_started_for_the_stop_excuses_nobody():
    for listed in (True, False):
        (finding,) = not_forwarded(waits(listed=listed, others=(WORKER, LATE)))
        assert "gunicorn (pid 2) was never told" in finding.message, listed


def told(task=WORKER, at=S + 30 * MS, sender=BOX.init, **fields):
    return BOX.term(at, sender, task=task, **HANDLED | fields)


@pytest.mark.parametrize(
    ("why", "steps"),
    [
        ("it told one", waits(between=[told()])),
        ("it told one of two", waits(others=(WORKER, BOX.child(2)), between=[told()])),
        ("somebody else told it", waits(between=[told(sender=BOX.child(9))])),
        ("it never heard", waits(DROPPED)),
        ("it ignores it", waits(IGNORED)),
        ("it still pends", waits(BLOCKED, listed=False)),
        ("nobody was there", waits(others=())),
        ("only an operator's shell was there", waits(others=(BOX.guest(comm="bash", argv=("bash",)),))),
        ("nobody was listed, nor torn down", waits(listed=False, others=())),
        ("one was told, and nobody listed", waits(listed=False, others=(WORKER, BOX.child(2)), between=[told()])),
        ("who was there came after the stop, to clean up", waits(others=(LATE,))),
        ("who was torn down came after the stop", waits(listed=False, others=(LATE,))),
        ("nginx tells by a channel, and nobody was listed", waits(listed=False, comm="nginx")),
        ("nginx tells by a channel", waits(comm="nginx")),
        ("apache tells by a pipe", waits(comm="apache2")),
        ("php-fpm too", waits(comm="php-fpm8.2")),
        ("the kill was no part of the stop", waits(killer=BASH)),
    ],
)
def test_it_is_not_told_where(why, steps):
    assert not not_forwarded(steps), why


def test_a_second_sigkill_tells_it_no_second_time():
    assert len(not_forwarded(waits(between=[BOX.kill(30 * S)]))) == 1


def test_a_late_drop_is_no_refusal_to_forward():
    late = BOX.deliver(2 * S, disposition=Disposition.DEFAULT)
    assert not not_forwarded(waits(BLOCKED, between=[late]))


def test_a_worker_that_ignores_what_it_was_told_was_told():
    assert not not_forwarded(waits(between=[told(**IGNORED)]))


def test_what_was_passed_on_an_hour_ago_was_another_signal():
    """A thread dump of all, then a stop of one."""
    dump = [BOX.signal(S, signals.SIGQUIT, **HANDLED), BOX.deliver(S + 1, signals.SIGQUIT)]
    passed_on = BOX.signal(S + 2, signals.SIGQUIT, BOX.init, task=WORKER, **HANDLED)
    main, at = dataclasses.replace(BOX.init, argv=SCRIPT), 3600 * S
    stop = [
        BOX.term(at, **HANDLED),
        BOX.deliver(at + 1),
        BOX.snapshot(at + 20 * MS, main, WORKER),
        BOX.kill(at + 10 * S),
    ]
    found = findings(BOX.exec(1, main), BOX.exec(2, WORKER), dump, passed_on, stop, code="signal-not-forwarded")
    assert [f.cause for f in found] == ["main-kept-waiting"]


def leaves(*, told_first=(), others=(WORKER,), status=None):
    return [
        BOX.exec(1, BOX.init),
        BOX.term(S, **HANDLED),
        BOX.deliver(S + 1),
        BOX.snapshot(S + 20 * MS, BOX.init, *others),
        *(told(task) for task in told_first),
        BOX.exit(S + 50 * MS, status or exited(0)),
        *(BOX.teardown(S + 51 * MS, task) for task in others),
        *(BOX.exit(S + 52 * MS, KILLED, task) for task in others),
    ]


def test_who_left_before_its_children_heard_exited_first():
    (finding,) = not_forwarded(leaves(others=(WORKER, BOX.child(2))))
    assert (finding.cause, finding.severity, finding.certainty) == (
        "main-exited-first",
        Severity.WARNING,
        Certainty.OBSERVED,
    )
    assert "gunicorn (pid 2) and 1 more were never told, and torn down with it" in finding.message


def test_only_those_that_were_never_told_are_named():
    (finding,) = not_forwarded(leaves(others=(WORKER, BOX.child(2)), told_first=[WORKER]))
    assert "worker (pid 3) was never told" in finding.message


@pytest.mark.parametrize("steps", [leaves(told_first=[WORKER]), leaves(others=())])
def test_who_told_all_that_were_left_did_forward(steps):
    assert not not_forwarded(steps)


def test_of_those_that_a_container_of_hundreds_told_the_limiter_keeps_some_so_that_nobody_was_never_told():
    others = [BOX.child(k) for k in range(1, 300)]
    assert not not_forwarded(leaves(others=others, told_first=others[:120]))


def test_the_child_of_a_command_that_entered_is_nobodys_work_though_its_parent_was_torn_down_first():
    shell = BOX.guest(50, "sh")
    sleep = BOX.child(51, "sleep", parent=shell)
    start = [BOX.exec(1, BOX.init), BOX.exec(2, shell), BOX.term(S, **HANDLED), BOX.deliver(S + 1)]
    shell_first = [BOX.teardown(S + 11, shell), BOX.exit(S + 12, KILLED, shell)]
    its_child = [BOX.teardown(S + 13, sleep), BOX.exit(S + 14, KILLED, sleep)]
    assert not not_forwarded(start, BOX.exit(S + 10, exited(0)), shell_first, its_child)


@pytest.mark.parametrize("signo", [signals.number("USR1"), signals.number("WINCH")])
@pytest.mark.parametrize("passed_on", [True, False])
def test_a_signal_that_has_a_record_at_its_delivery_alone_was_passed_on_too(signo, passed_on):
    """HAProxy's master (STOPSIGNAL SIGUSR1), tini before httpd (SIGWINCH)."""
    box = Container(asked=True, stop_signal=signo)
    main, worker = dataclasses.replace(box.init, comm="haproxy"), box.child(comm="haproxy")
    outcome, found = story(
        box.exec(1, main),
        box.exec(2, worker),
        box.signal(S, signo, **HANDLED),
        box.deliver(S + 1, signo),
        box.deliver(S + MS, signo, task=worker) if passed_on else [],
        box.snapshot(S + 20 * MS, main, worker),
        box.kill(31 * S),
        box.exit(31 * S + MS, KILLED),
        box.teardown(31 * S + 2 * MS, worker),
        box.exit(31 * S + 3 * MS, KILLED, worker),
    )
    assert outcome.cause == ("slow" if passed_on else "not-forwarded")
    assert ("signal-not-forwarded" in [f.code for f in found]) is not passed_on


def test_who_raises_the_stop_signal_at_himself_was_told_by_nobody():
    raised = [BOX.term(2 * S, WORKER, task=WORKER, **HANDLED), BOX.deliver(2 * S + 1, task=WORKER)]
    (finding,) = not_forwarded(waits(between=raised))
    assert finding.cause == "main-kept-waiting"
