"""Repeats are folded."""

import pytest

from sigtrace.detectors import fold as module
from sigtrace.detectors.fold import Fold, Folds
from sigtrace.model.finding import EVIDENCE_MAX
from tests.unit.detectors.events import WALL, Container, S

BOX = Container()


def fold_of(*times, told=0):
    fold = Fold.of(BOX.term(times[0]))
    fold.told = told
    again = [fold.add(BOX.term(at).event) for at in times[1:]]
    return fold, again


def test_it_is_told_again_at_ten_times_the_count_that_was_told_last():
    _, again = fold_of(*range(1, 25), told=1)
    assert [n for n, tell in enumerate(again, 2) if tell] == list(range(10, 25))
    _, again = fold_of(*range(1, 25), told=2)
    assert [n for n, tell in enumerate(again, 2) if tell] == [20, 21, 22, 23, 24]
    assert not any(fold_of(*range(1, 25))[1]), "what was not told yet is not told again"


def test_its_window_its_last_time_and_its_evidence():
    fold, _ = fold_of(*(n * S for n in range(1, 30)))
    assert (fold.window_s, fold.last_ns, fold.wall_ns) == (28, 29 * S, WALL + 29 * S)
    assert len(fold.evidence) == EVIDENCE_MAX
    assert fold_of(S)[0].window_s is None


def test_one_that_has_not_come_for_a_minute_has_ended():
    folds = Folds()
    folds.open("key", BOX.term(S))
    assert not folds.is_quiet("key", 61 * S - 1)
    assert folds.is_quiet("key", 61 * S)
    assert not folds.is_quiet("other", 99 * S)


@pytest.mark.parametrize(("told", "left"), [(0, True), (1, False)])
def test_closing_gives_back_what_was_not_told(told, left):
    folds = Folds()
    folds.open("key", BOX.term(S)).told = told
    assert (folds.close("key") is not None) is left
    assert folds.get("key") is None
    assert folds.close("key") is None


def test_all_that_are_open_are_closed_at_the_end():
    folds = Folds()
    for n in range(5):
        folds.open(n, BOX.term(n)).told = n % 2
    assert [f.first.event.time_ns for f in folds.close_all()] == [0, 2, 4]
    assert not list(folds.close_all())


def test_those_that_are_open_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "OPEN_MAX", 10)
    folds = Folds()
    for n in range(100):
        folds.open(n, BOX.term(n))
    assert folds.get(99)
    assert folds.get(0) is None
    assert len(list(folds.close_all())) == 10
