"""A folded finding says how many there were so far; what counts is how many it adds."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.fold import Folds
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation
from sigtrace.sinks.metrics.repeats import Repeats
from tests.unit.sinks.metrics.world import S, container

WEB = container(10)


def finding(code="signal-dropped", count=1, first=0, pid=7, comm="w", workload=WEB, cause="no-handler", **fields):
    return Finding(
        code,
        cause,
        Severity.ERROR,
        Certainty.OBSERVED,
        0,
        0,
        workload,
        Task(pid, pid, comm),
        "",
        "",
        count=count,
        first_wall_ns=first,
        **fields,
    )


def test_one_fold_adds_what_is_new():
    repeats = Repeats()
    assert [repeats.news(finding(count=count)) for count in (1, 10, 100, 137)] == [1, 9, 90, 37]


@pytest.mark.parametrize("other", [{"first": 5}, {"pid": 8}, {"workload": container(11)}, {"cause": "late-drop"}])
def test_another_fold_begins_anew(other):
    repeats = Repeats()
    repeats.news(finding(count=10))
    assert repeats.news(finding(**other)) == 1


def test_kills_are_folded_by_container_and_cause_whoever_was_killed():
    repeats = Repeats()
    assert [repeats.news(finding("killed", n, pid=n, cause="by-parent")) for n in (1, 10, 17)] == [1, 9, 7]


def loop(count, first=0, **fields):
    return finding("crash-masked", count, first, cause="supervisor-restarts", parent=Task(1, 1), **fields)


def test_a_crash_loop_whose_window_slides_is_one():
    repeats = Repeats()
    told = [loop(3), loop(30, first=9, pid=9), loop(41, first=20, pid=11, closing=True)]
    assert [repeats.news(one) for one in told] == [3, 27, 11]


def test_a_crash_loop_that_ended_without_a_word_and_its_successor_are_two():
    repeats = Repeats()
    assert [repeats.news(loop(3)), repeats.news(loop(5, first=99))] == [3, 5]


def test_after_its_last_word_a_loop_begins_anew():
    repeats = Repeats()
    assert [repeats.news(one) for one in (loop(3), loop(7, closing=True), loop(90, first=5))] == [3, 4, 90]


def test_it_remembers_only_so_many():
    repeats = Repeats()
    for n in range(30_000):
        repeats.news(finding(first=n))
    assert len(repeats._told) == 20_000


@pytest.mark.parametrize("last", [17, 29])
@pytest.mark.parametrize("again", [[3], [3, 10], []])
def test_a_crash_loop_that_goes_on_under_the_next_agent_counts_from_where_the_last_one_left(last, again):
    """That one's last word was for its end; the next comes to the older ones again, out of its rings."""
    repeats = Repeats()
    for one in (loop(3), loop(last, closing=True)):
        repeats.known(one)
    for count in again:
        repeats.known(loop(count), again=True)
    assert [repeats.news(loop(30)), repeats.news(loop(41, closing=True))] == [30 - last, 11]


def test_another_loop_after_one_that_an_agent_before_told_of_is_counted_whole():
    repeats = Repeats()
    repeats.known(loop(29, closing=True))
    assert [repeats.news(loop(3)), repeats.news(loop(30)), repeats.news(loop(31, closing=True))] == [3, 27, 1]


def test_a_fold_that_an_agent_before_told_of_adds_what_is_new():
    repeats = Repeats()
    repeats.known(finding(count=10))
    repeats.known(finding(count=17, closing=True))
    repeats.known(finding(count=10), again=True)
    assert [repeats.news(finding(count=100)), repeats.news(finding(count=101, closing=True))] == [83, 1]


@given(st.lists(st.booleans(), max_size=400))
@settings(deadline=None)
def test_the_sum_is_exact_however_a_fold_tells(steps):
    """True: it happens again; False: a long quiet, so that the fold ends."""
    repeats, folds, now, happened, counted = Repeats(), Folds(), 0, 0, 0

    def tell(fold):
        nonlocal counted
        fold.told = fold.count
        counted += repeats.news(finding("killed", fold.count, fold.first.event.wall_ns, cause="manual"))

    for again in steps:
        now += S
        if not again:
            now += 100 * S
            if fold := folds.close(0):
                tell(fold)
            continue
        happened += 1
        event = Event(now, now, Kind.SIGNAL_GENERATE)
        fold = folds.get(0)
        if fold is None:
            tell(folds.open(0, Observation(event)))
        elif fold.add(event):
            tell(fold)
    for fold in folds.close_all():
        tell(fold)
    assert counted == happened


def test_folds_of_a_container_that_is_gone_are_forgotten_after_its_last_word_and_no_others():
    repeats, living = Repeats(), container(11)
    for workload in (WEB, living):
        for one in (finding(count=10), finding("killed", 10, cause="by-parent"), loop(10)):
            repeats.news(dataclasses.replace(one, workload=workload))
    repeats.gone(10, 100 * S)
    repeats.expire(161 * S)
    assert repeats.news(finding("killed", 17, cause="by-parent", closing=True)) == 7
    repeats.expire(221 * S)
    assert {key[0] for key in repeats._told} == set(repeats._of) == {11}
    assert repeats.news(finding(count=17, workload=living)) == 7


def test_what_is_told_of_a_container_after_its_end_is_forgotten_as_well():
    repeats = Repeats()
    repeats.gone(10, 100 * S)
    repeats.news(finding())
    repeats.expire(221 * S)
    assert not repeats._told
    assert not repeats._of
    assert not repeats._gone
