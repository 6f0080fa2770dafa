"""signal-dropped: what is one, why, and how repeats are folded."""

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.detectors.dropped import Dropped, is_drop
from sigtrace.detectors.processes import Processes
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Disposition, Info, Result
from sigtrace.model.finding import EVIDENCE_MAX, Certainty, SenderRole
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    DROPPED,
    MS,
    PROGRAM,
    RUNC,
    SCRIPT,
    SHELL_FORM,
    WALL,
    Container,
    S,
    killed_by,
    run,
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
    assert not run(Dropped(Processes()), observation), why


def test_a_delivery_is_no_drop():
    assert not is_drop(BOX.deliver(0, ns_init=True, result=Result.IGNORED).event)


def findings(*steps, processes=(), until=None, listed=False):
    """``listed``: a snapshot after the stop has told who is in the container."""
    known = Processes()
    for task in processes:
        known.feed(BOX.exec(0, task).event)
    for observation in BOX.snapshot(S, *processes) if listed else ():
        known.feed(observation.event)
    return run(Dropped(known), *steps, until=until)


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
    (finding,) = findings(BOX.term(1, **DROPPED), processes=processes, listed=True)
    assert (finding.code, finding.cause, finding.certainty) == ("signal-dropped", cause, certainty)
    assert finding.severity is Severity.ERROR or cause == "unknown"
    assert finding.subject.argv == argv
    assert finding.workload is BOX.workload
    assert (finding.signo, finding.sender_role) == (signals.SIGTERM, SenderRole.RUNTIME)
    assert "shell" not in cause or "gunicorn (pid 2) was never told" in finding.message
    assert finding.advice


def test_the_one_that_should_have_been_told_is_named_first():
    others = [BOX.child(1, "logger"), BOX.child(2, "gunicorn"), BOX.child(3, "worker")]
    (finding,) = findings(BOX.term(1, **DROPPED), processes=[pid_1(SHELL_FORM), *others])
    assert "gunicorn (pid 3) and 2 more were never told" in finding.message


@pytest.mark.parametrize("signo", [signals.SIGKILL, signals.SIGTERM])
def test_from_inside_is_by_design(signo):
    child = BOX.child(comm="sh")
    (finding,) = findings(BOX.signal(1, signo, sender=child, **DROPPED), processes=[pid_1(SHELL_FORM), child])
    assert (finding.cause, finding.severity) == ("from-inside", Severity.INFO)
    assert f"sh (pid 2) sent {signals.name(signo)} to PID 1" in finding.message


def test_to_a_nested_init_from_outside_it_has_its_cause_and_is_only_worth_knowing():
    (finding,) = findings(BOX.term(1, container_init=False, **DROPPED), processes=[pid_1(PROGRAM)])
    assert (finding.cause, finding.severity) == ("no-handler", Severity.INFO)
    assert "nested" in finding.message
    assert "inside" not in finding.message


@pytest.mark.parametrize(("argv", "cause"), [(SHELL_FORM, "shell-form"), (SCRIPT, "script-without-exec")])
def test_a_shell_whose_children_could_not_be_listed_is_only_inferred(argv, cause):
    (finding,) = findings(BOX.term(1, **DROPPED), processes=[pid_1(argv)])
    assert (finding.cause, finding.certainty) == (cause, Certainty.INFERRED)


def test_the_kernel_itself_is_not_inside():
    (finding,) = findings(BOX.signal(1, signals.SIGHUP, None, info=Info.PRIV, **DROPPED), processes=[pid_1(PROGRAM)])
    assert finding.cause == "no-handler"


def test_it_waits_for_the_snapshot_then_tells_at_once():
    detector = Dropped(processes := Processes())
    assert not list(detector.feed(BOX.term(10 * MS, **DROPPED)))
    assert not list(detector.tick(11 * MS))
    assert detector.deadline() == 510 * MS
    for seen in BOX.snapshot(12 * MS, pid_1(SHELL_FORM), BOX.child()):
        processes.feed(seen.event)
        list(detector.feed(seen))
    assert detector.deadline() == 12 * MS
    assert [f.cause for f in detector.tick(12 * MS)] == ["shell-form"]
    assert detector.deadline() is None


def test_without_a_snapshot_it_tells_after_half_a_second():
    detector = Dropped(Processes())
    list(detector.feed(BOX.term(0, **DROPPED)))
    assert not list(detector.tick(500 * MS - 1))
    assert len(list(detector.tick(500 * MS))) == 1


def test_the_exit_of_pid_1_ends_the_wait():
    detector = Dropped(Processes())
    list(detector.feed(BOX.term(1, **DROPPED)))
    assert len(list(detector.feed(BOX.exit(2, killed_by(signals.SIGKILL))))) == 1
    assert not list(detector.tick(100 * S))


@pytest.mark.parametrize(
    ("times", "told"),
    [(1, [1]), (2, [1, 2]), (10, [1, 10]), (11, [1, 10, 11]), (100, [1, 10, 100]), (437, [1, 10, 100, 437])],
)
def test_repeats_are_told_at_ten_times_the_count_and_at_the_end(times, told):
    steps = [BOX.term(S * (1 + i), **DROPPED) for i in range(times)]
    verdicts = findings(*steps, until=S * (times + 61))
    assert [f.count for f in verdicts] == told
    assert {f.first_wall_ns for f in verdicts} == {WALL + S}
    assert len(verdicts[-1].evidence) == min(times, EVIDENCE_MAX)
    assert verdicts[-1].window_s == (None if times == 1 else pytest.approx(times - 1))


def test_a_drop_long_after_the_last_is_a_new_one():
    assert [f.count for f in findings(BOX.term(0, **DROPPED), BOX.term(100 * S, **DROPPED))] == [1, 1]


def test_other_signals_and_other_ways_are_told_apart():
    steps = [
        BOX.term(1, **DROPPED),
        BOX.signal(2, signals.SIGINT, **DROPPED),
        BOX.term(3, sender=BOX.child(), **DROPPED),
        Container(2).term(4, **DROPPED),
    ]
    assert [f.count for f in findings(*steps)] == [1, 1, 1, 1]


def test_ten_thousand_open_cases_are_the_most_and_the_oldest_is_told_when_it_leaves():
    detector = Dropped(Processes())
    told = [f for n in range(1, 10_003) for f in detector.feed(Container(n).term(n, **DROPPED))]
    assert [f.subject.pid for f in told] == [100, 200]
    assert len(detector._open) == 10_000


def test_a_sandbox_never_makes_a_finding():
    assert not run(Chain(), Container(kind=WorkloadKind.SANDBOX).term(1, sender=RUNC, **DROPPED))
