"""signal-pending: a stop signal that stays in the queue, and why."""

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Result
from sigtrace.model.finding import Certainty
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    TAKEN,
    Container,
    S,
    exited,
    findings,
    run,
)

BOX = Container()
TERM = signals.SIGTERM
HOLDS = {
    "blocked": BLOCKED,
    "stopped": HANDLED | {"stopped": True},
    "frozen": HANDLED | {"frozen": True},
    "traced": BY_DEFAULT | {"ptraced": True},
}


def pending(*steps, until=None):
    return findings(*steps, until=until, code="signal-pending")


def listings(*at, pending=TERM, box=BOX):
    return [box.snapshot(t, box.init, pending=pending) for t in at]


@pytest.mark.parametrize("box", [BOX, Container(2, host_pid=True)], ids=["init", "host PID namespace"])
@pytest.mark.parametrize(("cause", "fields"), HOLDS.items())
def test_what_the_listing_still_shows_after_a_while_is_told_with_its_reason(box, cause, fields):
    steps = [box.term(S, **fields), listings(S + 20 * MS, S + 150 * MS, 2 * S, 6 * S, box=box)]
    (finding,) = pending(*steps, until=100 * S)
    assert (finding.cause, finding.severity, finding.certainty) == (cause, Severity.WARNING, Certainty.OBSERVED)
    assert (finding.signo, finding.time_ns) == (TERM, 6 * S)
    assert "SIGTERM was still pending after 5.0 s" in finding.message


@pytest.mark.parametrize(("cause", "fields"), HOLDS.items())
def test_without_a_later_listing_it_is_inferred(cause, fields):
    (finding,) = pending(BOX.term(S, **fields), until=100 * S)
    assert (finding.cause, finding.certainty) == (cause, Certainty.INFERRED)
    assert finding.time_ns >= S + 4500 * MS


def test_the_reasons_go_in_their_order():
    everything = BLOCKED | {"frozen": True, "stopped": True, "ptraced": True}
    order = []
    for field, cause in (("frozen", "frozen"), ("stopped", "stopped"), ("blocked", "blocked"), ("ptraced", "traced")):
        order.append(pending(BOX.term(S, **everything), until=100 * S)[0].cause == cause)
        everything = everything | {field: False}
    assert all(order)


@pytest.mark.parametrize("fields", [HANDLED, TAKEN, DROPPED, BLOCKED | {"result": Result.IGNORED}])
def test_what_is_queued_for_nobody_that_holds_it_is_not_pending(fields):
    assert not pending(BOX.term(S, **fields), until=100 * S)


@pytest.mark.parametrize("result", [Result.DELIVERED, Result.ALREADY_PENDING])
def test_already_pending_pends_as_well(result):
    assert pending(BOX.term(S, **BLOCKED | {"result": result}), until=100 * S)


@pytest.mark.parametrize("at", [S + 1, 5 * S])
def test_what_is_delivered_in_time_is_not_pending(at):
    assert not pending(BOX.term(S, **HANDLED | {"blocked": True}), BOX.deliver(at), until=100 * S)


def test_what_a_listing_no_longer_shows_was_taken():
    assert not pending(BOX.term(S, **BLOCKED), listings(S + 150 * MS, pending=0), until=100 * S)


def test_a_listing_before_it_is_due_does_not_make_it_one():
    steps = [BOX.term(S, **BLOCKED), listings(S + 20 * MS, 2 * S)]
    assert not pending(*steps, until=5 * S)


def test_who_exits_in_time_has_nothing_pending():
    assert not pending(BOX.term(S, **BLOCKED), BOX.exit(3 * S, exited(0)), until=100 * S)


@pytest.mark.parametrize(("listing", "certainty"), [(TERM, Certainty.OBSERVED), (None, Certainty.INFERRED), (0, None)])
def test_what_pended_until_sigkill_pended_for_ever(listing, certainty):
    seen = [] if listing is None else listings(S + 20 * MS, pending=listing)
    found = pending(BOX.term(S, **BLOCKED), seen, BOX.kill(2 * S), BOX.exit(2 * S + 1, KILLED), until=100 * S)
    assert [f.certainty for f in found] == ([certainty] if certainty else [])


def test_each_signal_is_told_once():
    steps = [BOX.term(S, **BLOCKED), BOX.term(2 * S, **BLOCKED), BOX.signal(3 * S, signals.SIGINT, **BLOCKED)]
    assert sorted(f.signo for f in pending(*steps, until=100 * S)) == [signals.SIGINT, TERM]


@pytest.mark.parametrize(
    "observation",
    [
        BOX.term(S, task=BOX.child(), **BLOCKED),
        BOX.term(S, sender=BOX.child(), **BLOCKED),
        BOX.signal(S, signals.SIGHUP, BASH, **BLOCKED),
        BOX.signal(S, signals.number("USR1"), BASH, **BLOCKED),
    ],
)
def test_only_what_asks_the_main_process_from_outside_to_end_is_waited_for(observation):
    assert not pending(observation, until=100 * S)


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_it(kind):
    assert not pending(Container(kind=kind).term(S, **BLOCKED), until=100 * S)


def test_of_containers_that_took_it_in_the_end_nothing_is_kept():
    chain = Chain()
    for n in range(1, 200):
        box = Container(n)
        run(chain, box.term(n * S, **BLOCKED), box.deliver(n * S + 1), box.exit(n * S + 2, exited(0)))
    (detector,) = [d for d in chain._detectors if type(d).__name__ == "Pending"]
    assert not detector._open
