"""killed: why a container's main process got SIGKILL."""

import dataclasses

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Info, Result
from sigtrace.model.finding import Certainty, Finding, Mechanism, SenderRole, Shutdown
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    DROPPED,
    HANDLED,
    IGNORED,
    MS,
    PYTHON,
    RUNC,
    RUNC_AGAIN,
    Container,
    S,
    killed_by,
    run,
    story,
)

BOX = Container()
KUBELET = dataclasses.replace(RUNC, pid=90, comm="kubelet", ancestry=("systemd",))
END = killed_by(signals.SIGKILL)


def killed(*steps, until=None):
    """The findings `killed`, and no other than one."""
    (finding,) = [v for v in run(Chain(), *steps, until=until) if isinstance(v, Finding) and v.code == "killed"]
    return finding


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (DROPPED, "which the kernel had dropped"),
        (IGNORED, "which the process ignores"),
        (HANDLED, "which it had a handler for"),
        (HANDLED | {"waited": True, "blocked": True}, "which the process got and did not finish in time"),
        (HANDLED | {"blocked": True}, "which its handler never got"),
        ({"result": Result.DELIVERED, "blocked": True}, "which stayed pending"),
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


@pytest.mark.parametrize(
    ("asker", "killer", "cause", "role"),
    [
        (None, RUNC, "no-stop-signal", SenderRole.RUNTIME),
        (None, KUBELET, "no-stop-signal", SenderRole.KUBELET),
        (None, BASH, "manual", SenderRole.SHELL),
        (None, PYTHON, "unknown", SenderRole.UNKNOWN),
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
    before = [BOX.term(S, sender=asker, **DROPPED)] if asker else []
    finding = killed(*before, BOX.kill(60 * S, sender=killer))
    assert (finding.cause, finding.sender_role) == (cause, role)
    assert "SIGTERM" in finding.message or cause != "grace-expired"


@pytest.mark.parametrize(
    ("gap", "cause"), [(0, "grace-expired"), (35, "grace-expired"), (35.001, "manual"), (3600, "manual")]
)
def test_with_a_limit_a_kill_belongs_to_the_stop_within_it_and_five_seconds(gap, cause):
    box = Container(grace_limit_s=30.0)
    assert killed(box.term(S, sender=RUNC, **DROPPED), box.kill(S + int(gap * S), sender=BASH)).cause == cause


def test_a_kill_by_the_kernel_waits_for_the_mark_of_the_oom_killer():
    chain = Chain()
    assert not list(chain.feed(BOX.kill(S, None)))
    assert chain.deadline() == S + 100 * MS
    (finding,) = chain.feed(BOX.oom(S + 40_000))
    assert (finding.cause, finding.mechanism, finding.severity) == ("oom", Mechanism.OOM, Severity.ERROR)
    assert (finding.certainty, finding.sender_role) == (Certainty.OBSERVED, SenderRole.KERNEL)
    assert not list(chain.tick(10 * S))


def test_without_a_mark_it_was_not_the_oom_killer():
    finding = killed(BOX.kill(S, None))
    assert (finding.cause, finding.mechanism) == ("unknown", Mechanism.KILL)
    assert finding.message == "the kernel sent SIGKILL; not the OOM killer"


def test_a_mark_of_another_process_is_not_this_ones():
    assert killed(BOX.kill(S, None), Container(2).oom(S + 40_000)).cause == "unknown"


def test_a_mark_after_a_tenth_of_a_second_is_too_late():
    assert killed(BOX.kill(S, None), BOX.oom(S + 150 * MS)).cause == "unknown"


def test_a_mark_far_too_late_does_not_make_the_shutdown_an_oom():
    shutdown, _ = story(BOX.kill(S, None), BOX.oom(2 * S), BOX.exit(3 * S, END))
    assert shutdown.outcome == "killed"


def test_oom_comes_before_grace_expired():
    finding = killed(BOX.term(S, **DROPPED), BOX.kill(2 * S, None), BOX.oom(2 * S + 40_000))
    assert finding.cause == "oom"


def test_cgroup_kill_is_told_by_its_missing_siginfo():
    finding = killed(BOX.term(S, **DROPPED), BOX.cgroup_kill(3 * S))
    assert (finding.cause, finding.mechanism) == ("grace-expired", Mechanism.CGROUP_KILL)
    assert killed(BOX.cgroup_kill(S)).mechanism is Mechanism.CGROUP_KILL


def test_only_the_first_kill_is_told():
    verdicts = run(Chain(), BOX.kill(S), BOX.kill(2 * S), BOX.kill(3 * S, BASH))
    assert [v.code for v in verdicts] == ["killed"]


@pytest.mark.parametrize(
    "observation",
    [
        BOX.kill(S, sender=BOX.child(), **DROPPED),  # from inside: the kernel drops it
        BOX.kill(S, None, teardown=True),
        BOX.kill(S, result=Result.IGNORED),
        BOX.kill(S, container_init=False),
        BOX.kill(S, task=BOX.child()),
    ],
)
def test_what_does_not_end_a_main_process_is_no_kill(observation):
    assert not [v for v in run(Chain(), observation) if v.code == "killed"]


def test_a_sender_that_is_not_known_is_not_guessed():
    finding = killed(BOX.kill(S, None, info=Info.REAL, si_code=0))
    assert (finding.cause, finding.sender_role) == ("unknown", SenderRole.UNKNOWN)
    assert finding.message.startswith("an unknown sender sent SIGKILL")


def test_nothing_is_left_when_the_story_is_over():
    chain = Chain()
    run(chain, BOX.term(S, **DROPPED), BOX.kill(2 * S, None), BOX.oom(2 * S + 1), BOX.exit(3 * S, END), until=100 * S)
    assert chain.deadline() is None
    assert not chain._stops._stops
    assert not chain._shutdowns._codes


def test_a_kill_whose_process_has_exited_is_told_before_the_shutdown():
    chain = Chain()
    verdicts = run(chain, BOX.kill(S, None), BOX.exit(S + 10 * MS, END))
    assert [type(v) for v in verdicts] == [Finding, Shutdown]
    assert verdicts[-1].findings == ("killed",)
    assert not chain._shutdowns._codes


def test_a_mark_that_knows_only_a_thread_is_enough():
    mark = BOX.oom(S + 40_000)
    bare = dataclasses.replace(mark.event.task, pid=0, start_ns=0, comm="", pidns=0, cgroup_id=0)
    event = dataclasses.replace(mark.event, task=bare, ns_init=False, container_init=False)
    assert killed(BOX.kill(S, None), dataclasses.replace(mark, event=event, workload=None)).cause == "oom"


def test_a_sandbox_is_killed_on_every_healthy_deletion_and_that_is_no_finding():
    assert not run(Chain(), Container(kind=WorkloadKind.SANDBOX).kill(S))
