"""How a main process ended, and why: the first row of the outcomes that fits."""

import dataclasses

import pytest

from sigtrace.model import signals
from sigtrace.model.event import Disposition, Masks
from sigtrace.model.finding import Ended, SenderRole
from sigtrace.sinks.story import shutdown_story
from sigtrace.sinks.style import Style
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    MS,
    PYTHON,
    RUNC,
    SCRIPT,
    SEGFAULT,
    TAKEN,
    Container,
    S,
    exited,
    killed_by,
    named,
    shutdown_of,
    story,
    verdict,
)

BOX = Container()
HOST = Container(2, host_pid=True)
TERM = killed_by(signals.SIGTERM)
ABORTED = killed_by(signals.SIGABRT | 0x80)


# ---- asked to stop, and left by itself


@pytest.mark.parametrize("box", [BOX, HOST], ids=["init", "host PID namespace"])
@pytest.mark.parametrize(
    ("stop", "status", "outcome", "cause"),
    [
        (HANDLED, exited(0), "graceful", None),
        (HANDLED, exited(1), "graceful", None),
        (HANDLED, exited(143), "graceful", None),
        (HANDLED, TERM, "graceful", None),  # it handled it and then raised it again
        (TAKEN, exited(0), "graceful", None),  # sigwait, as tini does
        (HANDLED, SEGFAULT, "crashed", "fatal-signal"),
        (BY_DEFAULT, SEGFAULT, "crashed", "fatal-signal"),
        (HANDLED, ABORTED, "crashed", "fatal-signal"),
        (IGNORED, exited(0), "exited", None),
        (IGNORED, exited(3), "crashed", "exit-status"),
        (None, exited(0), "exited", None),
        (None, exited(1), "crashed", "exit-status"),
        (None, exited(137), "crashed", "exit-status"),  # by itself, and no child died of it
        (None, exited(143), "crashed", "exit-status"),
        (None, SEGFAULT, "crashed", "fatal-signal"),
        (None, ABORTED, "crashed", "fatal-signal"),
        (None, KILLED, "killed", "unknown"),
    ],
)
def test_without_a_kill_the_status_and_what_became_of_the_stop_signal_decide(box, stop, status, outcome, cause):
    before = [] if stop is None else [box.term(S, **stop)]
    shutdown = shutdown_of(*before, box.exit(3 * S, status))
    assert (shutdown.outcome, shutdown.cause) == (outcome, cause)
    assert shutdown.wait_status == status
    assert shutdown.stop_signo == (signals.SIGTERM if stop else 0)
    assert shutdown.requested_by is (SenderRole.RUNTIME if stop else None)
    assert shutdown.grace_s == shutdown.duration_s == (2.0 if stop else None)


@pytest.mark.parametrize(("status", "outcome"), [(exited(0), "exited"), (exited(3), "crashed")])
def test_who_never_heard_and_left_was_not_graceful(status, outcome):
    assert verdict(BOX.term(S, **DROPPED), BOX.exit(3 * S, status))[0] == outcome


def test_signalfd_is_seen_by_the_bit_that_is_clear_in_the_next_listing():
    taken = [BOX.term(S, **BLOCKED), BOX.snapshot(S + 20 * MS, BOX.init)]
    assert verdict(*taken, BOX.exit(2 * S, exited(0))) == ("graceful", None)


def test_what_still_pends_at_the_end_was_not_handled():
    pending = [BOX.term(S, **BLOCKED), BOX.snapshot(S + 20 * MS, BOX.init, pending=signals.SIGTERM)]
    assert verdict(*pending, BOX.exit(2 * S, exited(0)))[0] == "exited"


def test_a_plain_program_in_a_host_pid_namespace_dies_of_it():
    assert verdict(HOST.term(S, **BY_DEFAULT), HOST.exit(S + MS, TERM)) == ("terminated", "no-handler")


def test_an_unusual_signal_that_somebody_sent_and_it_died_of_is_no_crash():
    usr1 = signals.number("USR1")
    assert verdict(HOST.signal(S, usr1, BASH, **BY_DEFAULT), HOST.exit(S + MS, killed_by(usr1)))[0] == "terminated"
    assert verdict(HOST.exit(S + MS, killed_by(usr1))) == ("crashed", "fatal-signal")


def test_a_segfault_that_somebody_sent_is_no_fault_of_its_own():
    sent = HOST.signal(S, signals.SIGSEGV, BASH, **BY_DEFAULT)
    assert verdict(sent, HOST.exit(S + MS, SEGFAULT))[0] == "terminated"
    assert verdict(HOST.fault(S), HOST.exit(S + MS, SEGFAULT)) == ("crashed", "fatal-signal")


# ---- asked to stop, and killed


@pytest.mark.parametrize(
    ("stop", "cause"),
    [
        (DROPPED, "dropped"),
        (IGNORED, "ignored"),
        (BLOCKED, "pending"),
        (HANDLED | {"blocked": True}, "pending"),
        (BY_DEFAULT | {"stopped": True}, "pending"),
        (BY_DEFAULT | {"frozen": True}, "pending"),
        (HANDLED | {"stopped": True}, "pending"),
        (HANDLED, "slow"),
        (TAKEN, "slow"),
        (BY_DEFAULT, "unknown"),
    ],
)
def test_an_escalation_says_why_the_stop_signal_was_not_enough(stop, cause):
    shutdown = shutdown_of(BOX.term(S, **stop), BOX.kill(S + 300 * MS), BOX.exit(S + 310 * MS, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("escalated", cause)
    assert (shutdown.grace_s, shutdown.duration_s) == (0.3, 0.31)
    assert shutdown.processes[0].ended is Ended.KILLED
    assert "killed" in shutdown.findings


def escalation(*steps, box=BOX, killed_after=10 * S):
    return verdict(*steps, box.kill(S + killed_after), box.exit(S + killed_after + MS, KILLED))[1]


def test_what_was_delivered_at_last_was_slow_and_not_pending():
    blocked = HANDLED | {"blocked": True}
    assert escalation(BOX.term(S, **blocked), BOX.deliver(2 * S)) == "slow"


def test_a_delivery_counts_after_many_others():
    others = [BOX.deliver(S + i, signals.SIGCHLD) for i in range(1, 20)]
    assert escalation(BOX.term(S, **HANDLED | {"blocked": True}), *others, BOX.deliver(2 * S)) == "slow"


def test_what_a_signalfd_took_was_slow_and_not_pending():
    assert escalation(BOX.term(S, **BLOCKED), BOX.snapshot(S + 20 * MS, BOX.init)) == "slow"


def test_what_the_listing_still_shows_is_pending():
    listing = BOX.snapshot(S + 20 * MS, BOX.init, pending=signals.SIGTERM)
    assert escalation(BOX.term(S, **BLOCKED), listing) == "pending"


def test_the_masks_of_an_earlier_listing_say_nothing_of_a_later_signal():
    early = BOX.snapshot(S, BOX.init, masks=Masks())
    assert escalation(early, BOX.term(2 * S, **BLOCKED)) == "pending"


def test_a_late_drop_is_a_drop():
    late = BOX.deliver(2 * S, disposition=Disposition.DEFAULT)
    assert escalation(BOX.term(S, **BLOCKED), late) == "dropped"


def test_a_grace_that_was_shortened_is_why_a_handler_did_not_finish():
    box = Container(grace_limit_s=30.0)
    assert escalation(box.term(S, **HANDLED), box.deliver(S + 1), box=box) == "grace-shortened"
    assert escalation(box.term(S, **HANDLED), box.deliver(S + 1), box=box, killed_after=30 * S) == "slow"


def test_a_signal_that_was_never_heard_is_dropped_however_short_the_grace():
    box = Container(grace_limit_s=30.0)
    assert escalation(box.term(S, **DROPPED), box=box) == "dropped"


def test_a_hook_that_used_the_grace_up_is_why_a_handler_did_not_finish():
    box = Container(grace_limit_s=30.0)
    hook = box.guest(argv=("sleep", "25"))
    steps = [box.exec(S, hook), box.exit(26 * S, exited(0), hook), box.term(26 * S + MS, **HANDLED)]
    shutdown = shutdown_of(*steps, box.deliver(26 * S + 2 * MS), box.kill(31 * S), box.exit(31 * S + MS, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "pre-stop-overran")
    assert (shutdown.pre_stop_s, shutdown.pre_stop_kind) == (25.0, "exec")


def not_forwarded(box, *, tell=(), comm="init", listed=True):
    """A script that traps the stop signal and waits for its children."""
    main, worker = dataclasses.replace(box.init, argv=SCRIPT, comm=comm), box.child(comm="app")
    listing = box.snapshot(S + 20 * MS, main, worker) if listed else []
    told = [box.term(S + 30 * MS, box.init, task=worker, **HANDLED)] if tell else []
    return [box.exec(1, main), box.term(S, **HANDLED), box.deliver(S + 1), listing, told]


def test_a_main_process_that_told_nobody_did_not_forward():
    assert escalation(*not_forwarded(BOX)) == "not-forwarded"
    assert escalation(*not_forwarded(BOX, tell=True)) == "slow"


def test_who_tells_its_workers_by_a_channel_is_only_slow():
    assert escalation(*not_forwarded(BOX, comm="nginx")) == "slow"


def test_without_a_listing_nobody_knows_who_was_there_to_be_told():
    assert escalation(*not_forwarded(BOX, listed=False)) == "slow"


def test_somebody_who_entered_need_not_be_told():
    shell = BOX.guest(comm="bash", argv=("bash",))
    listing = BOX.snapshot(S + 20 * MS, BOX.init, shell)
    assert escalation(BOX.exec(1, shell), BOX.term(S, **HANDLED), BOX.deliver(S + 1), listing) == "slow"


# ---- killed with no stop signal


@pytest.mark.parametrize(
    ("killer", "cause"),
    [(RUNC, "no-stop-signal"), (BASH, "manual"), (PYTHON, "unknown"), (None, "unknown")],
)
def test_a_kill_that_nothing_came_before_has_the_findings_cause(killer, cause):
    shutdown, findings = story(BOX.kill(S, killer), BOX.exit(S + MS, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("killed", cause)
    assert named(findings) == [f"killed/{cause}"]
    assert (shutdown.stop_signo, shutdown.grace_s, shutdown.duration_s) == (0, None, 0.001)


def test_the_killed_and_the_shutdown_agree_on_a_stop_by_somebody_else():
    steps = [BOX.term(S, BASH, **DROPPED), BOX.kill(600 * S), BOX.exit(601 * S, KILLED)]
    shutdown, findings = story(*steps, until=602 * S)
    assert (shutdown.outcome, shutdown.cause) == ("killed", "no-stop-signal")
    assert "killed/no-stop-signal" in named(findings)
    assert shutdown.stop_signo == 0


def test_somebody_elses_kill_long_after_the_grace_period_belongs_to_no_stop():
    box = Container(grace_limit_s=30.0)
    steps = [box.term(S, **HANDLED), box.kill(37 * S, BASH), box.exit(37 * S + MS, KILLED)]
    assert verdict(*steps) == ("killed", "manual")


@pytest.mark.parametrize(("fields", "cause"), [(DROPPED, "dropped"), (HANDLED, "slow")])
def test_a_runtime_that_was_told_to_wait_longer_than_is_configured_stopped_it_all_the_same(fields, cause):
    """`docker stop -t 60`, `kubectl delete --grace-period=120`."""
    box = Container(grace_limit_s=10.0)
    shutdown, found = story(box.term(S, **fields), box.kill(61 * S), box.exit(61 * S + MS, KILLED))
    assert (shutdown.outcome, shutdown.cause, shutdown.grace_s) == ("escalated", cause, 60.0)
    assert "killed/grace-expired" in named(found)


@pytest.mark.parametrize("status", [exited(0), exited(1), exited(143)])
def test_who_ends_within_the_longer_time_that_its_runtime_gave_was_asked(status):
    box = Container(grace_limit_s=10.0)
    shutdown = shutdown_of(box.term(S, **HANDLED), box.deliver(S + 1), box.exit(46 * S, status))
    assert (shutdown.outcome, shutdown.grace_s) == ("graceful", 45.0)


#: It knows no hooks, as Docker.
PODMAN = Container(3, runtime="podman")


@pytest.mark.parametrize("status", [exited(0), exited(1), exited(143)])
def test_a_sigterm_from_inside_that_was_handled_asked_it_to_end(status):
    """`kubectl exec … kill 1`, the usual way to have a container started again."""
    kill = PODMAN.guest(comm="kill")
    shutdown, found = story(PODMAN.exec(2, kill), PODMAN.term(S, kill, **HANDLED), PODMAN.exit(S + 20 * MS, status))
    assert (shutdown.outcome, shutdown.stop_signo) == ("graceful", signals.SIGTERM)
    assert shutdown.requested_by is SenderRole.SAME_CONTAINER
    assert not found


@pytest.mark.parametrize(
    "steps",
    [
        [PODMAN.term(S, PODMAN.child(), **HANDLED), PODMAN.exit(S + MS, exited(1))],  # its own idea
        [PODMAN.term(S, PODMAN.guest(), **HANDLED), PODMAN.exit(S + 5 * S, exited(1))],  # long after
        [
            PODMAN.signal(S, signals.number("HUP"), PODMAN.guest(), **HANDLED),
            PODMAN.exit(S + MS, exited(1)),
        ],  # a reload
        [PODMAN.term(S, PODMAN.guest(), **IGNORED), PODMAN.exit(S + MS, exited(1))],
    ],
)
def test_not_every_signal_from_inside_did(steps):
    assert verdict(PODMAN.exec(2, PODMAN.guest()), *steps) == ("crashed", "exit-status")


@pytest.mark.parametrize(
    ("code", "after_ns", "outcome"),
    [(2, 20_000, ("terminated", "no-handler")), (0, 20_000, ("graceful", None)), (2, S, ("graceful", None))],
)
def test_the_handler_that_every_go_program_has_cleans_nothing_up(code, after_ns, outcome):
    """As recorded on 6.18 of a program that only sleeps (Go 1.19): raised, taken, raised again, dropped, exit 2."""
    at = S + after_ns
    again = [BOX.term(at - 9000, BOX.init, **HANDLED), BOX.deliver(at - 8000)]
    dropped = [BOX.term(at - 5000, BOX.init, **DROPPED), BOX.term(at - 2000, BOX.init, **DROPPED)]
    steps = [BOX.term(S, **HANDLED), BOX.deliver(S + 1000), again, dropped, BOX.exit(at, exited(code))]
    assert verdict(BOX.exec(1, BOX.init), *steps) == outcome


@pytest.mark.parametrize(
    ("status", "main_status", "fields", "outcome"),
    [
        (exited(143), 143, HANDLED, ("graceful", None)),
        (TERM, 143, BY_DEFAULT, ("terminated", "no-handler")),
        (exited(1), 1, HANDLED, ("crashed", "exit-status")),
    ],
)
@pytest.mark.parametrize("init", ["tini", "sh"])
def test_a_command_from_outside_may_ask_the_program_behind_an_init(init, status, main_status, fields, outcome):
    """A preStop hook's `kill $(pidof java)`: tini and shells pass on how their child ended."""
    main, app, hook = dataclasses.replace(BOX.init, comm=init), BOX.child(1, "java"), BOX.guest()
    seen = [BOX.exec(1, main), BOX.exec(2, app), BOX.exec(3, hook)]
    ends = [BOX.exit(S + 50 * MS, status, app), BOX.exit(S + 51 * MS, exited(main_status))]
    assert verdict(seen, BOX.term(S, hook, task=app, **fields), ends) == outcome


def test_the_story_says_whom_the_command_from_outside_asked():
    main = dataclasses.replace(BOX.init, comm="tini")
    app, logger, hook = BOX.child(1, "java"), BOX.child(2, "logger"), BOX.guest()
    shutdown, found = story(
        [BOX.exec(n, task) for n, task in enumerate((main, app, logger, hook), 1)],
        BOX.term(S, hook, task=app, **HANDLED),
        BOX.exit(S + 50 * MS, exited(143), app),
        BOX.exit(S + 51 * MS, exited(143)),
        BOX.teardown(S + 52 * MS, logger),
        BOX.exit(S + 53 * MS, KILLED, logger),
    )
    assert (shutdown.outcome, [f.code for f in found]) == ("graceful", [])
    assert shutdown.processes[0].signalled_wall_ns is None
    told = "\n".join(shutdown_story(shutdown, found, Style(width=100, colour=False)))
    assert f"SIGTERM → pid {app.pid}  java" in told


def test_a_probe_that_ends_its_own_command_asked_nobody_to_stop():
    """`timeout 1 curl …`, and twenty seconds later a crash with 143."""
    probe, curl, app = BOX.guest(comm="timeout"), BOX.child(51, "curl", parent=BOX.guest()), BOX.child(1, "app")
    steps = [
        BOX.exec(1, BOX.init),
        BOX.exec(2, app),
        BOX.exec(3, probe),
        BOX.exec(4, curl),
        BOX.term(S, probe, task=curl, **BY_DEFAULT),
        BOX.exit(S + MS, TERM, curl),
        BOX.exit(S + 2 * MS, exited(124), probe),
    ]
    assert verdict(steps, BOX.exit(21 * S, exited(143))) == ("crashed", "exit-status")


@pytest.mark.parametrize(("fields", "outcome"), [(HANDLED, "graceful"), (BY_DEFAULT, "terminated")])
def test_behind_an_init_that_tells_all_the_shell_in_front_is_not_the_program(fields, outcome):
    """`dumb-init sh -c "app; true"`, `tini -g`: the shell dies of it, the program may handle it."""
    shell, app = BOX.child(1, "sh"), BOX.child(2, "app", parent=BOX.child(1, "sh"))
    told = [BOX.term(S + 1, BOX.init, task=shell, **BY_DEFAULT), BOX.term(S + 2, BOX.init, task=app, **fields)]
    ends = [BOX.exit(S + MS, exited(0) if fields is HANDLED else TERM, app), BOX.exit(S + 2 * MS, TERM, shell)]
    seen = [BOX.exec(1, BOX.init), BOX.exec(2, shell), BOX.exec(3, app)]
    assert verdict(seen, BOX.term(S, **TAKEN), told, ends, BOX.exit(S + 3 * MS, exited(143)))[0] == outcome


def test_a_pre_stop_command_that_sends_the_stop_signal_is_a_pre_stop_command():
    """`nginx -s quit` as the hook of a container whose stop signal is SIGQUIT."""
    box = Container(stop_signal=signals.SIGQUIT)
    hook = box.guest(comm="nginx")
    quit_ = box.signal(S, signals.SIGQUIT, hook, **HANDLED)
    assert verdict(box.exec(2, hook), quit_, box.exit(S + 20 * MS, exited(0))) == ("graceful", "pre-stop")
