"""The last counts of removed cgroups, from the kernel's own tables: nothing is lost and nothing is counted twice."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.model.event import Kind
from sigtrace.model.metrics import EXITS, SIGNALS
from sigtrace.sources.wire import COUNT_EXIT
from tests.unit.sinks.metrics.world import World, container, of
from tests.unit.sources.test_counters import CPUS, S
from tests.unit.sources.test_counters import World as Kernel

STEPS = st.lists(
    st.tuples(st.sampled_from(["signal", "signal", "exit", "gone", "give back", "look"]), st.integers(1, 4)),
    max_size=40,
)


def test_nothing_is_kept_for_nobody():
    kernel = Kernel()
    kernel.signal(0, 5, 15)
    kernel.counters.gone(5, 0)
    kernel.counters.give_back(100 * S)
    assert kernel.counters.take_given().signals == {}
    kernel.signal(0, 6, 15)
    kernel.map.add(0, 6, COUNT_EXIT | 9, 2)
    kernel.counters.gone(6, 100 * S)
    kernel.counters.give_back(200 * S)
    taken = kernel.counters.take_given()
    assert (taken.signals, taken.exits) == ({(6, 15, 0): 1}, {(6, 9): 2})
    assert kernel.counters.take_given().signals == {}
    assert kernel.counters.read(0, 0).signals_total == 2
    kernel.close()


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr("sigtrace.sources.counters._KEPT", 10)
    kernel = Kernel()
    kernel.counters.take_given()
    for cgroup in range(1, 31):
        kernel.map.add(0, cgroup, COUNT_EXIT | 9)
        kernel.counters.gone(cgroup, 0)
    kernel.counters.give_back(100 * S)
    assert len(kernel.counters.take_given().exits) == 10
    assert kernel.counters.read(0, 0).exits_gone == 30
    kernel.close()


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_what_a_container_counted_is_told_exactly_whenever_one_looks(steps):
    kernel, world = Kernel(), World()
    counters = kernel.counters
    world.metrics.attach(counts=lambda: counters.read(0, 0), given=counters.take_given, workload_of=lambda _: None)
    web = world.start(container(10))
    for cgroup in (1, 2, 3, 4):
        world.event(Kind.CGROUP_MKDIR, cgroup=cgroup, cgroup_parent_id=10)
    sent = ended = 0
    for step, cgroup in steps:
        world.now += S // 2
        if step == "signal":
            kernel.signal(cgroup % CPUS, cgroup, 15)
            sent += 1
        elif step == "exit":
            kernel.map.add(cgroup % CPUS, cgroup, COUNT_EXIT | 9)
            ended += 1
        elif step == "gone":
            counters.gone(cgroup, world.now)
        elif step == "give back":
            counters.give_back(world.now)
        else:
            collected = world.collect()
            assert sum(of(collected, web, SIGNALS).values()) == sent
            assert sum(of(collected, web, EXITS).values()) == ended
    collected = world.collect()
    assert (sum(of(collected, web, SIGNALS).values()), sum(of(collected, web, EXITS).values())) == (sent, ended)
    kernel.close()
