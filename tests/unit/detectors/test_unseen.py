"""Where the source sees no sender in another PID namespace (ptrace): stop and kill from nobody are one stop's."""

from sigtrace.model import signals
from sigtrace.model.event import Disposition, Info, Result
from sigtrace.model.finding import Certainty
from tests.unit.detectors.events import KILLED, SHELL_FORM, Container, S, exited, story

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
