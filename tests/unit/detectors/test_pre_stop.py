"""Commands that entered a container: which of them was its preStop hook."""

import pytest

from sigtrace.model import signals
from tests.unit.detectors.events import (
    BY_DEFAULT,
    HANDLED,
    KILLED,
    MS,
    Container,
    S,
    exited,
    shutdown_of,
    verdict,
)

BOX = Container()


def test_a_hook_that_ended_just_before_the_stop_signal_is_timed():
    hook = BOX.guest(argv=("sleep", "5"))
    steps = [BOX.exec(S, hook), BOX.exit(6 * S, exited(0), hook), BOX.term(6 * S + 10 * MS, **HANDLED)]
    shutdown = shutdown_of(*steps, BOX.exit(7 * S, exited(0)))
    assert (shutdown.outcome, shutdown.pre_stop_s, shutdown.pre_stop_kind) == ("graceful", 5.0, "exec")


def test_a_hook_that_ended_the_main_process_itself_was_graceful():
    quit_ = BOX.guest(comm="nginx", argv=("nginx", "-s", "quit"))
    sent = BOX.signal(S + 5 * MS, signals.SIGQUIT, quit_, **HANDLED)
    shutdown = shutdown_of(BOX.exec(1, BOX.init), BOX.exec(S, quit_), sent, BOX.exit(S + 90 * MS, exited(0)))
    assert (shutdown.outcome, shutdown.cause) == ("graceful", "pre-stop")
    assert shutdown.pre_stop_kind == "exec"


def test_so_was_one_that_is_a_command_of_a_shell():
    """``sh -c "sleep 5; nginx -s quit"``"""
    shell = BOX.guest(argv=("sh", "-c", "sleep 5; nginx -s quit"))
    quit_ = BOX.child(51, "nginx", parent=shell)
    sent = BOX.signal(6 * S, signals.SIGQUIT, quit_, **HANDLED)
    shutdown = shutdown_of(BOX.exec(1, BOX.init), BOX.exec(S, shell), sent, BOX.exit(6 * S + 90 * MS, exited(0)))
    assert (shutdown.outcome, shutdown.cause) == ("graceful", "pre-stop")


def by_hook(signo, status, *, task=None, box=BOX, after=90 * MS, **fields):
    """A command from outside sends a signal, and the main process ends."""
    hook = box.guest(comm="kill", argv=("kill", "1"))
    sent = box.signal(S + 5 * MS, signo, hook, task=task, **HANDLED | fields)
    return [box.exec(1, box.init), box.exec(S, hook), sent, box.exit(S + after, status)]


@pytest.mark.parametrize(
    ("task", "fields", "status", "expected"),
    [
        (None, {}, exited(0), ("graceful", "pre-stop")),
        (None, {}, exited(1), ("graceful", "pre-stop")),  # it handled it, as with a stop signal
        (None, BY_DEFAULT, exited(1), ("crashed", "exit-status")),
        (BOX.child(), {}, exited(0), ("graceful", "pre-stop")),
        (BOX.child(), {}, exited(1), ("crashed", "exit-status")),
    ],
)
def test_a_hook_counts_if_what_it_signalled_was_the_way_to_the_end(task, fields, status, expected):
    assert verdict(by_hook(signals.SIGQUIT, status, task=task, **fields)) == expected


def test_what_a_command_sent_long_before_is_not_why_it_ended():
    steps = by_hook(signals.SIGHUP, exited(0), after=24 * 3600 * S)
    assert verdict(steps, until=25 * 3600 * S) == ("exited", None)


@pytest.mark.parametrize(("status", "expected"), [(1, ("crashed", "exit-status")), (0, ("exited", None))])
def test_a_reload_by_a_command_is_no_request_to_end(status, expected):
    """``kubectl exec … -- nginx -s reload``, and five minutes later it fails."""
    assert verdict(by_hook(signals.SIGHUP, exited(status), after=300 * S), until=900 * S) == expected


@pytest.mark.parametrize(
    ("began_s", "killed_s", "overran"),
    [(1, 31, True), (1, 30.6, True), (1, 30.4, False), (20, 31, False)],
)
def test_with_a_known_limit_a_hook_that_still_runs_overran_if_its_time_was_up(began_s, killed_s, overran):
    box = Container(grace_limit_s=30.0)
    hook = box.guest(argv=("sleep", "600"))
    at = int(killed_s * S)
    steps = [box.exec(1, box.init), box.exec(began_s * S, hook), box.term(29 * S, **HANDLED), box.kill(at)]
    assert verdict(steps, box.exit(at + MS, KILLED)) == (
        "escalated",
        "pre-stop-overran" if overran else "grace-shortened",
    )


@pytest.mark.parametrize(
    ("ran_s", "left_s", "overran"),
    [(30, 2, True), (30, 10, False), (1, 2, False)],
    ids=["2 s left", "10 s left", "short"],
)
def test_without_a_limit_it_overran_if_it_ran_for_a_while_and_the_kubelets_last_two_seconds_followed(
    ran_s, left_s, overran
):
    hook = BOX.guest(argv=("sleep", "600"))
    asked = S + ran_s * S
    steps = [BOX.exec(1, BOX.init), BOX.exec(S, hook), BOX.term(asked, **HANDLED), BOX.kill(asked + left_s * S)]
    shutdown = shutdown_of(steps, BOX.exit(asked + left_s * S + MS, KILLED))
    assert (shutdown.cause, shutdown.pre_stop_s) == (("pre-stop-overran", ran_s) if overran else ("slow", None))


def test_a_probe_that_repeats_is_no_hook():
    probes = []
    for k in range(5):
        probe = BOX.guest(50 + k, argv=("pg_isready",))
        probes += [BOX.exec((10 + k) * S, probe), BOX.exit((10 + k) * S + 50 * MS, exited(0), probe)]
    shutdown = shutdown_of(probes, BOX.term(14 * S + 100 * MS, **HANDLED), BOX.exit(15 * S, exited(0)))
    assert (shutdown.outcome, shutdown.pre_stop_s) == ("graceful", None)


@pytest.mark.parametrize("argv", [("bash",), ("/bin/sh",), ("bash", "-l"), ("sh", "-i")])
def test_an_operators_open_shell_is_no_hook(argv):
    shell = BOX.guest(comm="bash", argv=argv)
    steps = [BOX.exec(S, shell), BOX.term(9 * S, **HANDLED), BOX.kill(11 * S), BOX.exit(11 * S + MS, KILLED)]
    shutdown = shutdown_of(steps, BOX.teardown(11 * S + 2 * MS, shell), BOX.exit(11 * S + 3 * MS, KILLED, shell))
    assert (shutdown.outcome, shutdown.cause, shutdown.pre_stop_s) == ("escalated", "slow", None)


def test_what_ended_long_before_the_stop_signal_is_no_hook():
    job = BOX.guest(argv=("backup",))
    steps = [BOX.exec(S, job), BOX.exit(5 * S, exited(0), job), BOX.term(9 * S, **HANDLED), BOX.exit(10 * S, exited(0))]
    assert shutdown_of(steps).pre_stop_s is None


@pytest.mark.parametrize("limit_s", [None, 75.0])
def test_a_hook_that_runs_for_minutes_is_not_pushed_out_by_probes(limit_s):
    """Readiness is asked for as long as the hook runs."""
    box = Container(grace_limit_s=limit_s)
    hook = box.guest(argv=("sh", "-c", "sleep 71"))
    steps = [box.exec(S, hook)]
    for n in range(70):
        probe = box.guest(100 + n, comm="probe", argv=("probe",))
        steps += [box.exec((2 + n) * S, probe), box.exit((2 + n) * S + MS, exited(0), probe)]
    if limit_s is None:
        steps += [box.exit(72 * S, exited(0), hook), box.term(72 * S + MS, **HANDLED), box.exit(73 * S, exited(0))]
        assert (shutdown_of(*steps).outcome, shutdown_of(*steps).pre_stop_s) == ("graceful", 71.0)
    else:
        steps += [box.term(74 * S, **HANDLED), box.kill(76 * S), box.exit(76 * S + MS, KILLED)]
        assert verdict(*steps) == ("escalated", "pre-stop-overran")
