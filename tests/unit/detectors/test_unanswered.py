"""stop-unanswered: a stop signal that nothing followed."""

import pytest

from sigtrace.detectors.base import Thresholds
from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.finding import Certainty
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
    SCRIPT,
    Container,
    S,
    exited,
    findings,
    run,
)

BOX = Container()
LIMITED = Container(grace_limit_s=30.0)
DAY = 24 * 3600 * S


def unanswered(*steps, until=DAY):
    return findings(*steps, until=until, code="stop-unanswered")


@pytest.mark.parametrize("box", [BOX, LIMITED], ids=["no limit known", "with a limit"])
@pytest.mark.parametrize(
    ("fields", "cause"), [(DROPPED, "dropped"), (IGNORED, "ignored"), (BLOCKED, "pending"), (HANDLED, "slow")]
)
def test_it_has_an_escalations_causes(box, fields, cause):
    (finding,) = unanswered(box.exec(1, box.init), box.term(S, **fields))
    assert (finding.cause, finding.severity) == (cause, Severity.WARNING)
    assert finding.certainty is (Certainty.INFERRED if cause == "slow" else Certainty.OBSERVED)
    assert (finding.signo, finding.subject.key) == (signals.SIGTERM, box.init.key)


@pytest.mark.parametrize(
    ("box", "fields", "after_s"),
    [
        (LIMITED, DROPPED, 35),
        (LIMITED, HANDLED, 35),
        (BOX, DROPPED, 60),
        (BOX, HANDLED, 600),  # it may be at work still
    ],
)
def test_it_waits_for_the_limit_else_a_minute_else_as_long_as_a_request_counts(box, fields, after_s):
    steps = [box.exec(1, box.init), box.term(S, **fields)]
    assert not unanswered(*steps, until=S + after_s * S - 1)
    (finding,) = unanswered(*steps, until=S + after_s * S)
    assert f"got SIGTERM {after_s:.1f} s ago and is still there" in finding.message


def test_the_wait_is_a_threshold():
    chain = Chain(Thresholds(unanswered_after_s=5.0))
    told = run(chain, BOX.exec(1, BOX.init), BOX.term(S, **IGNORED), until=6 * S)
    assert [v.code for v in told] == ["signal-ignored", "stop-unanswered"]


def test_a_script_that_passed_it_on_to_nobody_and_goes_on_did_not_forward():
    main, worker = Container(argv=SCRIPT).init, BOX.child()
    steps = [BOX.exec(1, main), BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.snapshot(S + MS, main, worker)]
    assert [f.cause for f in unanswered(*steps)] == ["not-forwarded"]


@pytest.mark.parametrize("end", [BOX.exit(40 * S, exited(0)), BOX.kill(40 * S), BOX.kill(40 * S, BASH)])
@pytest.mark.parametrize("fields", [DROPPED, HANDLED, BY_DEFAULT])
def test_an_exit_or_a_sigkill_is_an_answer(fields, end):
    assert not unanswered(BOX.exec(1, BOX.init), BOX.term(S, **fields), end)


def test_it_is_told_once_however_often_it_is_sent():
    assert len(unanswered(BOX.exec(1, BOX.init), [BOX.term(n * S, **DROPPED) for n in range(1, 500, 7)])) == 1


@pytest.mark.parametrize("signo", [signals.SIGINT, signals.SIGQUIT])
def test_a_thread_dump_that_was_made_asked_for_no_end(signo):
    dump = [BOX.exec(1, BOX.init), BOX.signal(S, signo, **HANDLED), BOX.deliver(S + 1, signo)]
    assert not unanswered(*dump)
    configured = Container(stop_signal=signo)
    dump = [configured.exec(1, configured.init), configured.signal(S, signo, **HANDLED)]
    assert len(unanswered(*dump)) == 1


@pytest.mark.parametrize(
    "observation",
    [
        BOX.term(S, sender=BOX.child(), **DROPPED),
        BOX.term(S, task=BOX.child(), **HANDLED),
        BOX.term(S, task=BOX.nested(), **DROPPED),
        BOX.signal(S, signals.SIGHUP, **HANDLED),
    ],
)
def test_what_asks_the_main_process_for_nothing_needs_no_answer(observation):
    assert not unanswered(BOX.exec(1, BOX.init), observation)


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_it(kind):
    box = Container(kind=kind)
    assert not unanswered(box.exec(1, box.init), box.term(S, **DROPPED))


def test_a_container_that_was_started_again_owes_no_answer_for_the_one_before():
    again = Container(life=1)
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.exit(2 * S, KILLED), again.exec(3 * S, again.init)]
    assert not unanswered(*steps)


def test_nor_if_the_end_of_the_one_before_was_lost():
    again = Container(life=1)
    assert not unanswered(BOX.exec(1, BOX.init), BOX.term(S, **DROPPED), again.exec(3 * S, again.init))
