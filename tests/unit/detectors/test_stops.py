"""What is known of each main process on its way out."""

import dataclasses

import pytest

from sigtrace.detectors.stops import _MAX, Stops, is_stop_signal
from sigtrace.model import signals
from sigtrace.model.event import Result
from tests.unit.detectors.events import BASH, DROPPED, HANDLED, MS, RUNC, RUNC_AGAIN, Container, S

BOX = Container()


def fed(*observations):
    stops = Stops()
    for observation in observations:
        stops.feed(observation)
    return stops


@pytest.mark.parametrize("signo", [signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, 37])
def test_these_ask_a_container_to_stop(signo):
    assert is_stop_signal(BOX.signal(0, signo))


@pytest.mark.parametrize("signo", [s for s in range(1, 65) if s not in {2, 3, 15, 37}])
def test_all_others_only_if_they_are_the_configured_stop_signal(signo):
    assert not is_stop_signal(BOX.signal(0, signo))
    assert is_stop_signal(Container(stop_signal=signo).signal(0, signo))


@pytest.mark.parametrize(
    "observation",
    [
        BOX.term(0, sender=BOX.child()),
        BOX.term(0, container_init=False),
        BOX.term(0, task=BOX.child()),
        BOX.term(0, teardown=True, sender=None),
        BOX.term(0, exiting=True, result=Result.IGNORED),
        BOX.signal(0, signals.SIGHUP),
        BOX.signal(0, signals.number("USR1")),
    ],
)
def test_what_asks_for_nothing_is_no_request(observation):
    stops = fed(observation)
    assert stops.get(BOX.init.key).requests == []
    assert stops.stopping(BOX.pidns, S) is None


@pytest.mark.parametrize("result", [Result.OVERFLOW, Result.IGNORED, Result.LOSE_INFO])
def test_a_kill_that_did_not_arrive_is_none(result):
    assert fed(BOX.kill(0, result=result)).get(BOX.init.key).kill is None


def test_the_first_kill_counts():
    first = BOX.kill(1)
    assert fed(first, BOX.kill(2, BASH)).get(BOX.init.key).kill is first


def test_a_kill_belongs_to_the_latest_stop_signal_that_fits():
    mine, other, again = BOX.term(1, RUNC), BOX.term(2, BASH), BOX.term(3, RUNC)
    assert fed(mine, other, BOX.kill(9, RUNC_AGAIN)).get(BOX.init.key).request_of_kill() is mine
    assert fed(mine, other, again, BOX.kill(9, RUNC_AGAIN)).get(BOX.init.key).request_of_kill() is again
    assert fed(mine, other, BOX.kill(9, BASH)).get(BOX.init.key).request_of_kill() is other
    assert fed(mine, BOX.kill(9, BASH)).get(BOX.init.key).request_of_kill() is None


def test_without_a_kill_the_latest_stop_signal_counts():
    late = BOX.term(2, BASH)
    assert fed(BOX.term(1), late).get(BOX.init.key).request(3) is late
    assert fed().get(BOX.init.key).request(3) is None
    assert fed(BOX.term(1, BASH), BOX.kill(2)).get(BOX.init.key).request(3) is None


def test_a_stop_signal_after_the_kill_is_none_of_its():
    box = Container(grace_limit_s=30)
    assert fed(box.kill(1), box.term(2)).get(box.init.key).request_of_kill() is None


def test_sixteen_stop_signals_are_remembered_the_first_and_the_latest():
    stop = fed(*(BOX.term(n) for n in range(100))).get(BOX.init.key)
    assert [r.event.time_ns for r in stop.requests] == [0, *range(85, 100)]


def test_only_deliveries_of_what_was_asked_are_kept():
    stops = fed(BOX.deliver(0), BOX.term(1, **HANDLED), BOX.deliver(2, signals.SIGCHLD), BOX.deliver(3))
    assert [d.time_ns for d in stops.get(BOX.init.key).deliveries] == [3]


def test_a_mark_belongs_to_the_kill_just_before_it():
    assert fed(BOX.kill(S, None), BOX.oom(S + 100 * MS)).get(BOX.init.key).oom
    assert not fed(BOX.kill(S, None), BOX.oom(S + 100 * MS + 1)).get(BOX.init.key).oom
    assert not fed(BOX.oom(S), BOX.kill(S + 1, None)).get(BOX.init.key).oom
    assert not fed(BOX.kill(S, None), BOX.oom(S + 1, BOX.child())).get(BOX.init.key).oom
    restarted = dataclasses.replace(BOX.init, start_ns=99)
    assert not fed(BOX.kill(S, None), BOX.oom(S + 1, restarted)).get(BOX.init.key).oom


def test_a_namespace_is_stopping_until_its_story_is_told():
    stops = fed(BOX.term(1, **DROPPED))
    assert stops.stopping(BOX.pidns, S) is stops.get(BOX.init.key)
    assert stops.stopping(12345, S) is None
    stops.forget(BOX.init.key)
    assert stops.stopping(BOX.pidns, S) is None
    assert not stops._inits


def test_what_is_remembered_is_bounded_even_if_no_exit_comes():
    stops = fed(*(Container(n).term(n) for n in range(1, _MAX + 51)))
    assert len(stops._stops) == len(stops._inits) == _MAX
    assert stops.stopping(Container(1).pidns, S) is None
    assert stops.stopping(Container(_MAX + 50).pidns, S)
