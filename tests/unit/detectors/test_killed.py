"""killed: why a process of a container got SIGKILL. The first row of the contract's list that fits."""

import dataclasses

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Info
from sigtrace.model.finding import Certainty, Finding, Mechanism, SenderRole, Shutdown
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    KUBELET,
    MS,
    PYTHON,
    RUNC,
    RUNC_AGAIN,
    SYSTEMD,
    TAKEN,
    Container,
    S,
    exited,
    findings,
    named,
    run,
    story,
)

BOX = Container()
LIMITED = Container(grace_limit_s=30.0)
WORKER = BOX.child(1)
SLEEP = ("sleep", "20")


def killed(*steps, until=None):
    """The findings `killed`, and no other than one."""
    (finding,) = findings(*steps, until=until, code="killed")
    return finding


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (DROPPED, "which the kernel had dropped"),
        (IGNORED, "which the process ignores"),
        (HANDLED, "which the process got and did not finish in time"),
        (TAKEN, "which the process got and did not finish in time"),
        (HANDLED | {"blocked": True}, "which was still pending"),
        (BLOCKED, "which was still pending"),
    ],
)
def test_a_grace_that_expired_is_measured_and_says_what_became_of_the_stop_signal(fields, words):
    finding = killed(BOX.term(S, **fields), BOX.kill(S + 10_040 * MS))
    assert (finding.cause, finding.severity, finding.certainty) == (
        "grace-expired",
        Severity.ERROR,
        Certainty.OBSERVED,
    )
    assert f"runc (pid 71) sent SIGKILL 10.0 s after SIGTERM, {words}" in finding.message
    assert (finding.mechanism, finding.sender_role) == (Mechanism.KILL, SenderRole.RUNTIME)
    assert [e.signo for e in finding.evidence] == [signals.SIGTERM, signals.SIGKILL]


def test_a_handler_that_ran_was_too_slow():
    finding = killed(BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.kill(3 * S))
    assert finding.message.endswith("2.0 s after SIGTERM, which the process got and did not finish in time")


# ---- the order of the causes


@pytest.mark.parametrize(
    ("sender", "cause", "certainty"),
    [
        (RUNC, "no-stop-signal", Certainty.HEURISTIC),
        (KUBELET, "no-stop-signal", Certainty.HEURISTIC),
        (SYSTEMD, "unit-stop", Certainty.HEURISTIC),
        (BASH, "manual", Certainty.HEURISTIC),
        (PYTHON, "unknown", Certainty.INFERRED),
        (None, "unknown", Certainty.INFERRED),
    ],
)
def test_of_the_main_process_with_no_stop_signal_the_sender_decides(sender, cause, certainty):
    finding = killed(BOX.kill(S, sender))
    assert (finding.cause, finding.certainty) == (cause, certainty)
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("sender", "cause"),
    [
        (BOX.init, "by-parent"),
        (BOX.child(2, parent=WORKER), "by-child"),
        (BOX.child(3), "by-peer"),
        (RUNC, "no-stop-signal"),
        (SYSTEMD, "unit-stop"),
        (BASH, "manual"),
        (PYTHON, "unknown"),
        (None, "unknown"),
    ],
)
def test_of_another_process_kinship_goes_before_the_senders_name(sender, cause):
    finding = killed(BOX.exec(1, BOX.init), BOX.kill(S, sender, task=WORKER))
    assert finding.cause == cause
    assert finding.subject.key == WORKER.key


def test_a_process_of_the_container_that_calls_itself_runc_is_a_peer():
    assert killed(BOX.kill(S, BOX.child(3, "runc"), task=WORKER)).cause == "by-peer"


def test_a_command_that_entered_and_is_killed_by_the_runtime_ran_past_its_timeout():
    probe = BOX.guest(argv=SLEEP)
    finding = killed(BOX.exec(1, BOX.init), BOX.exec(S, probe), BOX.kill(2 * S, task=probe))
    assert (finding.cause, finding.certainty) == ("exec-timeout", Certainty.HEURISTIC)


def test_so_is_a_child_of_such_a_command():
    probe = BOX.guest()
    child = BOX.child(51, "sleep", parent=probe)
    seen = [BOX.exec(1, BOX.init), BOX.exec(S, probe), BOX.term(S + 1, probe, task=child)]
    assert killed(*seen, BOX.kill(2 * S, task=child)).cause == "exec-timeout"


def test_a_command_that_entered_and_is_killed_by_a_shell_of_the_node_is_manual():
    probe = BOX.guest(argv=SLEEP)
    assert killed(BOX.exec(S, probe), BOX.kill(2 * S, BASH, task=probe)).cause == "manual"


def test_the_main_process_also_entered_from_outside_and_is_no_command():
    box = Container(host_pid=True)
    assert killed(box.exec(1, box.init), box.kill(S)).cause == "no-stop-signal"


@pytest.mark.parametrize(
    ("gap_s", "cause"),
    [(0.5, "grace-shortened"), (29.4, "grace-shortened"), (29.6, "grace-expired"), (35, "grace-expired")],
)
def test_with_a_known_limit_the_gap_decides(gap_s, cause):
    finding = killed(LIMITED.term(S, **HANDLED), LIMITED.kill(S + int(gap_s * S)))
    assert (finding.cause, finding.certainty) == (cause, Certainty.OBSERVED)
    assert finding.severity is (Severity.ERROR if cause == "grace-expired" else Severity.WARNING)


def test_a_hook_that_used_up_the_grace_goes_before_grace_shortened():
    hook = LIMITED.guest(argv=SLEEP)
    steps = [LIMITED.exec(S, hook), LIMITED.exit(21 * S, exited(0), hook), LIMITED.term(21 * S + MS, **HANDLED)]
    finding = killed(*steps, LIMITED.kill(31 * S))
    assert (finding.cause, finding.certainty) == ("pre-stop-overran", Certainty.HEURISTIC)
    assert "the preStop hook had taken 20.0 s before it" in finding.message


def test_a_short_hook_does_not_explain_a_short_grace():
    hook = LIMITED.guest(argv=SLEEP)
    steps = [LIMITED.exec(S, hook), LIMITED.exit(2 * S, exited(0), hook), LIMITED.term(2 * S + MS, **HANDLED)]
    assert killed(*steps, LIMITED.kill(10 * S)).cause == "grace-shortened"


def test_a_hook_that_was_given_up_overran():
    hook = BOX.guest(argv=("sleep", "600"))
    assert killed(BOX.exec(S, hook), BOX.term(31 * S, **HANDLED), BOX.kill(33 * S)).cause == "pre-stop-overran"


def test_an_operators_open_shell_is_no_hook():
    shell = LIMITED.guest(comm="bash", argv=("bash",))
    assert killed(LIMITED.exec(S, shell), LIMITED.term(31 * S, **HANDLED), LIMITED.kill(33 * S)).cause == (
        "grace-shortened"
    )


def test_oom_goes_before_grace_expired():
    assert killed(BOX.term(S, **DROPPED), BOX.kill(2 * S, None), BOX.oom(2 * S + 40_000)).cause == "oom"


@pytest.mark.parametrize(
    ("asker", "killer", "cause", "role"),
    [
        (BASH, RUNC, "no-stop-signal", SenderRole.RUNTIME),
        (RUNC, BASH, "manual", SenderRole.SHELL),
        (BASH, dataclasses.replace(BASH, pid=81), "manual", SenderRole.SHELL),
        # Without a known limit: a runtime sent both, or one and the same process did.
        (RUNC, RUNC_AGAIN, "grace-expired", SenderRole.RUNTIME),
        (BASH, BASH, "grace-expired", SenderRole.SHELL),
        (PYTHON, PYTHON, "grace-expired", SenderRole.UNKNOWN),
    ],
)
def test_without_a_limit_both_signals_must_come_from_one_side(asker, killer, cause, role):
    finding = killed(BOX.term(S, sender=asker, **DROPPED), BOX.kill(60 * S, sender=killer))
    assert (finding.cause, finding.sender_role) == (cause, role)
    assert "SIGTERM" in finding.message or cause != "grace-expired"


@pytest.mark.parametrize(
    ("gap", "cause"), [(30, "grace-expired"), (35, "grace-expired"), (35.001, "manual"), (3600, "manual")]
)
def test_with_a_limit_a_kill_belongs_to_the_stop_within_it_and_five_seconds(gap, cause):
    assert killed(LIMITED.term(S, **DROPPED), LIMITED.kill(S + int(gap * S), sender=BASH)).cause == cause


# ---- how it is told


def test_cgroup_kill_is_told_by_its_missing_siginfo():
    finding = killed(BOX.term(S, **DROPPED), BOX.cgroup_kill(3 * S))
    assert (finding.cause, finding.mechanism) == ("grace-expired", Mechanism.CGROUP_KILL)
    assert killed(BOX.cgroup_kill(S)).mechanism is Mechanism.CGROUP_KILL


def test_a_sender_that_is_not_known_is_not_guessed():
    finding = killed(BOX.kill(S, None, info=Info.REAL, si_code=0))
    assert (finding.cause, finding.sender_role) == ("unknown", SenderRole.UNKNOWN)
    assert finding.message.startswith("an unknown sender sent SIGKILL")


def test_a_hung_worker_that_its_supervisor_killed_was_not_out_of_memory():
    abort = BOX.signal(S, signals.SIGABRT, BOX.init, task=WORKER, **HANDLED)
    found = findings(
        BOX.exec(1, BOX.init), abort, BOX.kill(2 * S, BOX.init, task=WORKER), BOX.exit(3 * S, KILLED, WORKER)
    )
    assert named(found) == ["killed/by-parent"]
    assert found[0].message.endswith("init (pid 1) sent SIGKILL to worker (pid 2); not the OOM killer")


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        (1, [1]),
        (2, [1, 2]),
        (10, [1, 10]),
        (15, [1, 10, 15]),
        (100, [1, 10, 100]),
    ],
)
def test_repeats_of_one_cause_are_told_at_ten_times_the_count_and_at_the_end(times, counts):
    kills = [BOX.kill(k * S, BOX.init, task=BOX.child(k)) for k in range(1, times + 1)]
    assert [f.count for f in findings(kills, until=(times + 61) * S, code="killed")] == counts


def test_a_kill_long_after_the_last_is_a_new_one():
    kills = [BOX.kill(k * S, BOX.init, task=BOX.child(k)) for k in (1, 2, 200)]
    assert [f.count for f in findings(kills, until=900 * S, code="killed")] == [1, 2, 1]


def test_causes_and_containers_are_counted_apart():
    other = Container(2)
    steps = [BOX.kill(S, BOX.init, task=WORKER), BOX.kill(2 * S, BASH, task=BOX.child(2)), other.kill(3 * S, BASH)]
    assert sorted(named(findings(steps))) == ["killed/by-parent", "killed/manual", "killed/manual"]


def test_a_kill_whose_process_has_exited_is_told_before_the_shutdown():
    verdicts = run(Chain(), BOX.kill(S, None), BOX.exit(S + 10 * MS, KILLED))
    assert [type(v) for v in verdicts] == [Finding, Shutdown]
    assert verdicts[-1].findings == ("killed",)


def test_a_mark_far_too_late_does_not_make_the_shutdown_an_oom():
    shutdown, _ = story(BOX.kill(S, None), BOX.oom(2 * S), BOX.exit(3 * S, KILLED))
    assert shutdown.outcome == "killed"


def test_what_still_waits_at_the_end_is_told():
    assert named(run(Chain(), BOX.kill(S, None), until=S, end=True)) == ["killed/unknown"]
