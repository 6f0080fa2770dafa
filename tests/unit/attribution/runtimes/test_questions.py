"""What is asked when."""

import pytest

from sigtrace.attribution.runtimes import questions as module
from sigtrace.attribution.runtimes.questions import AGAIN_S, BREAKS_MAX, Questions


@pytest.fixture
def questions():
    return Questions()


def taken(questions, now):
    """All that are due."""
    found = []
    while one := questions.take(now):
        found.append(one)
    return found


def test_what_is_urgent_goes_first_and_in_order(questions):
    questions.add("later", 0, urgent=False)
    questions.add("b", 1)
    questions.add("a", 1)
    assert questions.wait(1) == 0
    assert taken(questions, 1) == ["b", "a", "later"]
    assert questions.wait(1) is None


def test_what_is_not_urgent_can_be_left_for_later(questions):
    questions.add("later", 0, urgent=False)
    assert questions.wait(0, later=False) is None
    assert questions.take(0, later=False) is None
    assert questions.take(0) == "later"


def test_one_that_is_being_asked_is_not_taken_twice(questions):
    questions.add("a", 0)
    assert taken(questions, 0) == ["a"]
    questions.add("a", 1)
    questions.add("a", 1, urgent=False)
    assert taken(questions, 1) == []


def test_one_that_is_not_known_is_asked_again_and_again_and_then_given_up(questions):
    questions.add("a", 0)
    now = 0.0
    for again in AGAIN_S:
        assert questions.take(now) == "a"
        assert not questions.answered("a", now, complete=False)
        assert questions.wait(now) == pytest.approx(again)
        assert questions.take(now + again * 0.9) is None
        now += again
    assert questions.take(now) == "a"
    assert questions.answered("a", now, complete=False)
    assert not questions


def test_a_complete_answer_is_the_end(questions):
    questions.add("a", 0)
    questions.take(0)
    assert questions.answered("a", 0, complete=True)
    assert not questions


def test_one_that_is_wanted_while_it_is_asked_is_asked_anew(questions):
    """The container began again: the answer that is under way may be the old one's."""
    questions.add("a", 0)
    questions.take(0)
    questions.add("a", 0)
    assert not questions.answered("a", 1, complete=True)
    assert questions.take(1) == "a"
    assert questions.answered("a", 1, complete=True)


def test_wanting_it_again_begins_the_count_anew(questions):
    questions.add("a", 0)
    questions.take(0)
    questions.answered("a", 0, complete=False)
    questions.add("a", 0)
    assert taken(questions, 0) == ["a"]
    questions.answered("a", 0, complete=False)
    assert questions.wait(0) == pytest.approx(AGAIN_S[0])


def test_one_that_nobody_takes_for_hours_is_planned_once(questions):
    """The socket can't be connected, and each event asks again."""
    for now in range(1000):
        assert questions.add("a", now)
    assert len(questions._order) == 1
    assert taken(questions, 1000) == ["a"]


def test_one_that_breaks_is_dropped_after_some_tries(questions):
    questions.add("a", 0)
    ends = []
    for now in range(BREAKS_MAX):
        assert questions.take(now) == "a"
        ends.append(questions.broken("a", now))
    assert ends == [False] * (BREAKS_MAX - 1) + [True]
    assert not questions


def test_breaks_are_forgotten_when_it_is_wanted_anew(questions):
    questions.add("a", 0)
    for now in range(BREAKS_MAX * 2):
        assert questions.take(now) == "a"
        questions.add("a", now)
        assert not questions.broken("a", now)


def test_too_many_are_refused(questions, monkeypatch):
    monkeypatch.setattr(module, "MAX", 2)
    assert [questions.add(one, 0) for one in "aab"] == [True, True, True]
    assert not questions.add("c", 0)
    assert not questions.add("c", 0, urgent=False)
    assert taken(questions, 0) == ["a", "b"]
