"""Timers and thresholds."""

from hypothesis import given
from hypothesis import strategies as st

from sigtrace.detectors.base import Thresholds, Timers


def test_nobody_waits_at_first():
    timers = Timers()
    assert timers.deadline() is None
    assert timers.pop(10**18) is None


@given(
    st.lists(st.tuples(st.integers(-10, 50), st.integers()), max_size=30), st.lists(st.integers(-10, 60), max_size=8)
)
def test_each_rings_once_in_its_order_and_none_before_its_time(wanted, looks):
    timers, rung = Timers(), []
    for due, token in wanted:
        timers.at(due, "detector", (due, token))
    for now in sorted(looks):
        while ringing := timers.pop(now):
            assert ringing[1][0] <= now
            rung.append(ringing[1])
        assert timers.deadline() is None or timers.deadline() > now
    while ringing := timers.pop(100):
        rung.append(ringing[1])
    assert [due for due, _ in rung] == sorted(due for due, _ in wanted)
    assert sorted(rung) == sorted(wanted)


def test_timers_of_one_time_ring_in_the_order_in_which_they_were_set():
    timers = Timers()
    for n in range(50):
        timers.at(5, object(), {n: "tokens need no order"})
    assert [next(iter(timers.pop(5)[1])) for _ in range(50)] == list(range(50))


def test_thresholds_are_seconds_and_all_in_a_recordings_header():
    found = Thresholds().as_dict()
    assert found
    assert all(value > 0 for value in found.values())
    assert Thresholds(**found) == Thresholds()
