"""When the kernel is asked to list, what is told of it, and what a refusal costs."""

import dataclasses
import os

import pytest

from sigtrace.model.event import Event, Kind, Task
from sigtrace.sources import wire
from sigtrace.sources.listing import Listings
from sigtrace.sources.wire import Flag

MS = 1_000_000
S = 1_000_000_000
WALL = 10**18
SECOND_INIT = {"tgid": 500, "start_ns": 5, "nspid": 1, "pidns": 55, "cgroup": 555}
INIT = {"tgid": 100, "start_ns": 1, "nspid": 1, "pidns": 11, "cgroup": 111}
CHILD = {"tgid": 101, "start_ns": 2, "nspid": 2, "pidns": 11, "cgroup": 111}
HOST_MAIN = {"tgid": 200, "start_ns": 3, "nspid": 200, "pidns": 1, "cgroup": 222}
HOST_CHILD = {"tgid": 201, "start_ns": 4, "nspid": 201, "pidns": 1, "cgroup": 222}
ELSEWHERE = {"tgid": 300, "start_ns": 6, "nspid": 300, "pidns": 1, "cgroup": 333}
FIELDS = "start_ns cgroup parent_start_ns parent_cgroup tgid tid nspid pidns uid parent_tgid".split()


def record(task, *, flags=0, exit_ns=0, pending=0, argv_len=0):
    words = [task.get(f, 0) for f in FIELDS]
    return wire.SNAPSHOT.pack(*words, task.get("comm", b"x"), 0, 0, pending, 0, 0, exit_ns, argv_len, 0, flags)


def zombie(n, parent=INIT, *, exit_ns=1):
    task = {"tgid": 900 + n, "start_ns": 900 + n, "nspid": 9, "pidns": 11, "cgroup": 111}
    return record(task, flags=Flag.ZOMBIE, exit_ns=exit_ns) + record(parent, flags=Flag.PARENT)


def young(exit_ns):
    return record({}, flags=Flag.YOUNG, exit_ns=exit_ns)


class Kernel:
    """A loaded object whose iterators write what the test wants."""

    def __init__(self):
        self.tasks = [record(t) for t in (INIT, CHILD, HOST_MAIN, HOST_CHILD, ELSEWHERE, SECOND_INIT)]
        self.zombies = []
        self.signalfds = b""
        self.asked = []
        self.refuses = False

    def attach(self, name):
        return name

    def iterate(self, name):
        self.asked.append(name)
        if self.refuses:
            raise OSError("refused")
        return {
            "snapshot_tasks": b"".join(self.tasks),
            "snapshot_zombies": b"".join(self.zombies),
            "snapshot_signalfds": self.signalfds,
        }[name]


@pytest.fixture
def kernel():
    return Kernel()


def listings(kernel, *, census=False, signalfds=False, zombie_ns=10 * S):
    return Listings(kernel, signalfds=signalfds, census=census, zombie_ns=zombie_ns)


def asks(main=INIT, signo=15, **fields):
    task = Task(main["tgid"], main["start_ns"], ns_pid=main["nspid"], pidns=main["pidns"], cgroup_id=main["cgroup"])
    defaults = {"time_ns": 0, "outside": True, "container_init": main["nspid"] == 1, "watched": main["nspid"] != 1}
    return Event(wall_ns=0, kind=Kind.SIGNAL_GENERATE, task=task, signo=signo, **defaults | fields)


def pids(events):
    return [e.task.pid for e in events]


# ---- a container that is asked to stop


@pytest.mark.parametrize("signo", [2, 3, 15, 37])
def test_who_lives_with_an_init_that_is_asked_to_end_is_listed_at_once(kernel, signo):
    events = listings(kernel).due([asks(signo=signo)], 5 * S, WALL)
    assert pids(events) == [100, 101]
    assert {(e.kind, e.time_ns, e.wall_ns) for e in events} == {(Kind.TASK, 5 * S, 5 * S + WALL)}


def test_of_who_asked_only_the_last_second_is_kept(kernel):
    """A node stops thousands of containers a day, and who was asked a minute ago may be asked again."""
    lists = listings(kernel)
    for n in range(500):
        lists.due([asks({**INIT, "tgid": 1000 + n}, time_ns=n * 10 * MS)], n * 10 * MS, WALL)
    assert len(lists._signalled) == 100
    assert pids(lists.due([asks(time_ns=5 * S)], 5 * S, WALL)) == [100, 101]
    assert lists.due([asks(time_ns=5 * S + 999 * MS)], 6 * S, WALL) == []
    assert pids(lists.due([asks(time_ns=6 * S)], 7 * S, WALL)) == [100, 101]


def test_a_listing_comes_after_the_signal_that_asked_for_it(kernel):
    """Which was read after the look at the clock."""
    late = dataclasses.replace(asks(), time_ns=5 * S + 50_000)
    events = listings(kernel).due([late], 5 * S, WALL)
    assert {(e.time_ns, e.wall_ns) for e in events} == {(5 * S + 50_000, 5 * S + 50_000 + WALL)}


def test_of_a_main_process_that_is_no_init_its_cgroup_is_listed(kernel):
    assert pids(listings(kernel).due([asks(HOST_MAIN)], 5 * S, WALL)) == [200, 201]


@pytest.mark.parametrize(
    "event",
    [
        asks(signo=9),
        asks(signo=1),
        asks(signo=17),
        asks(outside=False),
        asks(container_init=False),
        Event(0, 0, Kind.SIGNAL_DELIVER, Task(100, 1), signo=15, outside=True, container_init=True),
        Event(0, 0, Kind.EXIT, Task(100, 1), container_init=True),
        Event(0, 0, Kind.LOST),
    ],
)
def test_nothing_else_makes_a_listing(kernel, event):
    found = listings(kernel)
    assert found.due([event], 5 * S, WALL) == []
    assert not found.waits
    assert kernel.asked == []


def test_a_stop_signal_that_some_container_declares_makes_one_too(kernel):
    found = listings(kernel)
    found.stop_signals |= 1 << (28 - 1)
    assert pids(found.due([asks(signo=28)], 5 * S, WALL)) == [100, 101]
    assert found.due([asks(signo=0), asks(signo=27)], 6 * S, WALL) == []


def test_many_that_are_asked_within_20_ms_share_one_listing(kernel):
    found = listings(kernel)
    assert pids(found.due([asks()], 5 * S, WALL)) == [100, 101]
    assert found.due([asks(SECOND_INIT)], 5 * S + MS, WALL) == []
    assert found.waits
    assert found.due([asks(HOST_MAIN)], 5 * S + 19 * MS, WALL) == []
    assert pids(found.due([], 5 * S + 20 * MS, WALL)) == [200, 201, 500]
    assert not found.waits
    assert kernel.asked == ["snapshot_tasks"] * 2


def test_what_can_wait_no_longer_is_listed_at_the_end(kernel):
    found = listings(kernel)
    found.due([asks()], 5 * S, WALL)
    found.due([asks(SECOND_INIT)], 5 * S + MS, WALL)
    assert pids(found.due([], 5 * S + 2 * MS, WALL, last=True)) == [500]


def test_a_listing_that_is_refused_costs_names_and_is_counted(kernel):
    kernel.refuses = True
    found = listings(kernel, census=True)
    assert found.due([asks()], 5 * S, WALL) == []
    assert found.failed == 2
    assert not found.waits


@pytest.mark.parametrize("why", ["blocked", "stopped", "frozen", "ptraced"])
def test_whether_it_still_pends_is_looked_at_again(kernel, why):
    found = listings(kernel)
    kernel.tasks[0] = record(INIT, pending=1 << 14)
    found.due([asks(**{why: True})], 5 * S, WALL)
    times = []
    for ms in range(10, 7000, 10):
        events = found.due([], 5 * S + ms * MS, WALL)
        if events:
            times.append(ms)
            assert events[0].masks.pending == 1 << 14
    assert times == [150, 1000, 5000]


def test_who_took_it_at_once_is_not_looked_at_again(kernel):
    found = listings(kernel)
    found.due([asks(blocked=False)], 5 * S, WALL)
    assert not [1 for ms in range(10, 7000, 10) if found.due([], 5 * S + ms * MS, WALL)]


def test_a_storm_of_requests_needs_bounded_room(kernel):
    found = listings(kernel)
    for n in range(5000):
        found.due([asks({**INIT, "tgid": n + 1000}, blocked=True)], 5 * S + n, WALL)
    assert len(found._asked) <= 1000
    assert len(found._again) <= 3000
    assert found.failed == 5000 - 1000 - len(kernel.asked)


def test_who_found_no_room_is_listed_when_there_is_room_again(kernel):
    found = listings(kernel)
    for n in range(1500):
        found.due([asks({**INIT, "tgid": n + 1000})], 5 * S + n, WALL)
    assert found.failed
    found.due([], 6 * S, WALL)  # those that found room
    assert pids(found.due([asks({**INIT, "tgid": 2499}, time_ns=500 * MS)], 7 * S, WALL)) == [100, 101]


# ---- everything, at the start


def test_everything_is_every_process_of_the_node_the_oldest_first(kernel):
    kernel.tasks.reverse()
    assert pids(listings(kernel).everything(S, WALL)) == [100, 101, 200, 201, 500, 300]


def test_those_that_may_be_main_processes_have_their_argv(kernel):
    me = {"tgid": os.getpid(), "start_ns": _own_start(), "nspid": 5, "pidns": 5, "cgroup": 5}
    kernel.tasks = [record(me, flags=Flag.CGROUP_ENTERED, argv_len=4096)]
    assert listings(kernel).everything(S, WALL)[0].task.argv
    kernel.tasks = [record(me, argv_len=4096)]
    assert listings(kernel).everything(S, WALL)[0].task.argv is None


def test_who_reads_signals_from_a_descriptor_is_said_if_it_was_asked_for(kernel):
    kernel.signalfds = wire.SIGNALFD.pack(INIT["start_ns"], 0b110, INIT["tgid"], 0)
    events = listings(kernel, signalfds=True).everything(S, WALL)
    assert {e.task.pid: e.masks.signalfd for e in events if e.masks.signalfd} == {100: 0b110}
    assert not any(e.masks.signalfd for e in listings(kernel).everything(S, WALL))


def _own_start():
    with open("/proc/self/stat", encoding="utf-8") as f:
        return int(f.read().rpartition(")")[2].split()[19]) * (S // os.sysconf("SC_CLK_TCK"))


# ---- the census of zombies


def census_times(kernel, found, seconds):
    """When, in ms, it was looked for zombies."""
    times = []
    for ms in range(0, seconds * 1000, 100):
        assert found.deadline() <= 5 * S + ms * MS or not found.due([], 5 * S + ms * MS, WALL)
        found.due([], 5 * S + ms * MS, WALL)
        if kernel.asked:
            times.append(ms)
            kernel.asked.clear()
    return times


def test_zombies_that_were_told_are_looked_at_once_a_second(kernel):
    kernel.zombies = [zombie(1)]
    assert census_times(kernel, listings(kernel, census=True), 3) == [0, 1000, 2000]


def test_where_there_is_none_nobody_looks_before_one_can_be_old_enough(kernel):
    assert census_times(kernel, listings(kernel, census=True, zombie_ns=4 * S), 9) == [0, 4000, 8000]


def test_one_that_is_too_young_is_looked_at_when_it_is_old_enough(kernel):
    kernel.zombies = [young(3 * S), young(4 * S)]
    found = listings(kernel, census=True, zombie_ns=4 * S)
    assert found.due([], 5 * S, WALL) == []
    assert found.deadline() == 7 * S
    kernel.zombies = [zombie(1, exit_ns=3 * S), young(4 * S)]
    assert pids(found.due([], 7 * S, WALL)) == [901]


def test_without_a_census_nobody_looks_for_zombies(kernel):
    found = listings(kernel)
    assert census_times(kernel, found, 12) == []
    assert found.deadline() > 10**6 * S


def test_a_zombie_is_told_once_with_the_parent_that_owes_the_wait(kernel):
    kernel.zombies = [zombie(1)]
    found = listings(kernel, census=True)
    (event,) = found.due([], 5 * S, WALL)
    assert (event.kind, event.zombie, event.task.pid, event.parent.pid) == (Kind.TASK, True, 901, 100)
    assert event.exit_ns == 1
    assert found.due([], 6 * S, WALL) == []


def test_it_is_told_again_when_it_has_another_parent(kernel):
    kernel.zombies = [zombie(1, CHILD)]
    found = listings(kernel, census=True)
    found.due([], 5 * S, WALL)
    kernel.zombies = [zombie(1)]
    (event,) = found.due([], 6 * S, WALL)
    assert (event.kind, event.parent.pid) == (Kind.TASK, 100)


def test_when_it_is_gone_it_was_reaped(kernel):
    kernel.zombies = [zombie(1), zombie(2)]
    found = listings(kernel, census=True)
    found.due([], 5 * S, WALL)
    kernel.zombies = [zombie(2)]
    (event,) = found.due([], 6 * S, WALL)
    assert (event.kind, event.task.pid, event.time_ns, event.wall_ns) == (Kind.REAP, 901, 6 * S, 6 * S + WALL)
    assert found.due([], 7 * S, WALL) == []


def test_one_that_was_there_before_us_is_told_when_we_have_seen_it_for_long_enough(kernel):
    kernel.zombies = [zombie(1, exit_ns=0)]
    found = listings(kernel, census=True, zombie_ns=10 * S)
    told = [n for n in range(5, 30) if found.due([], n * S, WALL)]
    assert told == [15]


def test_one_that_found_no_room_in_the_kernels_table_is_as_old_as_we_know(kernel):
    found = listings(kernel, census=True, zombie_ns=10 * S)
    found.due([], 5 * S, WALL)  # it was not there before us
    kernel.zombies = [zombie(1, exit_ns=0)]
    told = [e for n in range(15, 40) for e in found.due([], n * S, WALL)]
    assert [(e.time_ns, e.exit_ns) for e in told] == [(25 * S, 15 * S)]


def test_one_that_was_there_before_us_and_goes_is_not_told_at_all(kernel):
    kernel.zombies = [zombie(1, exit_ns=0)]
    found = listings(kernel, census=True)
    found.due([], 5 * S, WALL)
    kernel.zombies = []
    assert not [1 for n in range(6, 30) if found.due([], n * S, WALL)]
    assert not found._old


def test_a_census_that_is_refused_reaps_nobody(kernel):
    kernel.zombies = [zombie(1)]
    found = listings(kernel, census=True)
    found.due([], 5 * S, WALL)
    kernel.refuses = True
    assert found.due([], 6 * S, WALL) == []
    kernel.refuses = False
    assert found.due([], 7 * S, WALL) == []
    assert found.failed == 1


def test_a_parents_argv_is_read_once(kernel, monkeypatch):
    read = []
    monkeypatch.setattr("sigtrace.sources.cmdlines.argv_of_process", lambda task, _n: read.append(task.pid) or ("app",))
    kernel.zombies = [zombie(n) for n in range(1, 20)]
    events = listings(kernel, census=True).due([], 5 * S, WALL)
    assert {e.parent.argv for e in events} == {("app",)}
    assert len({id(e.parent) for e in events}) == 1, "a leaking parent has thousands"
    assert read == [100]


def test_the_argv_of_parents_whose_zombies_are_gone_is_forgotten(kernel, monkeypatch):
    monkeypatch.setattr("sigtrace.sources.cmdlines.argv_of_process", lambda _task, _n: ("app",))
    found = listings(kernel, census=True)
    for n in range(20):
        parent = {**INIT, "tgid": 2000 + n}
        kernel.zombies = [zombie(n, parent)]
        told = found.due([], (5 + 2 * n) * S, WALL)
        assert [e.parent.argv for e in told if e.kind is Kind.TASK] == [("app",)]
        assert [parent.key for parent in found._parents.values()] == [(2000 + n, INIT["start_ns"])]
