"""Both builds of the programs, at once, over the same scenarios: one tells what the other tells."""

import dataclasses
import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from sigtrace.errors import HostError
from sigtrace.lab.container import Container
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.event import Kind
from sigtrace.sources import _bcc
from sigtrace.sources.bcc_btf import Needs
from sigtrace.sources.bcc_host import RAW_OBJECT
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions
from tests.raw import FittedByBtf, bcc_source

PATIENCE_S = 10
#: What is listed, or looked at once a second, is seen at another moment by each.
LISTED = {Kind.TASK, Kind.REAP, Kind.CGROUP_RMDIR, Kind.LOST}


@pytest.fixture(scope="module")
def both():
    """The two sources, opened before anything that is compared."""
    with closing(BpfSource(BpfOptions())) as one, closing(bcc_source(BpfOptions())) as other:
        one.open()
        other.open()
        yield one, other


def timeless(event):
    """The event without what must differ: the moment, and ancestors that /proc was asked for later."""
    sender = event.sender and dataclasses.replace(event.sender, ancestry=())
    return dataclasses.replace(event, time_ns=0, wall_ns=0, exit_ns=0, sender=sender)


def concerns(event, cgroup):
    return cgroup in {t.cgroup_id for t in (event.task, event.sender, event.parent) if t} | {event.cgroup_id}


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_builds_tell_the_same(name, both):
    scenario = SCENARIOS[name]
    if reason := unmet(scenario.needs):
        with pytest.raises(HostError, match=re.escape(reason)):
            run(scenario)
        return
    told = [], []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run, scenario, container=f"both-{os.getpid()}-{name}", zombie_after_s=0.1, unanswered_after_s=0.1
        )
        deadline = None
        while deadline is None or time.monotonic() < deadline:
            for source, events in zip(both, told, strict=True):
                events.extend(source.read(0.01).events)
            if not running.done():
                continue
            cgroup = running.result().cgroup_id
            left, right = (
                Counter(timeless(e) for e in events if e.kind not in LISTED and concerns(e, cgroup)) for events in told
            )
            if deadline is None:
                deadline = time.monotonic() + PATIENCE_S
            if left == right and any(e.kind is Kind.EXIT for e in left):
                break
    assert left - right == Counter()
    assert right - left == Counter()
    assert {Kind.CGROUP_MKDIR, Kind.EXIT} <= {e.kind for e in left}
    counted = [{key: n for key, n in source.counts().signals.items() if key[0] == cgroup} for source in both]
    assert counted[0] == counted[1]


BLOCKING_THREADS = """
import signal, threading, time
def wait():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    signal.sigwait({signal.SIGUSR1})
for _ in range(200):
    threading.Thread(target=wait, daemon=True).start()
signal.signal(signal.SIGHUP, lambda *_: None)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(1000)
"""


def listed(source, pids):
    events = [e for e in source.snapshot() if e.task.pid in pids]
    return {e.task.pid: dataclasses.replace(e, time_ns=0, wall_ns=0) for e in events}


def test_both_builds_list_the_same_processes_threads_and_zombies(both):
    with (
        subprocess.Popen([sys.executable, "-c", BLOCKING_THREADS], stdout=subprocess.PIPE) as threads,
        subprocess.Popen(["true"]) as zombie,
        Container(f"both-listed-{os.getpid()}") as box,
    ):
        try:
            assert threads.stdout.readline() == b"ready\n"
            box.start(["sleep", "infinity"])
            box.wait_ready()
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            pids = {threads.pid, zombie.pid, box.init_pid, os.getpid(), 2}
            one, other = (listed(source, pids) for source in both)
        finally:
            threads.kill()
    assert one.keys() == pids
    assert one == other
    assert one[zombie.pid].zombie
    assert len(one[threads.pid].masks.threads) > 1
    assert one[threads.pid].masks.caught >> (1 - 1) & 1
    assert one[box.init_pid].container_init


def test_both_builds_list_who_reads_signals_from_a_descriptor():
    code = (
        "import ctypes, signal, time\n"
        "libc = ctypes.CDLL(None)\n"
        "mask = (ctypes.c_uint64 * 16)(1 << (signal.SIGTERM - 1))\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "assert libc.signalfd(-1, mask, 0) >= 0\n"
        "print('ready', flush=True)\n"
        "time.sleep(1000)\n"
    )
    options = BpfOptions(signalfds=True, events_bytes=1 << 16, lives_bytes=1 << 16)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            for make in (BpfSource, bcc_source):
                with closing(make(options)) as source:
                    source.open()
                    masks = listed(source, {process.pid})[process.pid].masks
                assert masks.signalfd == 1 << 14
                assert masks.blocked == 1 << 14
        finally:
            process.kill()


def test_a_layout_that_is_not_this_kernels_is_refused_and_does_no_harm():
    needs = Needs(RAW_OBJECT.read_bytes())

    answers = dict.fromkeys(needs.questions(), 1)
    for owner, members in needs.fields.items():
        answers |= {(owner, member): 8 * number for number, member in enumerate(members)}
        answers[owner, ""] = 8 * len(members)

    class Wrong(FittedByBtf):
        def _layout(self):
            return needs.btf(answers)

    with closing(Wrong()) as source, pytest.raises(HostError, match="not those of the running kernel"):
        source.open()


def test_a_first_listing_that_is_cut_short_is_an_error(monkeypatch):
    monkeypatch.setattr(_bcc, "_SPARE", 0)
    monkeypatch.setattr(_bcc, "_tasks", lambda: 5)
    with closing(bcc_source()) as source, pytest.raises(HostError, match="cut short"):
        source.open()


def test_a_later_listing_that_is_cut_short_costs_names_and_is_in_the_ledger(monkeypatch):
    with closing(bcc_source(BpfOptions())) as source, Container(f"raw-short-{os.getpid()}") as box:
        source.open()
        box.start(["sleep", "infinity"])
        box.wait_ready()
        monkeypatch.setattr(_bcc, "_SPARE", 0)
        monkeypatch.setattr(_bcc, "_tasks", lambda: 5)
        box.kill(15)
        deadline = time.monotonic() + PATIENCE_S
        events = []
        while not source.ledger()["listings_failed"]:
            events += source.read(0.01).events
            assert time.monotonic() < deadline
        events += source.read(0.01).events
    assert [e.signo for e in events if e.kind is Kind.SIGNAL_GENERATE and e.task.pid == box.init_pid] == [15]
