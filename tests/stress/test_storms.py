"""Storms through the whole capture: generated = counted, records = told + limited + lost, to the last one.

tests/kernel/test_storms.py has the same of the source alone.
"""

import os
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigtrace.lab.cgroup import LabCgroup
from sigtrace.model.event import Kind
from tests.kernel.bench import Bench
from tests.stress.storming import Books, Storm
from tests.stress.test_fairness import all_beside, check_books

SIGUSR1, SIGTERM, SIGCHLD, SIGURG = 10, 15, 17, 23
#: Enough for the slowest machine; nothing is measured by it.
PATIENCE_S = 300


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def counted(counts, cgroup_id, signo):
    return sum(n for (cgroup, number, _), n in counts.signals.items() if (cgroup, number) == (cgroup_id, signo))


def check_signals(program, kind, signo, count):
    """A storm of so many, containers that are stopped meanwhile, and the books."""
    books = Books()
    bench = Bench()
    bench.capture.sinks.append(books)
    with bench:
        with Storm(program, kind) as storm:
            home = storm.box.cgroup_id
            assert not all_beside(bench, f"{kind}-{count}", 5, threads=2)
            until(lambda: storm.total >= count, f"{count} signals")
            storm.calm()
            assert counted(bench.capture.counts(), home, signo) == storm.total, "generated = counted"
            sent = storm.total
        bench.finish()
        bench.finish = lambda: None
        ledger = bench.capture.lost()
    told = books.by_cgroup[home, Kind.SIGNAL_GENERATE, signo]
    print(f"{sent:,} sent from every CPU: {told:,} told, {ledger['limited_event']:,} limited")
    check_books(books, ledger)
    assert ledger["ring_event"] == ledger["ring_life"] == ledger["missed"] == 0
    return sent, told, ledger["limited_event"]


def check_told(program, count):
    sent, told, limited = check_signals(program, "told", SIGTERM, count)
    assert sent == told + limited, "records = told + limited + lost"


def test_a_storm_that_is_never_told_is_counted_to_the_last_one(bpf_host, patient, storm):
    _, told, _ = check_signals(storm, "counted", SIGURG, 200_000)
    assert not told


def test_a_storm_that_is_told_is_told_limited_or_lost_to_the_last_one(bpf_host, patient, storm):
    check_told(storm, 200_000)


@pytest.mark.prove
def test_ten_million_that_are_never_told(bpf_host, patient, storm):
    _, told, _ = check_signals(storm, "counted", SIGURG, 10_000_000)
    assert not told


@pytest.mark.prove
def test_ten_million_that_could_be_told(bpf_host, patient, storm):
    check_told(storm, 10_000_000)


# ---- forks


def check_forks(program, count):
    """As many as the machine makes. The kernel may take seconds to free them, and who changes cgroups waits for it."""
    books = Books()
    bench = Bench()
    bench.capture.sinks.append(books)
    with bench:
        with Storm(program, "bombs") as storm:
            home = storm.box.cgroup_id
            until(lambda: storm.total >= count, f"{count} forks")
            storm.calm()
            forks, workers = storm.total, os.cpu_count()
            # A worker leaves with 0 as well, and each end is a SIGCHLD.
            until(lambda: bench.capture.counts().exits.get((home, 0), 0) >= forks, "the exits to be counted")
            counts = bench.capture.counts()
        assert not all_beside(bench, f"forks-{count}", 3, threads=1)
        bench.finish()
        bench.finish = lambda: None
        ledger = bench.capture.lost()
    print(f"{forks:,} forks: { {n: v for n, v in ledger.items() if v} }")
    assert counts.exits[home, 0] == forks + workers
    assert counted(counts, home, SIGCHLD) == forks + workers
    check_books(books, ledger)
    assert not [name for name, n in ledger.items() if n and name != "zombies_full" and "_full" in name]


def test_forks_at_full_speed_are_counted_exactly(bpf_host, patient, storm):
    check_forks(storm, 10_000)


@pytest.mark.prove
def test_two_hundred_thousand_forks_at_full_speed(bpf_host, patient, storm):
    check_forks(storm, 200_000)


# ---- cgroups


class Places:
    """A sink that knows which cgroups came and went below one."""

    def __init__(self, parent):
        self.parent = parent
        self.made, self.removed = [], []

    def observation(self, observation):
        event = observation.event
        if event.kind is Kind.CGROUP_MKDIR and event.cgroup_parent_id == self.parent:
            self.made.append(event.cgroup_id)
        elif event.kind is Kind.CGROUP_RMDIR:
            self.removed.append(event.cgroup_id)

    def verdict(self, verdict): ...
    def pass_time(self, now_ns): ...
    def close(self): ...

    def take_dropped(self):
        return 0


def check_cgroups(count, seconds):
    """So many, spread over the time, with a process in each that gets one SIGUSR1, and stops beside them."""
    parent = LabCgroup(f"many-{os.getpid()}")
    parent.create()
    ids = []
    places, given = Places(parent.id), Counter()

    def come_and_go():
        begin = time.monotonic()
        for number in range(count):
            one = parent.path / str(number)
            one.mkdir()
            ids.append(one.stat().st_ino)
            inside = f"echo 0 >{one}/cgroup.procs; trap : USR1; kill -USR1 $$"
            subprocess.run(["sh", "-c", inside], check=True)
            one.rmdir()
            time.sleep(max(0.0, begin + seconds * (number + 1) / count - time.monotonic()))

    def take_given():
        for (cgroup, signo, _), n in bench.capture.given_back().signals.items():
            given[cgroup, signo] += n
        return len(places.removed) >= count and set(ids) <= {cgroup for cgroup, _ in given}

    try:
        with Bench() as bench:
            bench.capture.sinks.append(places)
            bench.capture.given_back()
            with ThreadPoolExecutor(1) as pool:
                busy = pool.submit(come_and_go)
                assert not all_beside(bench, f"cgroups-{count}", min(50, count // 25), threads=1)
                busy.result()
            until(take_given, "the counters of removed cgroups to be given back")
            left = bench.capture.counts()
            bench.finish()
            bench.finish = lambda: None
            ledger = bench.capture.lost()
    finally:
        parent.remove()
    assert sorted(places.made) == sorted(ids)
    assert Counter(places.removed) & Counter(ids) == Counter(ids)
    assert Counter(cgroup for cgroup in places.removed if cgroup in set(ids)) == Counter(ids), "each is gone once"
    assert [given[cgroup, SIGUSR1] for cgroup in ids] == [1] * count, "generated = counted"
    assert not [key for key in left.signals if key[0] in set(ids)], "a removed cgroup kept its counters"
    assert not [name for name, n in ledger.items() if n and name.startswith(("ring", "missed", "gone"))]


def test_cgroups_that_come_and_go_are_told_and_counted_to_the_last_one(bpf_host, patient):
    check_cgroups(100, 1.5)


@pytest.mark.prove
def test_two_thousand_cgroups_in_a_minute(bpf_host, patient):
    check_cgroups(2000, 60.0)
