"""What comes and goes leaves nothing behind: minutes of a node where containers live for a moment, in some seconds.

The whole pipeline of an agent without its threads: attribution, detectors, metrics, overview. What is kept of those
that have gone is level once each of its limits was reached, by number or by time; from then on Python's allocator has
as many blocks in use as before.
"""

import gc
import itertools
import sys

import pytest

from sigtrace.attribution import cgroups, inits
from sigtrace.attribution.attributor import Attributor
from sigtrace.attribution.cgroups import Cgroups
from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind
from sigtrace.pipeline import Pipeline
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp.metrics import MetricMessages
from sigtrace.sinks.overview import aggregate
from sigtrace.sinks.overview.aggregate import Overview
from sigtrace.sinks.prometheus.exposition import Scrape
from sigtrace.sources.base import Counts
from tests.unit.detectors.events import DROPPED, HANDLED, MS, PYTHON, SEGFAULT, WALL, Container, S, exited
from tests.unit.sinks.metrics.world import World, container
from tests.unit.sinks.otlp.test_metrics import otlp_settings

#: Containers a second.
_RATE = 10
_LAB = 5
_PATHS = {1: "/", 2: "/user", 3: "/kubelet", 4: "/init.scope", _LAB: "/lab"}


class Node:
    def __init__(self, mount):
        self.cgroups = Cgroups(str(mount))
        self.cgroups.walk = lambda _: None  # none of them is on a disk
        for cgroup, path in _PATHS.items():
            self.cgroups._learn(cgroup, path)
        self.attributor = Attributor(self.cgroups)
        self.metrics, self.overview = Metrics(linger_s=60), Overview(source="agent")
        self.metrics.attach(counts=lambda: Counts({(1000 + self.n, 15, 0): 1}), workload_of=self._workload_of)
        self.pipeline = Pipeline(Chain(), [self.metrics, self.overview])
        self.n = 0

    def _workload_of(self, cgroup):
        return self.attributor.workload_of(cgroup, self.pipeline.now_ns)

    def feed(self, event):
        self.pipeline.feed(self.attributor.observe(event))

    def live(self, n):
        """One of four kinds, some killed by the kernel, from its cgroup to the end of that."""
        at = n * S // _RATE
        box = Container(n)
        worker, guest, nested = box.child(1), box.guest(), box.nested()
        events = [
            Event(
                at, WALL + at, Kind.CGROUP_MKDIR, cgroup_id=1000 + n, cgroup_parent_id=_LAB, cgroup_name=f"web-{n % 5}"
            ),
            box.exec(at + MS, box.init).event,
            box.exec(at + 2 * MS, worker).event,
            box.exec(at + 3 * MS, guest).event,
            box.exit(at + 4 * MS, exited(0), guest).event,
            box.exec(at + 5 * MS, nested).event,
            box.kill(at + 6 * MS, PYTHON, task=nested).event,
            box.exit(at + 7 * MS, exited(0), nested).event,
            box.zombie(at + 8 * MS, worker).event,
            *[
                [box.term(at + 9 * MS, **DROPPED).event, box.kill(at + 20 * MS).event],
                [box.term(at + 9 * MS, **HANDLED).event, box.deliver(at + 10 * MS).event],
                [box.signal(at + 9 * MS, signals.SIGHUP, **DROPPED).event] * 12,
                [box.exit(at + 9 * MS, SEGFAULT, box.child(k)).event for k in range(3, 8)],
            ][n % 4],
            *([box.kill(at + 25 * MS, None).event] if n % 10 == 0 else []),  # the OOM killer's, perhaps
            box.exit(at + 30 * MS, exited(n % 3)).event,
            box.reap(at + 31 * MS, worker).event,
            Event(at + 31 * MS, WALL + at, Kind.CGROUP_RMDIR, cgroup_id=1000 + n),
            Event(at + 32 * MS, WALL + at, Kind.CGROUP_RMDIR, cgroup_id=1000 + n),  # from the source's own housekeeping
        ]
        self.n = n
        for event in events:
            self.feed(event)
        if n % (10 * _RATE) == 0:  # a scrape
            self.metrics.wanted = True
        self.overview.newest(0)  # and somebody looks at top
        self.pipeline.advance(at + 40 * MS)

    def until(self, n):
        for one in range(self.n + 1, n + 1):
            self.live(one)
        gc.collect()
        return sys.getallocatedblocks()


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "_REMEMBERED", 256)
    monkeypatch.setattr(inits, "_ENDED_MAX", 64)
    monkeypatch.setattr(aggregate, "_GONE_MAX", 100)
    return Node(tmp_path)


def test_containers_that_come_and_go_leave_nothing_behind(node):
    levels = [node.until(n) for n in (1_400, 1_800, 2_200)]
    assert len(node.overview.verdicts()) == 200
    assert len(list(node.metrics._containers)) >= 60 * _RATE, "those that have gone are told for so long"
    # What is made once, and may come late, is no growth: that of the first 400 or that of the others is little.
    grown = min(later - before for before, later in itertools.pairwise(levels))
    assert grown < 200, f"{grown} blocks of 400 containers stay"


@pytest.fixture
def no_collector():
    """Python's own would let go of what this counts, at a time of its choice."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_metrics_that_are_asked_for_again_and_again_leave_nothing_behind():
    """CPython keeps 2,000 freed tuples of each length up to 20, and takes them again for new ones of that length. One
    that is made of a generator is resized at its end: it takes none of them, and is kept (3.11: Objects/tupleobject.c).
    """
    world = World()
    messages = MetricMessages(world.collect, otlp_settings("delta"), "node-1")
    scrape = Scrape(world.collect, {"service.name": "sigtrace"})
    containers = [world.start(container(100 + n, name=f"web-{n}")) for n in range(19)]

    def ask(times):
        for _ in range(times):
            for n, one in enumerate(containers):
                for signo in range(1, n + 2):
                    world.signals[one.cgroup_id, signo, 0] = world.signals.get((one.cgroup_id, signo, 0), 0) + 1
                    world.exits[one.cgroup_id, signo] = world.exits.get((one.cgroup_id, signo), 0) + 1
                world.shutdown(one)
            scrape("")
            request, _, done = messages()
            request.SerializeToString()
            done(True)
        return sys.getallocatedblocks()

    levels = [ask(times) for times in (20, 20, 20)]
    grown = min(later - before for before, later in itertools.pairwise(levels))
    assert grown < 100, f"{grown} blocks of 20 requests and scrapes stay"
