"""Counting is exact and apart from telling: by (cgroup, signal, result) and by (cgroup, wait status)."""

import json
import signal
import subprocess
import time

import pytest

from benchmarks import build
from sigtrace.lab.cgroup import find_hierarchy
from sigtrace.model.event import Kind, Loss
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions
from tests.kernel.targets import Cgroup

URG, USR1, TERM, CHLD = signal.SIGURG, signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD
DELIVERED, IGNORED, PENDING = 0, 1, 2


@pytest.fixture(scope="module")
def load():
    build.build()

    def run(*arguments):
        done = subprocess.run(
            [build.path("load"), *map(str, arguments)], capture_output=True, check=False, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def reference(bpf_host):
    """Has room for everything, and nobody reads its rings: so it keeps the keys of removed cgroups, too."""
    source = BpfSource(BpfOptions(counts=1 << 17))
    source.open()
    yield source
    source.close()


@pytest.fixture
def cgroup():
    with Cgroup(find_hierarchy().mount) as made:
        yield made


def id_of(cgroup):
    return cgroup.path.stat().st_ino


def of(source, cgroup):
    """(signo, result) → n and status → n of one cgroup."""
    counts = source.counts()
    signals = {key[1:]: n for key, n in counts.signals.items() if key[0] == id_of(cgroup)}
    exits = {key[1]: n for key, n in counts.exits.items() if key[0] == id_of(cgroup)}
    return signals, exits


def totals(reference, source):
    """What both have counted at one moment: asked until nothing happened in between on the whole machine."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = reference.counts()
        ours = source.counts()
        after = reference.counts()
        if (before.signals_total, before.exits_total) == (after.signals_total, after.exits_total):
            return (after.signals_total, after.exits_total), (ours.signals_total, ours.exits_total)
    pytest.fail("the machine was never quiet")


def difference(before, after):
    """What each has counted since."""
    return [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)]


def test_every_signal_that_is_queued_is_counted(load, reference, cgroup):
    done = load("urg", "--count", 50_000, "--cgroup", cgroup.path)
    signals, _ = of(reference, cgroup)
    assert done["signals"] == done["handled"] == 50_000
    assert signals[URG, DELIVERED] == 50_000
    assert {signo for signo, _ in signals} <= {URG, CHLD}


def test_every_signal_that_is_dropped_is_counted(load, reference, cgroup):
    load("init", "--count", 50_000, "--cgroup", cgroup.path)
    signals, _ = of(reference, cgroup)
    assert signals[TERM, IGNORED] == 50_000
    assert (TERM, DELIVERED) not in signals


def test_what_is_pending_already_is_counted_as_such(load, reference, cgroup):
    done = load("usr1", "--count", 50_000, "--cgroup", cgroup.path)
    signals, _ = of(reference, cgroup)
    assert signals[USR1, DELIVERED] + signals.get((USR1, PENDING), 0) == 50_000
    assert signals[USR1, DELIVERED] == done["handled"]


def test_every_exit_is_counted_once(load, reference, cgroup):
    load("fork", "--count", 2_000, "--cgroup", cgroup.path)
    signals, exits = of(reference, cgroup)
    assert exits == {0: 2_001}  # and the load's own
    assert sum(n for (signo, _), n in signals.items() if signo == CHLD) == 2_000


def test_exits_are_counted_by_their_status(reference, cgroup):
    script = (
        'echo 0 >"$0/cgroup.procs"; i=0; while [ $i -lt 20 ]; do sh -c "exit 3"; sh -c \'kill -9 $$\'; i=$((i+1)); done'
    )
    subprocess.run(["sh", "-c", script, cgroup.path], check=True, stderr=subprocess.DEVNULL)
    _, exits = of(reference, cgroup)
    assert exits == {3 << 8: 20, signal.SIGKILL: 20, 0: 1}


def test_what_a_full_table_cannot_hold_is_counted_as_other(load, reference, cgroup):
    small = BpfSource(BpfOptions(counts=64))
    small.open()
    try:
        before = totals(reference, small)
        done = load("spread", "--count", 60_000, "--cgroups", 200, "--keys", 30, "--cgroup", cgroup.path)
        after = totals(reference, small)
        (signals, exits), ours = difference(before, after)
        assert ours == (signals, exits)
        assert signals >= done["signals"] == 60_000
        counts = small.counts()
        assert counts.signals_other > 10_000
        assert counts.exits_other > 100
        ledger = small.ledger()
        assert (ledger["counts_full_signal"], ledger["counts_full_exit"]) == (counts.signals_other, counts.exits_other)
        losses = {e.loss for e in small.read(0).events if e.kind is Kind.LOST}
        assert Loss.TABLE_FULL in losses
    finally:
        small.close()


def test_the_keys_of_removed_cgroups_come_back_and_no_count_is_lost(load, reference, cgroup):
    source = BpfSource(BpfOptions(counts=1 << 14))
    source.open()
    try:
        before = totals(reference, source)
        known = set(reference.counts().signals)
        done = load("churn", "--count", 300, "--burst", 7, "--cgroup", cgroup.path)
        made = {
            key for key in reference.counts().signals if key not in known and key[1] == URG and key[0] != id_of(cgroup)
        }
        assert len(made) == 300
        assert sum(reference.counts().signals[key] for key in made) == done["signals"] == 300 * 7
        gone = {key[0] for key in made}
        deadline = time.monotonic() + 10
        while left := [key for key in (*source.counts().signals, *source.counts().exits) if key[0] in gone]:
            assert time.monotonic() < deadline, f"{len(left)} keys are left"
            source.read(0.05)
        (signals, exits), ours = difference(before, totals(reference, source))
        assert ours == (signals, exits)
        assert source.counts().signals_gone >= 300 * 7
        assert source.counts().signals_other == 0
    finally:
        source.close()
