"""Counters read exactly, whatever is given back meanwhile; and the ledger."""

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.model.event import Loss
from sigtrace.sources.counters import Counters, SlotTable
from sigtrace.sources.ledger import KernelLedger
from sigtrace.sources.wire import COUNT_EXIT, COUNT_KEY, COUNT_SIGNAL, LOCAL, SLOT, SLOTS, Ledger

CPUS = 2
S = 1_000_000_000


class FakeMap:
    """A per-CPU hash: key → one number a CPU."""

    def __init__(self):
        self.entries = {}

    def items(self, size=0):
        assert size == 8 * CPUS
        return iter([(k, struct.pack(f"<{CPUS}Q", *v)) for k, v in self.entries.items()])

    def delete(self, key):
        return self.entries.pop(key, None) is not None

    def add(self, cpu, cgroup, what, count=1):
        self.entries.setdefault(COUNT_KEY.pack(cgroup, what), [0] * CPUS)[cpu] += count


class World:
    """The kernel's side of the counters: slots in a memfd, what found no slot in a hash."""

    def __init__(self):
        self.fd = os.memfd_create("slots")
        os.ftruncate(self.fd, CPUS * SLOTS * SLOT.size)
        self.table = SlotTable(self.fd, CPUS)
        self.map = FakeMap()
        self.counters = Counters(self.map, self.table, CPUS)

    def put(self, index, cgroup, what, count):
        os.pwrite(self.fd, SLOT.pack(cgroup, what, count), index * SLOT.size)

    def slot(self, index):
        return SLOT.unpack(os.pread(self.fd, SLOT.size, index * SLOT.size))

    def signal(self, cpu, cgroup, signo, result=0):
        """As count_signal: the slot of this cgroup and signal, else the hash if another has it."""
        what = COUNT_SIGNAL | signo << 8 | result
        index = cpu * SLOTS + hash((cgroup, what)) % 8
        owner, owned, count = self.slot(index)
        if not owner:
            self.put(index, cgroup, what, 1)
        elif (owner, owned) == (cgroup, what):
            self.put(index, cgroup, what, count + 1)
        else:
            self.map.add(cpu, cgroup, what)

    def close(self):
        self.counters.close()
        os.close(self.fd)


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


def signal(signo, result=0):
    return COUNT_SIGNAL | signo << 8 | result


def test_signals_are_summed_over_cpus_and_tables(world):
    world.put(0, 5, signal(15, 1), 3)
    world.put(SLOTS + 7, 5, signal(15, 1), 4)  # the other CPU
    world.put(1, 5, signal(15, 0), 1)
    world.map.add(0, 5, signal(15, 1), 10)
    world.map.add(1, 6, signal(64, 4), 2)
    counts = world.counters.read(100, 0)
    assert counts.signals == {(5, 15, 1): 17, (5, 15, 0): 1, (6, 64, 4): 2}
    assert (counts.signals_total, counts.signals_other, counts.exits_total) == (120, 100, 0)
    assert world.counters.keys() == 5


def test_exits_are_counted_by_their_raw_status(world):
    world.map.add(0, 5, COUNT_EXIT | 0xFF00, 2)
    world.map.add(1, 5, COUNT_EXIT | 0xFF00, 3)
    world.map.add(1, 5, COUNT_EXIT | 0x8B)
    counts = world.counters.read(0, 7)
    assert counts.exits == {(5, 0xFF00): 5, (5, 0x8B): 1}
    assert (counts.exits_total, counts.signals_total) == (13, 0)


def test_a_slot_whose_key_is_not_there_yet_is_read_next_time(world):
    world.put(3, 5, 0, 1)
    assert list(world.table.items()) == []
    world.put(3, 5, signal(9), 1)
    assert list(world.table.items()) == [(3, 5, signal(9), 1)]


def test_every_slot_of_every_cpu_is_read(world):
    for index in range(CPUS * SLOTS):
        world.put(index, index + 1, signal(1), 1)
    assert [index for index, *_ in world.table.items()] == list(range(CPUS * SLOTS))


def test_a_freed_slot_is_empty_and_what_it_counted_comes_back(world):
    world.put(3, 5, signal(9), 42)
    world.put(4, 6, signal(9), 1)
    assert world.table.free(3) == 42
    assert world.slot(3) == (0, 0, 0)
    assert world.slot(4) == (6, signal(9), 1)


def test_a_removed_cgroup_gives_its_keys_back_after_a_second_and_no_other_does(world):
    world.put(0, 5, signal(15), 3)
    world.put(9, 6, signal(15), 2)
    world.map.add(0, 5, signal(1), 4)
    world.map.add(0, 5, COUNT_EXIT, 5)
    world.map.add(0, 6, COUNT_EXIT, 6)
    world.counters.gone(5, 10 * S)
    assert world.counters.give_back(11 * S - 1) == 0  # and not again for ten seconds
    assert world.counters.give_back(21 * S) == 3
    counts = world.counters.read(0, 0)
    assert (counts.signals, counts.exits) == ({(6, 15, 0): 2}, {(6, 0): 6})
    assert (counts.signals_gone, counts.exits_gone) == (7, 5)
    assert (counts.signals_total, counts.exits_total) == (9, 11)
    assert world.counters.give_back(100 * S) == 0


def test_a_key_made_anew_by_a_late_signal_is_given_back_with_the_next_cgroup(world):
    world.counters.gone(5, 0)
    world.counters.give_back(2 * S)
    world.put(0, 5, signal(15), 1)  # to a zombie of it
    world.counters.gone(6, 3 * S)
    assert world.counters.give_back(15 * S) == 1
    assert world.counters.read(0, 0).signals_gone == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["signal", "signal", "exit", "gone", "give back"]), st.integers(1, 6), st.integers(1, 64))
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_totals_are_exact_at_any_time_whatever_is_removed(steps):
    world, now, signals, exits = World(), 0, 0, 0
    for step, cgroup, number in steps:
        now += S // 2
        if step == "signal":
            world.signal(number % CPUS, cgroup, number)
            signals += 1
        elif step == "exit":
            world.map.add(number % CPUS, cgroup, COUNT_EXIT | number)
            exits += 1
        elif step == "gone":
            world.counters.gone(cgroup, now)
        else:
            world.counters.give_back(now)
        counts = world.counters.read(0, 0)
        assert (counts.signals_total, counts.exits_total) == (signals, exits)
    world.close()


def test_forgetting_the_oldest_of_very_many_removed_cgroups_loses_no_count(world):
    world.put(0, 1, signal(15), 3)
    for n in range(1, 16384 + 10):
        world.counters.gone(n, n)
    assert len(world.counters._gone) == 16384
    world.counters.give_back(100 * S)
    assert world.counters.read(0, 0).signals_total == 3


def test_of_those_that_were_given_back_few_are_remembered_and_none_before(world):
    for n in range(1, 3000):
        world.counters.gone(n, 0)
    world.put(0, 1, signal(15), 3)
    world.counters.gone(3000, 2 * S)
    assert world.counters.give_back(2 * S) == 1
    assert list(world.counters._gone) == [*range(3000 - 1024, 3000), 3000]
    assert len(world.counters.take_settled()) == 2999


class LedgerMaps:
    def __init__(self):
        self.entries = dict.fromkeys(Ledger, 0)
        self.refused = [0, 0, 0, 0]

    def ledger(self, *, reaps=False):
        world = self

        class Table:
            def lookup(self, key, size):
                return struct.pack("<QQ", world.entries[Ledger(int.from_bytes(key, "little"))], 0)

        class Locals:
            def lookup(self, key, size):
                assert (key, size) == (bytes(4), CPUS * LOCAL.size)
                one = bytearray(LOCAL.size)
                struct.pack_into("<4Q", one, 40, *world.refused)
                return bytes(one) + bytes(LOCAL.size)

        return KernelLedger(Table(), Locals(), CPUS, {}, reaps=reaps)


def test_a_loss_is_news_once():
    maps = LedgerMaps()
    ledger = maps.ledger()
    assert ledger.news() == []
    maps.entries[Ledger.RING_EVENT] = 3
    maps.entries[Ledger.RING_LIFE] = 4
    assert ledger.news() == [(Loss.RING_FULL, 7)]
    assert ledger.news() == []
    maps.entries[Ledger.RING_LIFE] += 1
    assert ledger.news() == [(Loss.RING_FULL, 1)]


@pytest.mark.parametrize(
    ("entry", "loss"),
    [(e, Loss.RATE_LIMITED) for e in Ledger if e.name.startswith("LIMITED")]
    + [(e, Loss.RING_FULL) for e in Ledger if e.name.startswith("RING")]
    + [(e, Loss.TABLE_FULL) for e in Ledger if "FULL" in e.name and e is not Ledger.ZOMBIES_FULL],
)
def test_each_entry_of_the_ledger_has_its_cause(entry, loss):
    maps = LedgerMaps()
    maps.entries[entry] = 5
    ledger = maps.ledger()
    assert ledger.news() == [(loss, 5)]
    assert ledger.read()[entry.name.lower()] == 5


def test_who_found_no_room_among_the_zombies_is_lost_only_where_reapings_are_told():
    maps = LedgerMaps()
    maps.entries[Ledger.ZOMBIES_FULL] = 5
    assert maps.ledger().news() == []
    assert maps.ledger().read()["zombies_full"] == 5
    assert maps.ledger(reaps=True).news() == [(Loss.TABLE_FULL, 5)]


def test_what_a_cpu_refused_without_a_look_is_in_the_ledger_too():
    maps = LedgerMaps()
    maps.entries[Ledger.LIMITED_EVENT] = 1
    maps.refused = [10, 20, 30, 0]
    ledger = maps.ledger()
    assert (ledger.read()["limited_event"], ledger.read()["limited_life"]) == (11, 50)
    assert ledger.news() == [(Loss.RATE_LIMITED, 61)]


def test_the_others_are_what_the_full_table_did_not_hold():
    maps = LedgerMaps()
    maps.entries[Ledger.COUNTS_FULL_SIGNAL], maps.entries[Ledger.COUNTS_FULL_EXIT] = 6, 7
    assert maps.ledger().others() == (6, 7)


@pytest.mark.parametrize(
    ("left_out", "spare_left_out", "told_by_spare", "lost"),
    [
        (5, None, 0, 5),  # no spare
        (5, 0, 5, 0),  # it told them all
        (5, 0, 3, 0),  # the other two had nothing to do: it ran each time
        (5, 1, 3, 1),  # both were left out once, at most
        (5, 9, 3, 2),  # what the spare told was not lost
        (0, 9, 0, 0),
        (3, 1, 5, 0),  # it was ahead of what was read first
    ],
)
def test_of_a_program_with_a_spare_only_what_both_were_left_out_of_is_lost(
    tmp_path, left_out, spare_left_out, told_by_spare, lost
):
    maps = LedgerMaps()
    maps.entries[Ledger.RECORDED_BY_SPARE_EXEC] = told_by_spare
    ledger = maps.ledger()
    for name, misses in (("process_exec", left_out), ("process_exec_spare", spare_left_out)):
        if misses is not None:
            path = tmp_path / name
            path.write_text(f"pos:\t0\nprog_id:\t7\nrecursion_misses:\t{misses}\nverified_insns:\t9\n")
            ledger._programs[name] = os.open(path, os.O_RDONLY)
    assert ledger.news() == ([(Loss.KERNEL_MISSED, lost)] if lost else [])
    assert ledger.read()["missed"] == lost
    ledger.close()
