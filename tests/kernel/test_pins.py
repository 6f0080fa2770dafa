"""What is pinned goes on without an agent: counted, kept, and read by the next one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sigtrace.agent.unread import Unread
from sigtrace.capture import Capture
from sigtrace.errors import HostError
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.event import Kind
from sigtrace.model.workload import Observation
from sigtrace.sources import wire
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.pins import About, leftovers, reading, unpin
from tests.kernel.test_filters import Kept

BPFFS = Path("/sys/fs/bpf")
ROUNDS = 20


@pytest.fixture
def folder(bpf_host):
    if not os.path.ismount(BPFFS):
        subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], check=True)
    path = str(BPFFS / f"sigtrace-test-{os.getpid()}")
    yield path
    unpin(path)
    assert not leftovers(path)


@pytest.fixture
def opened(folder):
    """Opens a source on the pins; closed at the end."""
    sources = []

    def open_source(**options):
        sources.append(BpfSource(BpfOptions(pin=folder, **options)))
        sources[-1].open()
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def test_stop_signals_that_containers_declare_are_known_to_the_next_agent_before_their_names_come(opened):
    first = opened()
    first.expect_stop_signal(signal.SIGWINCH)
    first.close()
    second = opened()
    second.watch(os.getpid(), 1)  # changes the gates
    asks = wire.GATE.unpack(second._loaded.gates.lookup(bytes(4)))[0]
    assert asks >> (signal.SIGWINCH - 1) & 1
    assert second._loaded.listings.stop_signals >> (signal.SIGWINCH - 1) & 1


def test_a_pinned_source_sleeps_though_its_rings_keep_what_was_read(opened):
    source = opened()
    run_scenario(SCENARIOS["exec-form"])
    while not any(ring.produced() for ring in source._loaded.rings):
        source.read(0.1)
    reads, end = 0, time.monotonic() + 1
    while time.monotonic() < end:
        source.read(1.0)
        reads += 1
    assert reads < 2000, "a read in 2 ms at most, whatever happens elsewhere on the node"


def own_signals(source):
    """How many SIGCONTs the kernel counted in this process's cgroup: nobody else sends them here."""
    return sum(n for (_, signo, _), n in source.counts().signals.items() if signo == signal.SIGCONT)


def read_all(source):
    events = []
    for _ in range(10):  # the reader lingers five times
        events += source.read(0.01).events
    return events


def exits_of(events, cgroup):
    return [e for e in events if e.kind is Kind.EXIT and e.container_init and e.task.cgroup_id == cgroup]


def test_what_happens_while_nobody_reads_is_counted_and_kept(opened):
    first = opened()
    read_all(first)
    before = own_signals(first)
    first.close()
    for _ in range(1000):
        os.kill(os.getpid(), signal.SIGCONT)
    result = run_scenario(SCENARIOS["exec-form"])
    second = opened()
    assert second.resumed_ns > 0
    assert second.since_ns == first.since_ns
    assert own_signals(second) - before == 1000
    assert len(exits_of(read_all(second), result.cgroup_id)) == 1


def test_who_was_killed_leaves_what_it_had_read_to_be_read_again(folder, opened):
    """A verdict that was under way was in its memory alone."""
    script = """
        import sys, time
        from sigtrace.sources.bpf import BpfSource
        from sigtrace.sources.options import BpfOptions
        source = BpfSource(BpfOptions(pin=sys.argv[1]))
        source.open()
        print("open", flush=True)
        while True:
            events = source.read(0.1).events
            if any(e.container_init and e.kind.value == "exit" for e in events):
                print("read", flush=True)
    """
    argv = [sys.executable, "-c", textwrap.dedent(script), folder]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout.readline() == "open\n"
            result = run_scenario(SCENARIOS["exec-form"])
            assert agent.stdout.readline() == "read\n"
        finally:
            agent.kill()
    assert len(exits_of(read_all(opened()), result.cgroup_id)) == 1


def test_there_is_one_reader(opened):
    first = opened()
    with pytest.raises(HostError, match="another agent reads"):
        opened()
    first.close()
    opened()


def test_whether_somebody_reads_is_seen_and_else_not_guessed(opened, folder):
    source = opened()
    assert reading(folder) is True
    source.close()
    assert reading(folder) is False
    assert reading(folder) is False, "to look takes no lock from anybody"
    assert reading(f"{folder}/none") is None


def test_pins_that_do_not_fit_are_replaced_and_that_is_said(opened, folder, wait_until):
    opened(zombie_after_s=10.0).close()
    old = pinned(folder, "link")
    assert old
    second = opened(zombie_after_s=5.0)
    assert second.replaced
    assert second.resumed_ns == 0
    wait_until(lambda: not old & shown("link"))
    second.close()
    assert opened(zombie_after_s=5.0).resumed_ns


@pytest.mark.parametrize("missing", ["map_about", "link_snapshot_tasks", "link_process_exit", "prog_process_exit"])
def test_half_made_pins_are_replaced(opened, folder, missing):
    opened().close()
    os.unlink(os.path.join(folder, missing))
    second = opened()
    assert second.replaced
    second.close()
    assert not opened().replaced


def test_without_a_bpffs_it_says_what_to_mount(bpf_host, tmp_path):
    with pytest.raises(HostError, match="in no bpffs") as caught:
        BpfSource(BpfOptions(pin=str(tmp_path / "pins"))).open()
    assert "mount -t bpf" in caught.value.next_step
    assert not (tmp_path / "pins").exists()


def shown(what, *which):
    """The ids of programs, maps or links; others on this machine make and end their own meanwhile."""
    argv = ["bpftool", "-j", what, "show", *which]
    found = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    return {one["id"] for one in (found if isinstance(found, list) else [found])}


def pinned(folder, what):
    paths = [os.path.join(folder, name) for name in leftovers(folder) if name.startswith(f"{what}_")]
    return set().union(*(shown(what, "pinned", path) for path in paths))


def test_many_replacements_leak_nothing(opened, folder, wait_until):
    def state():
        own = [len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task")]
        return own, {what: pinned(folder, what) for what in ("prog", "map", "link")}

    opened().close()
    before = state()
    for _ in range(ROUNDS):
        source = opened()
        read_all(source)
        source.close()
    (descriptors, threads), kept = state()
    assert (threads, kept) == (before[0][1], before[1])
    assert descriptors <= before[0][0]
    assert kept["link"]
    unpin(folder)
    assert not leftovers(folder)
    for what, ids in before[1].items():
        wait_until(lambda what=what, ids=ids: not ids & shown(what))  # the kernel frees them a moment later


def test_losses_that_were_told_are_no_news_to_the_next(opened):
    first = opened(events_bytes=4096, lives_bytes=4096, events_per_s=1_000_000, lives_per_s=1_000_000, burst=1_000_000)
    children = [subprocess.Popen(["sh", "-c", "kill -TERM $$"]) for _ in range(60)]
    for child in children:
        child.wait()
    lost = [e for e in first_losses(first) if e.kind is Kind.LOST]
    assert lost
    first.close()
    again = opened(events_bytes=4096, lives_bytes=4096, events_per_s=1_000_000, lives_per_s=1_000_000, burst=1_000_000)
    assert again.resumed_ns
    assert sum(e.count for e in first_losses(again) if e.kind is Kind.LOST) < sum(e.count for e in lost)


def test_rings_that_ran_full_while_nobody_read_give_a_gap_with_its_time(opened):
    small = {"events_bytes": 4096, "lives_bytes": 4096} | dict.fromkeys(("events_per_s", "lives_per_s", "burst"), 10**6)
    first = opened(**small)
    first_losses(first)
    first.close()
    children = [subprocess.Popen(["sh", "-c", "kill -TERM $$"]) for _ in range(60)]
    for child in children:
        child.wait()
    second, gaps = opened(**small), []
    unread = Unread(gaps.append)
    opened_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    unread.since(second.resumed_ns, opened_ns)
    for event in second.read(0).events:
        unread.observation(Observation(event))
    (gap,) = gaps
    assert gap.lost > 0
    wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(gap.from_ns - (second.resumed_ns + wall_ns)) < 10**9
    assert gap.from_ns < gap.until_ns <= time.time_ns()


def first_losses(source):
    source._housekeeping.done_ns = 0
    return read_all(source)


def test_pins_without_their_last_mark_are_half_made(opened, folder, monkeypatch):
    """As an agent leaves them that was killed while it pinned."""
    monkeypatch.setattr(About, "write", lambda *_: None)
    opened().close()
    monkeypatch.undo()
    assert opened().replaced


def seen_of(capture, cgroup):
    """What its only sink was shown of a cgroup, in order."""
    events = [one.event for one in capture.sinks[0].observations]
    return [e for e in events if cgroup in (e.cgroup_id, e.task and e.task.cgroup_id)]


def test_what_the_agent_before_was_told_is_gone_is_told_to_the_next_one_behind_its_records(folder, wait_until):
    """They are read again, and the kernel's table of what is gone has no room for what was told long ago."""

    def capture():
        return Capture("bpf", BpfOptions(pin=folder), [Kept()])

    with capture() as first:
        first.begin()
        cgroup = run_scenario(SCENARIOS["exec-form"]).cgroup_id

        def settled():
            first.feed.step(0.05)
            gone = [int.from_bytes(key, "little") for key, _ in first._source._loaded.gone.items()]
            return Kind.CGROUP_RMDIR in {e.kind for e in seen_of(first, cgroup)} and cgroup not in gone

        wait_until(settled, timeout=60)
    with capture() as second:
        second.begin()

        def told():
            second.feed.step(0.05)
            return Kind.CGROUP_RMDIR in {e.kind for e in seen_of(second, cgroup)}

        wait_until(told, timeout=60)
        kinds = [event.kind for event in seen_of(second, cgroup)]
        assert {Kind.CGROUP_MKDIR, Kind.EXEC, Kind.EXIT} <= set(kinds)
        assert kinds.index(Kind.CGROUP_RMDIR) == len(kinds) - 1
        assert second.lost()["late"] == 0
