"""The same events in other batches, and from a recording: the same verdicts, in the same order."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.pipeline import Feed, Pipeline
from sigtrace.sources.base import Batch
from tests.unit.detectors.events import MS, Container, S, Told
from tests.unit.detectors.lives import LIVES, LONGEST, whole


class Source:
    name = "fake"

    def __init__(self, *batches):
        self.batches = list(batches)
        self.waits = []

    def read(self, timeout_s):
        self.waits.append(timeout_s)
        return self.batches.pop(0) if self.batches else Batch([], 0)


class Recorder:
    def __init__(self):
        self.got = []

    def observation(self, observation):
        self.got.append(observation)

    def advance(self, now_ns):
        self.got.append(now_ns)


class Known:
    """Attribution that has it all already."""

    def __init__(self, observations):
        self.known = {id(o.event): o for o in observations}

    def is_early(self, one, now_ns):
        return False

    def observe(self, one):
        return self.known[id(one)]


def patterns(*values):
    """A few values that are used again and again."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=5)


@st.composite
def split(draw):
    """Lives of some containers, as several CPUs and two rings give them: late, in batches, each with its promise."""
    plan = draw(st.lists(st.tuples(st.sampled_from(list(LIVES)), st.integers(0, 9 * S)), min_size=1, max_size=4))
    steps = [o for n, (name, at) in enumerate(plan, 1) for o in whole(name, Container(n), S + at + n)]
    steps.sort(key=lambda o: o.event.time_ns)
    times = sorted({o.event.time_ns for o in steps})
    delays = dict(zip(times, itertools.cycle(draw(patterns(0, 1, MS, 50 * MS, S))), strict=False))
    arriving = sorted(steps, key=lambda o: (o.event.time_ns + delays[o.event.time_ns], o.event.time_ns))
    sizes = itertools.cycle([*draw(patterns(0, 1, 2, 5, 20)), 1])
    holds = itertools.cycle(draw(patterns(0, 1, MS, S, 30 * S)))
    batches, until, at = [], 0, 0
    while at < len(arriving):
        size = next(sizes)
        events = [o.event for o in arriving[at : at + size]]
        at += size
        rest = min((o.event.time_ns for o in arriving[at:]), default=until + 200 * S)
        until = max(until, rest - 1 - next(holds))
        batches.append(Batch(events, until))
    return steps, [*batches, Batch([], max(times) + 2 * LONGEST)]


@given(split())
@settings(max_examples=100, deadline=None)
def test_the_same_events_in_any_batches_give_the_same_verdicts_in_the_same_order(plan):
    steps, batches = plan
    whole_ = Told()
    straight = Pipeline(Chain(), [whole_])
    for observation in steps:
        straight.feed(observation)
    straight.advance(batches[-1].until_ns)

    told = Told()
    feed = Feed(Source(*batches), Known(steps), Pipeline(Chain(), [told]), [told])
    for _ in batches:
        feed.step(0.1)
    assert feed.orderer.late == 0
    assert told.verdicts == whole_.verdicts


@given(split())
@settings(max_examples=40, deadline=None)
def test_what_a_recorder_was_given_gives_the_same_verdicts_again(plan):
    steps, batches = plan
    told, recorder = Told(), Recorder()
    feed = Feed(Source(*batches), Known(steps), Pipeline(Chain(), [told], recorder), [told])
    for _ in batches:
        feed.step(0.1)
    feed.end()

    again = Told()
    replay = Pipeline(Chain(), [again])
    for one in recorder.got:
        if isinstance(one, int):
            replay.advance(one)
        else:
            replay.feed(one)
    replay.end()
    assert again.verdicts == told.verdicts
