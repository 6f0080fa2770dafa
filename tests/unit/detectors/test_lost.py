"""events-lost: what could not be told is told."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.model.event import Loss
from sigtrace.model.workload import Observation
from tests.unit.detectors.events import WALL, Container, S, lost, run


@pytest.mark.parametrize("loss", Loss)
def test_every_loss_is_a_finding_of_its_own_cause(loss):
    (finding,) = run(Chain(), lost(S, loss, 12345))
    assert (finding.code, finding.cause, finding.count) == ("events-lost", loss.value, 12345)
    assert finding.message.startswith("12,345 events were not told: ")
    assert (finding.workload, finding.subject) == (None, None)
    assert (finding.wall_ns, finding.first_wall_ns) == (WALL + S, WALL + S)


def test_repeats_are_folded_by_tens_and_told_at_the_end():
    steps = [lost(n * S) for n in range(1, 151)]
    assert [f.count for f in run(Chain(), *steps, until=149 * S + 60 * S)] == [1, 10, 100]
    told = run(Chain(), *steps, until=150 * S + 60 * S)
    assert [f.count for f in told] == [1, 10, 100, 150]
    assert told[-1].window_s == 149


def test_causes_are_counted_apart_and_a_new_storm_begins_anew():
    steps = [lost(S), lost(S, Loss.QUEUE_FULL, 3), lost(100 * S, count=2)]
    assert [(f.cause, f.count) for f in run(Chain(), *steps)] == [("ring-full", 1), ("queue-full", 3), ("ring-full", 2)]


def test_nothing_else_is_a_loss():
    assert "events-lost" not in [v.code for v in run(Chain(), Container().kill(S))]


def test_the_last_count_is_told_at_the_end():
    told = run(Chain(), lost(S), lost(2 * S), until=2 * S, end=True)
    assert [f.count for f in told] == [1, 2]


def test_a_loss_of_an_unknown_cause_or_of_nothing_raises_nothing():
    unknown = dataclasses.replace(lost(S).event, loss=None)
    assert not run(Chain(), Observation(unknown), until=99 * S)
    assert len(run(Chain(), lost(S, count=0), until=99 * S)) <= 1


@given(st.lists(st.tuples(st.sampled_from(Loss), st.integers(1, 10_000)), max_size=60))
def test_the_last_word_on_each_cause_is_its_exact_total(losses):
    told = run(Chain(), *(lost(i + 1, loss, n) for i, (loss, n) in enumerate(losses)), until=100 * S)
    last = {f.cause: f.count for f in told}
    assert last == {loss.value: sum(n for one, n in losses if one is loss) for loss, _ in losses}
    assert len(told) <= 6 * len(last)  # 10,000 × 60 losses in tens, and the end
