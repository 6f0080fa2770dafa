"""source → attribution → detectors → sinks, in time order, and every drop told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.workload import Observation
from sigtrace.pipeline import Feed, Orderer, Pipeline
from sigtrace.sources.base import Batch
from tests.unit.detectors.events import MS, S


def event(at, signo=0):
    return Event(at, at + 5 * S, Kind.SIGNAL_GENERATE, signo=signo)


def times(events):
    return [e.time_ns for e in events]


def test_an_event_is_held_back_while_an_older_one_may_come():
    orderer = Orderer()
    assert times(orderer.order(Batch([event(5), event(3)], 4))) == [3]
    assert orderer.oldest_ns == 5
    assert times(orderer.order(Batch([event(4)], 5))) == [4, 5]
    assert orderer.oldest_ns is None


def test_events_of_one_time_stay_in_their_order():
    batch = Batch([event(1, n) for n in range(100)], 1)
    assert [e.signo for e in Orderer().order(batch)] == list(range(100))


def test_a_late_event_is_counted_and_passed_on():
    orderer = Orderer()
    list(orderer.order(Batch([event(10)], 10)))
    assert times(orderer.order(Batch([event(7), event(11)], 20))) == [7, 11]
    assert orderer.late == 1
    assert times(orderer.order(Batch([event(11)], 20))) == [11]
    assert orderer.late == 1


#: Batches of a source that keeps its word: nothing older than the until_ns of an earlier batch.
@st.composite
def honest(draw):
    batches, until = [], 0
    for _ in range(draw(st.integers(0, 8))):
        offsets = draw(st.lists(st.integers(0, 50), max_size=12))
        batches.append(Batch([event(until + 1 + o) for o in offsets], draw(st.integers(until, until + 40))))
        until = batches[-1].until_ns
    return batches


@given(honest())
def test_what_comes_out_is_sorted_and_nothing_is_lost_or_doubled(batches):
    orderer = Orderer()
    out = []
    for batch in batches:
        out += orderer.order(batch)
        assert all(e.time_ns <= batch.until_ns for e in out)
        assert orderer.oldest_ns is None or orderer.oldest_ns > batch.until_ns
    out += orderer.order(Batch([], 10**6))
    assert times(out) == sorted(times(out))
    given_ids = sorted(id(e) for b in batches for e in b.events)
    assert sorted(map(id, out)) == given_ids
    assert orderer.late == 0


@given(st.lists(st.tuples(st.lists(st.integers(0, 100), max_size=10), st.integers(0, 100)), max_size=10))
def test_even_a_source_that_breaks_its_word_loses_and_doubles_nothing(plan):
    orderer, out, late = Orderer(), [], 0
    batches = [Batch([event(at) for at in offsets], until) for offsets, until in plan]
    for batch in batches:
        released = max(times(out), default=0)
        late += sum(e.time_ns < released for e in batch.events)
        out += orderer.order(batch)
    out += orderer.order(Batch([], 1000))
    assert sorted(map(id, out)) == sorted(id(e) for b in batches for e in b.events)
    assert orderer.late == late


class Source:
    name = "fake"

    def __init__(self, *batches):
        self.batches = list(batches)
        self.waits = []

    def read(self, timeout_s):
        self.waits.append(timeout_s)
        return self.batches.pop(0) if self.batches else Batch([], 0)


class Attribution:
    def is_early(self, one, now_ns):
        return False

    def observe(self, one):
        return Observation(one)


class Detector:
    def __init__(self):
        self.fed, self.ticks, self.dues, self.log = [], [], [], []

    def feed(self, observation):
        self.fed.append(observation.event.time_ns)
        self.log.append(f"feed {observation.event.time_ns}")
        yield f"fed {observation.event.time_ns}"

    def tick(self, now_ns):
        self.dues = [due for due in self.dues if due > now_ns]
        self.ticks.append(now_ns)
        self.log.append(f"tick {now_ns}")
        yield f"tick {now_ns}"

    def deadline(self):
        return min(self.dues, default=None)

    def end(self, now_ns, *, handed_over=False):
        yield f"end {now_ns}"


class Sink:
    def __init__(self, dropped=0):
        self.got, self.dropped, self.times = [], dropped, []

    def observation(self, observation):
        self.got.append(observation.event)

    def verdict(self, verdict):
        self.got.append(verdict)

    def pass_time(self, now_ns):
        self.times.append(now_ns)

    def take_dropped(self):
        dropped, self.dropped = self.dropped, 0
        return dropped

    def close(self):
        pass


def feeding(*batches, sinks=(), recorder=None):
    source, detector = Source(*batches), Detector()
    pipeline = Pipeline(detector, list(sinks), recorder)
    return Feed(source, Attribution(), pipeline, list(sinks)), source, detector


# ---- the pipeline


def test_events_go_in_time_order_to_every_sink_then_their_verdicts():
    one, two = Sink(), Sink()
    first, second = event(1), event(2)
    feed, _, detector = feeding(Batch([second, first], 9), sinks=[one, two])
    feed.step(1)
    assert one.got == two.got == [first, "fed 1", second, "fed 2"]
    assert detector.fed == [1, 2]


def test_each_deadline_rings_at_its_own_time_however_late_we_look():
    sink = Sink()
    feed, _, detector = feeding(Batch([event(50)], 90), sinks=[sink])
    detector.dues = [10, 20, 60, 95]
    feed.step(1)
    assert detector.ticks == [10, 20, 60]
    assert sink.got == ["tick 10", "tick 20", event(50), "fed 50", "tick 60"]


def test_a_deadline_at_the_very_time_of_an_event_comes_before_it():
    feed, _, detector = feeding(Batch([event(50)], 90))
    detector.dues = [50]
    feed.step(1)
    assert detector.log == ["tick 50", "feed 50"]


def test_time_goes_on_without_events_and_never_back():
    feed, _, detector = feeding(Batch([], 5), Batch([], 3), Batch([], 7))
    detector.dues = [4, 6]
    seen = []
    for _ in range(3):
        feed.step(1)
        seen.append(feed._pipeline.now_ns)
    assert seen == [5, 5, 7]
    assert detector.ticks == [4, 6]


def test_a_late_event_does_not_turn_time_back():
    feed, _, detector = feeding(Batch([event(10)], 10), Batch([event(7)], 20))
    feed.step(1)
    feed.step(1)
    assert detector.fed == [10, 7]
    assert feed._pipeline.now_ns == 20


def test_at_the_end_what_waits_is_told():
    sink = Sink()
    feed, _, _ = feeding(Batch([event(1)], 9), sinks=[sink])
    feed.step(1)
    feed.end()
    assert sink.got[-1] == "end 9"


def test_sinks_are_told_how_time_goes():
    sink = Sink()
    feed, _, _ = feeding(Batch([], 5), Batch([], 9), sinks=[sink])
    feed.step(1)
    feed.step(1)
    assert sink.times == [5, 9]


# ---- what a recorder gets


class Recorder:
    def __init__(self):
        self.got = []

    def observation(self, observation):
        self.got.append(observation)

    def advance(self, now_ns):
        self.got.append(now_ns)


def test_a_recorder_gets_each_observation_and_time_only_where_a_deadline_was_due():
    recorder = Recorder()
    feed, _, detector = feeding(Batch([event(5)], 10), Batch([], 20), Batch([], 30), Batch([], 40), recorder=recorder)
    detector.dues = [25]
    for _ in range(4):
        feed.step(1)
    feed.end()
    assert recorder.got == [Observation(event(5)), 30, 40]


# ---- how long it waits


@pytest.mark.parametrize(
    ("due", "wait"),
    [
        (None, 0.2),
        (10 * S + 50 * MS, 0.05),
        (10 * S + 900 * MS, 0.2),
        (10 * S, 0.002),
        (3 * S, 0.002),
    ],
)
def test_the_wait_is_as_short_as_the_detector_needs_it(due, wait):
    feed, source, detector = feeding(Batch([], 10 * S))
    feed.step(0.2)
    detector.dues = [] if due is None else [due]
    feed.step(0.2)
    assert source.waits == [0.2, pytest.approx(wait)]


def test_an_event_that_is_held_back_shortens_the_wait_too():
    feed, source, _ = feeding(Batch([event(10 * S + 5 * MS)], 10 * S))
    feed.step(0.2)
    feed.step(0.2)
    assert source.waits[1] == pytest.approx(0.005)


def test_a_wait_of_nothing_stays_nothing():
    feed, source, detector = feeding(Batch([], 10 * S))
    detector.dues = [20 * S]
    feed.step(0)
    assert source.waits == [0]


# ---- drops


def test_what_sinks_dropped_comes_back_as_a_loss():
    one, two = Sink(dropped=3), Sink(dropped=4)
    feed, _, detector = feeding(Batch([event(1)], 9), Batch([], 10), sinks=[one, two])
    feed.step(1)
    lost = [e for e in one.got if isinstance(e, Event) and e.kind is Kind.LOST]
    assert lost == [Event(9, 9 + 5 * S, Kind.LOST, loss=Loss.QUEUE_FULL, count=7)]
    assert detector.fed == [1, 9]
    feed.step(1)
    assert len([e for e in two.got if isinstance(e, Event) and e.kind is Kind.LOST]) == 1


def test_what_was_dropped_last_is_told_at_the_end():
    sink = Sink()
    feed, _, _ = feeding(Batch([event(1)], 9), sinks=[sink])
    feed.step(1)
    sink.dropped = 2
    feed.end()
    assert [e.count for e in sink.got if isinstance(e, Event) and e.kind is Kind.LOST] == [2]


def test_what_is_early_holds_back_what_is_younger_and_time_itself():
    class Waiting(Attribution):
        waits = True

        def is_early(self, one, now_ns):
            return self.waits and one.time_ns == 20

    attribution, detector, sink = Waiting(), Detector(), Sink()
    feed = Feed(Source(), attribution, Pipeline(detector, [sink]), [sink])
    detector.dues = [25]
    feed.take(Batch([event(10), event(20), event(30)], 40))
    assert detector.log == ["feed 10"]
    attribution.waits = False
    feed.take(Batch([], 50))
    assert detector.log == ["feed 10", "feed 20", "tick 25", "feed 30"]


def test_what_is_early_at_the_end_is_told_with_what_is_known():
    class Waiting(Attribution):
        def is_early(self, one, now_ns):
            return True

    detector, sink = Detector(), Sink()
    feed = Feed(Source(), Waiting(), Pipeline(detector, [sink]), [sink])
    feed.take(Batch([event(10)], 40))
    assert detector.fed == []
    feed.end()
    assert detector.fed == [10]
