"""What an agent finds of the one before it: each verdict goes the ways that it has not gone, and no other."""

import time

import pytest

from sigtrace.agent.handover import Handover
from sigtrace.agent.settings import Settings
from sigtrace.service.keeper import Keeper
from sigtrace.service.log import Log
from sigtrace.service.store import Store
from sigtrace.sinks.chosen import Tally
from sigtrace.sinks.metrics.bookkeeping import Metrics
from tests.unit.detectors.events import S
from tests.unit.sinks.test_once import BOOT, verdicts


class Counts(Metrics):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.counted, self.were_known = [], []

    def verdict(self, verdict):
        self.counted.append(verdict)

    def known(self, verdict, *, again=False):
        self.were_known.append(verdict)


class Agent:
    """Those parts of one that keep, export and count."""

    def __init__(self, folder, *, resumed_ns=0):
        settings = Settings(socket=f"{folder}/agent.sock", state=f"{folder}/state", http=None, pin="/sys/fs/bpf/x")
        self.metrics = Counts()
        self.handover = Handover(settings, BOOT, self.metrics, Log())
        self.store = Store(settings.state, lambda _: None)
        self.keeper = Keeper(self.store, BOOT, pytest.fail, lambda v: self.handover.kept(v, sends=True))
        self.told, self.exported = Tally(keep=True), Tally(keep=True)
        self.sinks = self.handover.once([self.told], self.exported)
        self.store.open(time.time_ns())
        self.handover.resume(self.store, resumed_ns, self.exported)

    def comes_to(self, *made):
        for verdict in made:
            for sink in self.sinks:
                sink.verdict(verdict)
            if verdict in self.told.verdicts:
                self.keeper.offer(verdict)
        self.keeper.keep()

    def killed(self):
        """Its files are as they are."""
        self.store.close()


@pytest.fixture
def agent(tmp_path):
    return lambda **how: Agent(tmp_path, **how)


def ids(made):
    return [getattr(v, "code", None) or v.outcome for v in made]


SENT, UNSENT = verdicts(100 * S), verdicts(100 * S, n=2)


@pytest.mark.parametrize("again", [[], [*SENT, *UNSENT]], ids=["gone from the rings", "still in the rings"])
def test_what_was_kept_and_not_sent_goes_out_once_whatever_the_rings_still_hold(agent, again):
    first = agent()
    first.comes_to(*SENT, *UNSENT)
    first.handover.sent(SENT)
    first.killed()
    second = agent(resumed_ns=103 * S)
    second.comes_to(*again)
    assert second.told.verdicts == []
    assert ids(second.exported.verdicts) == ids(UNSENT)
    second.handover.sent(second.exported.verdicts)
    second.killed()
    third = agent(resumed_ns=104 * S)
    third.comes_to(*again)
    assert third.exported.verdicts == []


def test_what_nobody_scraped_is_counted_and_what_was_is_known(agent):
    first = agent()
    first.comes_to(*SENT)
    first.handover.counted.left(len(SENT))
    first.comes_to(*UNSENT)
    first.killed()
    second = agent(resumed_ns=103 * S)
    assert ids(second.metrics.counted) == ids(UNSENT)
    assert ids(second.metrics.were_known) == ids(SENT)
    second.comes_to(*UNSENT, *verdicts(103 * S, n=3))
    assert len(second.metrics.counted) == 2 * len(UNSENT)


def test_without_pins_that_were_resumed_nothing_goes_out_again(agent):
    first = agent()
    first.comes_to(*UNSENT)
    first.killed()
    second = agent()
    assert second.exported.verdicts == []
    assert second.metrics.counted == []


def test_an_agent_that_sent_nowhere_leaves_nothing_to_send(agent):
    first = agent()
    first.keeper = Keeper(first.store, BOOT, pytest.fail, lambda v: first.handover.kept(v, sends=False))
    first.comes_to(*UNSENT)
    first.killed()
    assert agent(resumed_ns=103 * S).exported.verdicts == []
