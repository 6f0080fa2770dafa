"""signal-ignored: by choice, or by inheritance."""

import pytest

from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Result
from sigtrace.model.finding import Certainty, SenderRole
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import DROPPED, HANDLED, IGNORED, PROGRAM, Container, S, exited, findings, named

BOX = Container()
HOST = Container(2, host_pid=True)


def ignored(*steps, until=None):
    return findings(*steps, until=until, code="signal-ignored")


@pytest.mark.parametrize("box", [BOX, HOST], ids=["init", "host PID namespace"])
@pytest.mark.parametrize("signo", [s for s in range(1, 65) if signals.is_fatal(s) and s != signals.SIGKILL])
def test_a_fatal_signal_from_outside_that_the_main_process_ignores_is_worth_knowing(box, signo):
    (finding,) = ignored(box.signal(S, signo, **IGNORED))
    assert (finding.cause, finding.severity, finding.certainty) == ("sig-ign", Severity.INFO, Certainty.OBSERVED)
    assert (finding.signo, finding.sender_role) == (signo, SenderRole.RUNTIME)


def test_it_names_the_program():
    (finding,) = ignored(BOX.exec(1, Container(argv=PROGRAM).init), BOX.term(S, **IGNORED))
    assert finding.message.startswith("app ignores SIGTERM (SIG_IGN)")


@pytest.mark.parametrize(
    "observation",
    [
        BOX.term(S, **HANDLED),
        BOX.term(S, **DROPPED),
        BOX.term(S, **IGNORED | {"result": Result.DELIVERED}),  # blocked as well: it pends
        BOX.term(S, **IGNORED | {"exiting": True}),
        BOX.term(S, sender=BOX.child(), **IGNORED),
        BOX.term(S, sender=BOX.init, **IGNORED),
        BOX.term(S, sender=None, **IGNORED),
        BOX.term(S, task=BOX.child(), **IGNORED),
        BOX.term(S, task=BOX.nested(), **IGNORED),
        *(BOX.signal(S, signo, **IGNORED) for signo in (17, 18, 20, 23, 28)),
    ],
)
def test_nothing_else_is(observation):
    assert not ignored(observation)


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_it(kind):
    assert not ignored(Container(kind=kind).term(S, **IGNORED))


@pytest.mark.parametrize(("times", "counts"), [(1, [1]), (2, [1, 2]), (10, [1, 10]), (12, [1, 10, 12])])
def test_repeats_are_told_at_ten_times_the_count_and_at_the_end(times, counts):
    steps = [BOX.term(n * S, **IGNORED) for n in range(1, times + 1)]
    assert [f.count for f in ignored(steps, until=(times + 61) * S)] == counts


def test_another_signal_and_another_process_are_told_apart():
    steps = [BOX.term(S, **IGNORED), BOX.signal(2 * S, signals.SIGINT, **IGNORED), HOST.term(3 * S, **IGNORED)]
    assert [f.count for f in ignored(steps)] == [1, 1, 1]


def test_one_long_after_the_last_is_a_new_one():
    assert [f.count for f in ignored(BOX.term(S, **IGNORED), BOX.term(100 * S, **IGNORED))] == [1, 1]


def test_of_a_shutdown_it_is_a_part():
    steps = [BOX.term(S, **IGNORED), BOX.kill(11 * S), BOX.exit(11 * S + 1, exited(0))]
    assert named(findings(steps)) == ["signal-ignored/sig-ign", "killed/grace-expired"]
