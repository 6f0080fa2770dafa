"""Which verdicts have left with the metrics that somebody has got."""

import pytest

from sigtrace.model.metrics import Collected
from sigtrace.sinks.metrics import leaving as module
from sigtrace.sinks.metrics.leaving import Leaving


class Metrics:
    """Makes a collection whenever it is asked, unless it is stuck."""

    def __init__(self):
        self.verdicts = []
        self.now = 0
        self.stuck = False

    def verdict(self, verdict):
        self.verdicts.append(verdict)

    def collect(self):
        self.now += 0 if self.stuck else 10
        return Collected(self.now, 0)


@pytest.fixture
def metrics(monkeypatch):
    one = Metrics()
    monkeypatch.setattr(module.time, "time_ns", lambda: one.now + 1)
    return one


def test_a_scrape_takes_what_was_counted_before_it_and_nothing_twice(metrics):
    left = []
    leaving = Leaving(metrics, str, left.append)
    for n in range(3):
        leaving.verdict(n)
    leaving.scrape()
    leaving.scrape()
    leaving.verdict(3)
    assert metrics.verdicts == [0, 1, 2, 3]
    leaving.scrape()
    assert left == [["0", "1", "2"], ["3"]]


def test_what_a_collector_does_not_take_has_not_left(metrics):
    left = []
    leaving = Leaving(metrics, str, left.append)
    leaving.verdict(0)
    _, number = leaving.collect()
    leaving.verdict(1)
    assert left == []
    leaving.left(number)
    assert left == [["0"]]


def test_a_collection_from_before_the_question_shows_nothing_new(metrics):
    left = []
    leaving = Leaving(metrics, str, left.append)
    leaving.verdict(0)
    metrics.stuck = True
    leaving.scrape()
    assert left == []


def test_while_nobody_asks_it_remembers_only_so_many(metrics, monkeypatch):
    monkeypatch.setattr(module, "_ROOM", 5)
    left = []
    leaving = Leaving(metrics, str, left.append)
    for n in range(12):
        leaving.verdict(n)
    leaving.scrape()
    assert left == [["7", "8", "9", "10", "11"]]


def test_where_nobody_takes_over_it_remembers_none(metrics):
    leaving = Leaving(metrics, pytest.fail, None)
    leaving.verdict(0)
    leaving.scrape()
    assert metrics.verdicts == [0]
    assert not leaving._counted
