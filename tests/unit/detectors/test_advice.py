"""What to do, where the cause alone would say the wrong thing."""

import dataclasses

import pytest

from sigtrace.model import signals
from sigtrace.model.workload import OomScope, PreStop, PreStopKind
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    PROGRAM,
    SHELL_FORM,
    Container,
    S,
    exited,
    findings,
)

USR1, WINCH = signals.number("USR1"), signals.number("WINCH")
BOX = Container()


def advice(*steps, code):
    (finding,) = findings(*steps, code=code)
    return finding.advice


def dropped(signo, argv, *, box=BOX, sender=BASH):
    main = dataclasses.replace(box.init, argv=argv)
    child = [box.child(comm="app")] if argv == SHELL_FORM else []
    seen = box.snapshot(1, main, *child)
    asked = box.signal(S, signo, sender=sender, **DROPPED)
    return advice(seen, asked, box.snapshot(S + 20 * MS, main, *child), code="signal-dropped")


@pytest.mark.parametrize(("signo", "init_helps"), [(signals.SIGTERM, True), (signals.SIGHUP, False), (USR1, False)])
def test_an_init_is_advised_for_a_stop_signal_alone(signo, init_helps):
    """It would hand a reload on to a program that has no handler for it: the end of the container."""
    told = dropped(signo, PROGRAM)
    assert "handler" in told
    assert ("tini" in told) is init_helps


@pytest.mark.parametrize(("signo", "init_helps"), [(signals.SIGTERM, True), (signals.SIGHUP, False)])
def test_a_reload_that_stops_at_a_shell_is_for_the_program_behind_it(signo, init_helps):
    told = dropped(signo, SHELL_FORM)
    assert "exec form" in told
    assert ("tini" in told) is init_helps


def test_a_hang_up_that_is_declared_as_the_stop_signal_is_one():
    assert "tini" in dropped(signals.SIGHUP, PROGRAM, box=Container(asked=True, stop_signal=signals.SIGHUP))


def test_a_stop_signal_that_ends_nothing_by_default_has_to_be_another():
    """A php:apache image (STOPSIGNAL SIGWINCH) that runs something else."""
    told = dropped(WINCH, PROGRAM, box=Container(asked=True, stop_signal=WINCH))
    assert "STOPSIGNAL SIGTERM" in told


@pytest.mark.parametrize(
    ("scope", "words"),
    [(OomScope.NODE, "its own limit was not reached"), (OomScope.POD, "higher memory limit"), (None, "memory limit")],
)
def test_a_node_without_memory_is_not_mended_by_a_higher_limit(scope, words):
    steps = [BOX.exec(1, BOX.init), BOX.kill(S, None), BOX.oom(S + 40_000, scope=scope), BOX.exit(S + 5 * MS, KILLED)]
    assert words in advice(*steps, code="killed")


@pytest.mark.parametrize(
    ("comm", "fields", "words"),
    [
        ("systemd", BLOCKED, "SIGRTMIN+3"),
        ("postgres", HANDLED, "STOPSIGNAL SIGINT"),
        ("app", HANDLED, "terminationGracePeriodSeconds"),
    ],
)
def test_who_ends_by_another_signal_should_be_asked_with_that(comm, fields, words):
    main, child = dataclasses.replace(BOX.init, comm=comm), BOX.child()
    steps = [
        BOX.exec(1, main),
        BOX.term(S, **fields),
        BOX.deliver(S + 1),
        BOX.snapshot(S + 20 * MS, main, child),
        BOX.kill(11 * S),
        BOX.exit(11 * S + MS, KILLED),
    ]
    assert words in advice(*steps, code="killed")
    assert "killed" in [f.code for f in findings(*steps)]
    assert comm == "app" or "signal-not-forwarded" not in [f.code for f in findings(*steps)]


@pytest.mark.parametrize(
    ("asked", "by_parent", "words"),
    [
        (True, True, "after the stop signal"),
        (True, False, "after the stop signal"),
        (False, True, "hung"),
        (False, False, "pkill"),
    ],
)
def test_a_supervisor_that_loses_patience_in_a_stop_speaks_of_no_hung_worker(asked, by_parent, words):
    worker, other = BOX.child(), BOX.child(3, "s6-svscan")
    told = [BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.term(S + MS, BOX.init, task=worker, **HANDLED)]
    steps = [
        BOX.snapshot(1, BOX.init, worker, other),
        told if asked else [],
        BOX.kill(21 * S, BOX.init if by_parent else other, task=worker),
        BOX.exit(21 * S + MS, KILLED, worker),
        BOX.exit(22 * S, exited(0)),
    ]
    (finding,) = findings(*steps, code="killed")
    assert finding.cause == ("by-parent" if by_parent else "by-peer")
    assert ("while the container was stopping" in finding.message) is asked
    assert words in finding.advice


def test_a_runtime_that_kills_its_own_process_could_not_start_the_program():
    stage = dataclasses.replace(BOX.init, comm="crun")
    (finding,) = findings(BOX.exec(1, stage), BOX.kill(S), BOX.exit(S + MS, KILLED, stage), code="killed")
    assert finding.advice.startswith("the runtime's own error")


@pytest.mark.parametrize(
    ("comm", "argv", "started"),
    [
        ("runc:[2:INIT]", ("/proc/self/exe", "init"), False),
        ("crun:[2:INIT]", None, False),
        ("app", ("app",), True),
        ("crunch", ("crunch", "--all"), True),
    ],
)
def test_a_program_that_its_runtime_could_not_start_wrote_no_log(comm, argv, started):
    main = dataclasses.replace(BOX.init, comm=comm, argv=argv)
    (finding,) = findings(BOX.exec(1, main), BOX.exit(S, exited(1), main), code="crashed")
    assert finding.cause == "exit-status"
    assert ("could not start" in finding.message) is not started
    assert ("own log" in finding.advice) is started


def test_a_shell_in_front_of_what_handles_the_declared_signal_has_to_go_not_the_signal():
    """`sh -c "…; apache2-foreground"` with httpd's SIGWINCH: SIGTERM would be dropped there as well."""
    assert "exec form" in dropped(WINCH, SHELL_FORM, box=Container(asked=True, stop_signal=WINCH))


def test_who_would_end_by_another_signal_had_no_time_for_any_after_a_long_hook():
    box = Container(asked=True, grace_limit_s=30.0, pre_stop=PreStop(PreStopKind.EXEC, ("sh", "-c", "sleep 29")))
    main, hook = dataclasses.replace(box.init, comm="postgres"), box.guest(argv=("sh", "-c", "sleep 29"))
    steps = [
        box.exec(1, main),
        box.exec(S, hook),
        box.exit(30 * S, exited(0), hook),
        box.term(30 * S + MS, **HANDLED),
        box.deliver(30 * S + 2 * MS),
        box.kill(32 * S),
        box.exit(32 * S + MS, KILLED),
    ]
    (finding,) = findings(*steps, code="killed")
    assert finding.cause == "pre-stop-overran"
    assert "preStop" in finding.advice


def test_a_supervisor_that_was_asked_and_told_nobody_is_not_stopping():
    """A thread dump (SIGQUIT), and later a worker that hangs."""
    worker = BOX.child()
    asked = [BOX.signal(S, signals.SIGQUIT, **HANDLED), BOX.deliver(S + 1, signals.SIGQUIT)]
    killed = [BOX.kill(40 * S, BOX.init, task=worker), BOX.exit(40 * S + MS, KILLED, worker)]
    (finding,) = findings(BOX.snapshot(1, BOX.init, worker), asked, killed, code="killed", until=60 * S)
    assert "stopping" not in finding.message
    assert "hung" in finding.advice
