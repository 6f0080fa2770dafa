"""Storms: what the kernel counted is what was sent, and what was not told is in the ledger, to the last one."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import build
from sigtrace.lab.cgroup import FOLDER, find_hierarchy
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions

SIGUSR1, SIGTERM, SIGURG = 10, 15, 23
#: What this process has started, and nothing else: every Go program on the machine sends itself SIGURG.
OURS = {"follow": (os.getpid(),), "children": True}


@pytest.fixture(scope="module")
def load():
    build.build()
    return build.path("load")


@pytest.fixture
def cgroup():
    """A cgroup of its own, so that nobody else's signals are counted with the storm's."""
    path = Path(find_hierarchy().mount, FOLDER, f"storm-{os.getpid()}")
    path.mkdir(parents=True)
    yield path
    deadline = time.monotonic() + 10
    for one in (*sorted(path.glob("*/")), path):
        while one.exists() and time.monotonic() < deadline:
            try:
                one.rmdir()
            except OSError:
                time.sleep(0.01)


def storm(source, load, *argv):
    """Run a load while the source is read, as a capture does; returns (what the load says, events)."""
    kinds = {}
    with subprocess.Popen([load, *map(str, argv)], stdout=subprocess.PIPE, text=True) as process:
        quiet = 0
        while quiet < 3:
            batch = source.read(0.05)
            for event in batch.events:
                kinds.setdefault((event.kind.value, event.signo), []).append(event.count or 1)
            quiet = quiet + 1 if process.poll() is not None and not batch.events else 0
        return json.loads(process.stdout.read()), {key: sum(counts) for key, counts in kinds.items()}


def counted(source, cgroup_id, signo):
    counts = source.counts().signals.items()
    return sum(n for (cgroup, number, _), n in counts if (cgroup, number) == (cgroup_id, signo))


LOADS = {"urg": SIGURG, "usr1": SIGUSR1, "init": SIGTERM}


def check_exact(source, load, cgroup, count, names=tuple(LOADS)):
    cgroup_id = cgroup.stat().st_ino
    for name in names:
        signo = LOADS[name]
        where = ("--init-cgroup", cgroup) if name == "init" else ("--cgroup", cgroup)
        before = source.ledger()
        said, events = storm(source, load, name, "--count", count, *where)
        assert said["signals"] == count
        assert counted(source, cgroup_id, signo) == count, name
        if name == "init":
            after = source.ledger()
            grown = {key: after[key] - before[key] for key in after}
            told = events[("signal_generate", signo)]
            print(f"{count:,} dropped SIGTERM: {told:,} told, {grown['limited_life']:,} limited")
            # Each becomes a record, is limited, or finds the ring full: nothing else.
            assert told + grown["limited_life"] == count
            assert grown["ring_life"] == 0, "one cgroup's storm filled the life-cycle ring"
            assert grown["recorded_life"] >= told
    return source.ledger()["missed"]


def test_a_storm_is_counted_exactly(bpf_host, load, cgroup):
    source = BpfSource()
    try:
        source.open()
        assert check_exact(source, load, cgroup, 200_000) == 0
    finally:
        source.close()


@pytest.mark.prove
def test_ten_million_dropped_signals_are_counted_exactly(bpf_host, load, cgroup):
    """Ten million that are handled, from every CPU, are in tests/stress/test_storms.py."""
    source = BpfSource()
    try:
        source.open()
        assert check_exact(source, load, cgroup, 10_000_000, ["init"]) == 0
    finally:
        source.close()


@pytest.mark.parametrize(
    ("count", "ring"), [(75_000, 32 << 20), pytest.param(300_000, 128 << 20, marks=pytest.mark.prove)]
)
def test_every_signal_can_be_a_record(bpf_host, load, cgroup, count, ring):
    """Generated and delivered, each in 168 bytes: they fill three quarters of the ring if nobody reads."""
    source = BpfSource(BpfOptions(signal_mask=1 << (SIGURG - 1), tell_all=True, events_bytes=ring, **OURS))
    try:
        source.open()
        _, events = storm(source, load, "urg", "--count", count, "--cgroup", cgroup)
        ledger = source.ledger()
    finally:
        source.close()
    told = events[("signal_generate", SIGURG)], events[("signal_deliver", SIGURG)]
    assert (told, ledger["ring_event"], ledger["limited_event"]) == ((count, count), 0, 0)


def test_a_small_ring_says_what_it_had_no_room_for(bpf_host, load, cgroup):
    source = BpfSource(BpfOptions(signal_mask=1 << (SIGURG - 1), tell_all=True, events_bytes=1 << 16, **OURS))
    try:
        source.open()
        events = source.read(0).events
        with subprocess.Popen([load, "urg", "--count", "100000", "--cgroup", cgroup], stdout=subprocess.DEVNULL):
            pass
        events += [e for batch in source.finish(5) for e in batch.events]
        ledger = source.ledger()
    finally:
        source.close()
    signals = sum(1 for e in events if e.signo == SIGURG)
    lost = sum(e.count for e in events if e.kind.value == "lost")
    assert signals + lost >= 200_000  # generated and delivered, and whatever else went on
    assert lost == ledger["ring_event"] + ledger["ring_life"] > 0


def check_churn(load, cgroup, count):
    """Cgroups that come and go under load: totals exact, keys given back, memory flat."""
    source = BpfSource()
    try:
        source.open()
        source.read(0)
        before, keys = source.counts(), source.counters.keys()
        said, _ = storm(source, load, "churn", "--count", count, "--burst", 20, "--cgroup", cgroup)
        deadline = time.monotonic() + 30  # a few are given back ten seconds after the last, many at once
        while source.counters.keys() > keys + 100 and time.monotonic() < deadline:
            source.read(0.1)
        after = source.counts()
        grown = after.signals_total - before.signals_total
        print(f"{count:,} cgroups: {said['signals']:,} SIGURG; {source.counters.keys() - keys} keys more than before")
        return said["signals"], grown, source.counters.keys() - keys, source.ledger()
    finally:
        source.close()


def test_removed_cgroups_give_their_keys_back(bpf_host, load, cgroup):
    sent, counted_more, keys, ledger = check_churn(load, cgroup, 3000)
    # Each cgroup's process ends with a SIGCHLD; the rest of the machine goes on too. What is given back and counted
    # again would be all of it.
    assert sent + 3000 <= counted_more < sent + 3000 + sent // 2
    assert keys < 300
    assert ledger["missed"] == 0


@pytest.mark.prove
def test_a_hundred_thousand_cgroups_leave_counts_exact_and_memory_flat(bpf_host, load, cgroup):
    sent, counted_more, keys, ledger = check_churn(load, cgroup, 100_000)
    # Each cgroup's process ends with a SIGCHLD; the rest of the machine goes on too.
    assert sent + 100_000 <= counted_more < sent + 100_000 + 50_000
    assert keys < 1000
    assert ledger["missed"] == 0
