"""Where the source sees no sender in another PID namespace (ptrace): stop and kill from nobody are one stop's."""

import pytest

from sigtrace.model import signals
from sigtrace.model.event import Disposition, Info, Result
from sigtrace.model.finding import Certainty, SenderRole
from tests.unit.detectors.events import KILLED, SHELL_FORM, Container, S, exited, killed_by, story

BOX = Container(argv=SHELL_FORM)
UNSEEN = {"sender": None, "info": Info.REAL, "si_code": 0, "outside": True, "ptraced": True}


def term(at, disposition=Disposition.DEFAULT):
    """As ptrace tells it: queued, whatever becomes of it."""
    return BOX.signal(at, signals.SIGTERM, result=Result.DELIVERED, disposition=disposition, **UNSEEN)


def test_a_stop_that_was_dropped_and_then_killed_is_an_escalation_and_inferred():
    drop = BOX.deliver(S + 1, disposition=Disposition.DEFAULT)
    kill = BOX.kill(31 * S, **UNSEEN | {"info": Info.NOINFO})
    shutdown, findings = story(BOX.exec(1, BOX.init), term(S), drop, kill, BOX.exit(31 * S + 1, KILLED), until=60 * S)
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "dropped")
    killed = next(f for f in findings if f.code == "killed")
    assert (killed.cause, killed.certainty) == ("grace-expired", Certainty.INFERRED)


def test_what_ignores_its_stop_signal_is_told_though_the_signal_was_queued():
    kill = BOX.kill(31 * S, **UNSEEN | {"info": Info.NOINFO})
    shutdown, _ = story(
        BOX.exec(1, BOX.init), term(S, Disposition.IGNORE), kill, BOX.exit(31 * S + 1, KILLED), until=60 * S
    )
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "ignored")


def test_one_that_ends_in_time_is_graceful():
    steps = [BOX.exec(1, BOX.init), term(S, Disposition.HANDLER), BOX.deliver(S + 1), BOX.exit(2 * S, exited(0))]
    shutdown, findings = story(steps)
    assert (shutdown.outcome, findings) == ("graceful", [])


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, ("exited", "unknown")), (3, ("crashed", "unknown")), (143, ("graceful", "unknown"))],
)
def test_an_end_that_nobody_is_known_to_have_asked_for_is_not_said_to_be_its_own(code, verdict):
    shutdown, findings = story(BOX.exec(1, BOX.init), BOX.exit(S, exited(code), unheard=True))
    assert (shutdown.outcome, shutdown.cause) == verdict
    assert shutdown.requested_by is SenderRole.UNKNOWN
    assert [(f.cause, f.certainty) for f in findings] == ([("unknown", Certainty.HEURISTIC)] if code == 3 else [])


def test_what_is_heard_is_told_as_ever_though_more_might_have_been_said():
    steps = [BOX.exec(1, BOX.init), term(S, Disposition.HANDLER), BOX.deliver(S + 1)]
    shutdown, _ = story(steps, BOX.exit(2 * S, exited(0), unheard=True))
    assert (shutdown.outcome, shutdown.cause) == ("graceful", None)


def test_a_fault_is_a_crash_whatever_was_asked():
    sent = BOX.signal(S, signals.SIGSEGV, sender=None, info=Info.REAL, si_code=1)
    shutdown, _ = story(BOX.exec(1, BOX.init), sent, BOX.exit(S + 1, killed_by(signals.SIGSEGV), unheard=True))
    assert (shutdown.outcome, shutdown.cause) == ("crashed", "fatal-signal")
