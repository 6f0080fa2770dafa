"""signal-dropped: what is one, why, and how repeats are folded."""

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.detectors.dropped import is_drop
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Disposition, Info, Result
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, SenderRole
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    PROGRAM,
    SCRIPT,
    SHELL_FORM,
    WALL,
    Container,
    S,
    exited,
    findings,
    flat,
    killed_by,
    lost,
    run,
    verdict,
)

BOX = Container()
FATAL = [s for s in range(1, 65) if signals.is_fatal(s)]


@pytest.mark.parametrize("signo", FATAL)
def test_any_fatal_signal_without_a_handler_is_dropped_at_pid_1(signo):
    assert is_drop(BOX.signal(0, signo, **DROPPED).event)


@pytest.mark.parametrize(
    ("why", "fields"),
    [
        ("ignored by choice", {"disposition": Disposition.IGNORE}),
        ("it has a handler", {"disposition": Disposition.HANDLER}),
        ("queued", {"result": Result.DELIVERED}),
        ("already pending", {"result": Result.ALREADY_PENDING}),
        ("an ordinary process", {"ns_init": False}),
        ("it was exiting", {"exiting": True}),
        ("its namespace is torn down", {"teardown": True}),
        *((f"{signals.name(s)} is no fatal signal", {"signo": s}) for s in (17, 18, 19, 20, 21, 22, 23, 28)),
    ],
)
def test_nothing_else_is_a_drop(why, fields):
    signo = fields.pop("signo", signals.SIGTERM)
    observation = BOX.signal(0, signo, **DROPPED | fields)
    assert not is_drop(observation.event), why
    assert "signal-dropped" not in [f.code for f in findings(observation)], why


def test_a_delivery_is_no_drop():
    assert not is_drop(BOX.deliver(0, ns_init=True, result=Result.IGNORED).event)


def told(*steps, processes=(), until=None, listed=False):
    """``listed``: a snapshot when the stop signal came has told who is in the container."""
    before = [o for task in processes for o in BOX.snapshot(0, task)]
    steps = [*flat(*steps)]
    if listed:
        steps.insert(1, BOX.snapshot(steps[0].event.time_ns, *processes))
    return findings(before, *steps, until=until, code="signal-dropped")


def pid_1(argv):
    return Container(argv=argv).init


@pytest.mark.parametrize(
    ("argv", "alone", "cause", "certainty"),
    [
        (SHELL_FORM, False, "shell-form", Certainty.OBSERVED),
        (("bash", "-eo", "pipefail", "-c", "app"), False, "shell-form", Certainty.OBSERVED),
        (SCRIPT, False, "script-without-exec", Certainty.OBSERVED),
        (PROGRAM, False, "no-handler", Certainty.OBSERVED),
        (PROGRAM, True, "no-handler", Certainty.OBSERVED),
        # A shell without a child has nobody to hand the signal to: a handler (trap) is what it lacks.
        (SHELL_FORM, True, "no-handler", Certainty.OBSERVED),
        (SCRIPT, True, "no-handler", Certainty.OBSERVED),
        (None, False, "unknown", Certainty.INFERRED),
    ],
)
def test_the_cause_is_what_pid_1_is(argv, alone, cause, certainty):
    processes = [pid_1(argv)] if alone else [pid_1(argv), BOX.child(comm="gunicorn")]
    (finding,) = told(BOX.term(1, **DROPPED), processes=processes, listed=True)
    assert (finding.code, finding.cause, finding.certainty) == ("signal-dropped", cause, certainty)
    assert finding.severity is Severity.ERROR or cause == "unknown"
    assert finding.subject.argv == argv
    assert finding.workload is BOX.workload
    assert (finding.signo, finding.sender_role) == (signals.SIGTERM, SenderRole.RUNTIME)
    assert "shell" not in cause or "gunicorn (pid 2) was never told" in finding.message
    assert finding.advice


def test_the_one_that_should_have_been_told_is_named_first():
    others = [BOX.child(1, "logger"), BOX.child(2, "gunicorn"), BOX.child(3, "worker")]
    (finding,) = told(BOX.term(1, **DROPPED), processes=[pid_1(SHELL_FORM), *others])
    assert "gunicorn (pid 3) and 2 more were never told" in finding.message


@pytest.mark.parametrize("signo", [signals.SIGKILL, signals.SIGTERM])
def test_from_inside_is_by_design(signo):
    child = BOX.child(comm="sh")
    (finding,) = told(BOX.signal(1, signo, sender=child, **DROPPED), processes=[pid_1(SHELL_FORM), child])
    assert (finding.cause, finding.severity) == ("from-inside", Severity.INFO)
    assert f"sh (pid 2) sent {signals.name(signo)} to PID 1" in finding.message


def test_to_a_nested_init_from_outside_it_has_its_cause_and_is_only_worth_knowing():
    (finding,) = told(BOX.term(1, task=BOX.nested(argv=PROGRAM), **DROPPED))
    assert (finding.cause, finding.severity) == ("no-handler", Severity.INFO)
    assert "nested" in finding.message
    assert "inside" not in finding.message


@pytest.mark.parametrize(("argv", "cause"), [(SHELL_FORM, "shell-form"), (SCRIPT, "script-without-exec")])
def test_a_shell_whose_children_could_not_be_listed_is_only_inferred(argv, cause):
    (finding,) = told(BOX.term(1, **DROPPED), processes=[pid_1(argv)])
    assert (finding.cause, finding.certainty) == (cause, Certainty.INFERRED)


def test_the_kernel_itself_is_not_inside():
    (finding,) = told(BOX.signal(1, signals.SIGHUP, None, info=Info.PRIV, **DROPPED), processes=[pid_1(PROGRAM)])
    assert finding.cause == "no-handler"


def test_it_waits_for_the_listing_then_tells_at_once():
    steps = [BOX.term(10 * MS, **DROPPED), BOX.snapshot(12 * MS, pid_1(SHELL_FORM), BOX.child())]
    assert not told(steps[0], until=509 * MS)
    assert not told(*steps, until=12 * MS)
    (finding,) = told(*steps, until=12 * MS + 1)
    assert finding.cause == "shell-form"


def test_without_a_listing_it_tells_after_half_a_second():
    assert not told(BOX.term(0, **DROPPED), until=500 * MS - 1)
    assert len(told(BOX.term(0, **DROPPED), until=500 * MS)) == 1


def test_the_exit_of_pid_1_ends_the_wait():
    steps = [BOX.term(1, **DROPPED), BOX.exit(2, KILLED)]
    assert len(told(*steps, until=2)) == len(told(*steps, until=100 * S)) == 1


@pytest.mark.parametrize(
    ("times", "counts"),
    [(1, [1]), (2, [1, 2]), (10, [1, 10]), (11, [1, 10, 11]), (100, [1, 10, 100]), (437, [1, 10, 100, 437])],
)
def test_repeats_are_told_at_ten_times_the_count_and_at_the_end(times, counts):
    steps = [BOX.term(S * (1 + i), **DROPPED) for i in range(times)]
    verdicts = told(*steps, until=S * (times + 61))
    assert [f.count for f in verdicts] == counts
    assert {f.first_wall_ns for f in verdicts} == {WALL + S}
    assert len(verdicts[-1].evidence) == min(times, EVIDENCE_MAX)
    assert verdicts[-1].window_s == (None if times == 1 else pytest.approx(times - 1))


def test_a_drop_long_after_the_last_is_a_new_one():
    assert [f.count for f in told(BOX.term(0, **DROPPED), BOX.term(100 * S, **DROPPED))] == [1, 1]


def test_other_signals_and_other_ways_are_told_apart():
    steps = [
        BOX.term(1, **DROPPED),
        BOX.signal(2, signals.SIGINT, **DROPPED),
        BOX.term(3, sender=BOX.child(), **DROPPED),
        Container(2).term(4, **DROPPED),
    ]
    assert [f.count for f in told(*steps)] == [1, 1, 1, 1]


def test_what_was_blocked_and_delivered_without_a_handler_is_a_late_drop_if_pid_1_lives():
    late = [BOX.term(S, **BLOCKED), BOX.deliver(2 * S, disposition=Disposition.DEFAULT)]
    (finding,) = told(*late, processes=[pid_1(PROGRAM)], until=3 * S)
    assert (finding.cause, finding.severity, finding.certainty) == ("late-drop", Severity.ERROR, Certainty.OBSERVED)
    assert not told(*late, until=2 * S + 99 * MS)
    # Linux 6.1 kills a PID 1 whose other thread takes it so; else what it ended by was something else.
    assert not told(*late, BOX.exit(2 * S + 5 * MS, killed_by(signals.SIGTERM)), until=9 * S)
    assert len(told(*late, BOX.exit(2 * S + 5 * MS, KILLED), until=9 * S)) == 1


@pytest.mark.parametrize("signo", [4, 5, 6, 7, 8, 11, 31])
def test_a_fault_whose_core_takes_its_time_is_no_late_drop(signo):
    fault = BOX.deliver(S, signo, disposition=Disposition.DEFAULT, si_code=1)
    assert not told(fault, until=9 * S)
    assert not told(fault, BOX.exit(4 * S, killed_by(signo | 0x80)), until=9 * S)
    sent = BOX.deliver(S, signo, disposition=Disposition.DEFAULT, si_code=0)
    assert [f.cause for f in told(sent, until=9 * S)] == ["late-drop"]
    held = BOX.deliver(S, signo, disposition=Disposition.DEFAULT, si_code=1, ptraced=True)
    assert len(told(held, until=9 * S)) == 1


def test_a_sigkill_of_a_timer_is_dropped_because_it_comes_from_inside():
    (finding,) = told(BOX.signal(S, signals.SIGKILL, sender=None, si_code=-2, **DROPPED), until=9 * S)
    assert (finding.cause, finding.severity) == ("from-inside", Severity.INFO)
    assert finding.message.startswith("SIGKILL to PID 1")


def test_a_late_delivery_to_a_handler_is_no_drop():
    assert not told(BOX.term(S, **BLOCKED), BOX.deliver(2 * S), until=9 * S)


def test_a_late_delivery_to_a_process_that_is_no_init_is_no_drop():
    box = Container(host_pid=True)
    assert not told(box.term(S, **BLOCKED), box.deliver(2 * S, disposition=Disposition.DEFAULT), until=9 * S)


def test_a_traced_pid_1_drops_what_is_delivered_to_it():
    steps = [
        BOX.term(S, ptraced=True),
        BOX.deliver(S + MS, disposition=Disposition.DEFAULT, ptraced=True),
    ]
    (finding,) = told(*steps, processes=[pid_1(PROGRAM)])
    assert finding.cause == "no-handler"


def test_a_main_process_that_is_no_init_drops_nothing():
    box = Container(host_pid=True)
    assert not told(box.term(S, **DROPPED), until=9 * S)


KILL = BOX.kill(11 * S)


def raises(signo, *, at=S + 30 * MS, killed=KILL):
    """PID 1 handles SIGTERM, then sends itself a signal at SIG_DFL to end by it, and lives."""
    raised = BOX.signal(at, signo, BOX.init, **DROPPED)
    asked = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.deliver(S + 1)]
    return sorted([*asked, raised], key=lambda o: o.event.time_ns) + ([killed] if killed else [])


def test_who_handled_it_and_then_wanted_to_die_of_it_is_told_so_if_sigkill_had_to_end_it():
    (finding,) = told(raises(signals.SIGTERM))
    assert (finding.cause, finding.severity) == ("no-handler", Severity.ERROR)
    assert "handled SIGTERM, and then sent it to itself to end by it" in finding.message
    assert len(finding.evidence) == 3
    assert verdict(raises(signals.SIGTERM), BOX.exit(11 * S + MS, KILLED)) == ("escalated", "dropped")


@pytest.mark.parametrize(
    "steps",
    [
        raises(signals.SIGINT),
        raises(signals.SIGTERM, killed=None),
        raises(signals.SIGTERM, killed=BOX.kill(2 * S, BASH)),
        raises(signals.SIGTERM, killed=BOX.exit(2 * S, exited(0))),
    ],
    ids=["another signal", "it lives on", "killed by somebody else", "it exits"],
)
def test_in_no_other_case_is_what_pid_1_sends_itself_told(steps):
    assert not told(steps, until=99 * S)


def test_nor_if_it_did_that_before_it_was_asked():
    assert not told(raises(signals.SIGTERM, at=S // 2), until=99 * S)


@pytest.mark.parametrize("signo", [signals.SIGWINCH, signals.SIGCHLD])
def test_a_declared_stop_signal_that_does_nothing_by_default_is_dropped_too(signo):
    """``STOPSIGNAL SIGWINCH`` of the httpd image, with another program in it."""
    box = Container(stop_signal=signo)
    (finding,) = told(box.signal(S, signo, **DROPPED))
    assert finding.signo == signo
    assert not told(BOX.signal(S, signo, **DROPPED))
    assert not told(box.signal(S, signo, **HANDLED))


def test_an_unknown_argv_is_an_unknown_cause_and_never_a_guess():
    (finding,) = told(BOX.term(S, **DROPPED), BOX.snapshot(S + MS, BOX.init, BOX.child()))
    assert (finding.cause, finding.certainty) == ("unknown", Certainty.INFERRED)


def test_losses_change_nothing_in_what_was_seen():
    steps = [BOX.term(S, **DROPPED), BOX.snapshot(S + MS, pid_1(PROGRAM))]
    with_loss = told(steps[0], lost(S + 1), steps[1])
    assert with_loss == told(*steps)


def test_of_many_inits_whose_exits_are_lost_a_bounded_number_is_remembered():
    chain = Chain()
    for n in range(1, 10_500):
        run(chain, Container(n).term(n * S, **DROPPED), until=n * S)
    assert max(map(len, sizes_of(chain))) <= 10_000


def sizes_of(chain):
    (dropped,) = [d for d in chain._detectors if type(d).__name__ == "Dropped"]
    return [dropped._folds._open, dropped._by_init]


def test_a_stop_signal_that_comes_and_is_dropped_every_second_needs_a_bounded_number_of_timers():
    chain = Chain()
    for n in range(1, 1000):
        run(chain, BOX.term(n * S, **DROPPED), BOX.snapshot(n * S + 20 * MS, pid_1(PROGRAM)), until=n * S + 30 * MS)
    assert len(chain._timers._heap) < 200
