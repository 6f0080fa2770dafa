"""What exists at the start is known, once, and nothing falls between the snapshot and the events."""

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.process import argv_of
from sigtrace.model.event import Kind
from sigtrace.sources.options import BpfOptions
from tests.kernel.targets import GO
from tests.kernel.watcher import Watcher

BIT = {signo: 1 << (signo - 1) for signo in signal.valid_signals()}


@pytest.fixture
def opened(bpf_host):
    """Opens sources; as events, first of all, they give their snapshot."""
    watchers = []

    def open_(options=None):
        watchers.append(Watcher(options or BpfOptions()))
        watchers[-1].drain()
        return watchers[-1]

    yield open_
    for watcher in watchers:
        watcher.close()


@pytest.fixture
def started(program):
    """Starts `target MODE…` as an ordinary process, ready."""
    processes = []

    def start(*argv):
        process = subprocess.Popen([program, *argv], stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def tasks(watch):
    return [e for e in watch.events if e.kind is Kind.TASK]


def the(watch, pid):
    (event,) = [e for e in tasks(watch) if e.task.pid == pid]
    return event


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def test_everything_that_exists_is_in_it_once(opened):
    before = {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()}
    watch = opened()
    after = {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()}
    found = Counter(e.task.pid for e in tasks(watch))
    # The PID 1 of some sandboxes is hidden from BPF iterators, from the simplest, too.
    assert before & after - {1} <= set(found)
    assert set(found.values()) == {1}
    assert found[os.getpid()] == 1


def test_a_process_is_described_as_proc_describes_it(opened):
    event = the(opened(), os.getpid())
    said = status(os.getpid())
    assert event.task.parent_pid == os.getppid()
    assert event.task.uid == int(said["Uid"][0])
    assert event.task.comm == Path("/proc/self/comm").read_text().strip()
    assert event.task.pidns == int(os.readlink("/proc/self/ns/pid")[5:-1])
    assert (event.zombie, event.ns_init, event.container_init) == (False, False, False)
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert event.task.start_ns * os.sysconf("SC_CLK_TCK") // 10**9 == ticks


@pytest.mark.parametrize(("mode", "raw"), [(("exit-now", "5"), 5 << 8), (("exit-now", "0"), 0), (("pause",), 15)])
def test_a_zombie_is_in_it_with_its_status(opened, started, mode, raw):
    parent = started("child", *mode)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    (child,) = map(int, children.read_text().split())
    stat = Path(f"/proc/{child}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        if mode == ("pause",):
            os.kill(child, signal.SIGTERM)
    event = the(opened(), child)
    assert (event.zombie, event.wait_status.raw) == (True, raw)
    assert event.task.parent_pid == parent.pid


def test_a_leader_that_has_gone_before_its_threads_is_no_zombie(opened, started):
    target = started("leader-first", "0", "0")
    target.send_signal(GO)
    while Path(f"/proc/{target.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    event = the(opened(), target.pid)
    assert (event.zombie, event.wait_status) == (False, None)


@pytest.mark.parametrize(
    ("mode", "blocked", "real_blocked", "caught", "ignored"),
    [("pause", 0, 0, 0, 0), ("handler", 0, 0, 1, 0), ("ignore", 0, 0, 0, 1), ("block", 1, 0, 0, 0),
     ("block-ignore", 1, 0, 0, 1), ("sigwait", 0, 1, 0, 0), ("signalfd", 1, 0, 0, 0)],
)  # fmt: skip
def test_the_masks_say_how_it_would_meet_sigterm(opened, program, mode, blocked, real_blocked, caught, ignored):
    with Container(f"snapshot-{os.getpid()}") as box:
        box.start([str(program), mode])
        box.wait_ready(b"ready\n")
        event = the(opened(), box.init_pid)
        said = status(box.init_pid)
        masks = event.masks
        term = BIT[signal.SIGTERM]
        got = [bool(m & term) for m in (masks.blocked, masks.real_blocked, masks.caught, masks.ignored)]
        assert got == [bool(x) for x in (blocked, real_blocked, caught, ignored)]
        assert (masks.caught, masks.ignored) == (int(said["SigCgt"][0], 16), int(said["SigIgn"][0], 16))
        assert masks.blocked == int(said["SigBlk"][0], 16)
        assert (event.ns_init, event.container_init) == (True, True)
        assert event.task.argv == (str(program), mode)
        assert (event.task.ns_pid, event.task.cgroup_id) == (1, box.cgroup_id)


def test_a_pending_signal_is_in_it(opened, started):
    target = started("block")
    target.send_signal(signal.SIGTERM)
    assert the(opened(), target.pid).masks.pending == BIT[signal.SIGTERM]


def test_no_init_is_missed_or_doubled_while_many_begin(opened, program, wait_until):
    """They begin one after the other from before it attaches until after the snapshot."""
    with subprocess.Popen([program, "inits", "20000"], stdout=subprocess.PIPE) as spawner:
        try:
            pids = [int(spawner.stdout.readline()) for _ in range(50)]
            watch = opened(BpfOptions(tell_all=True, lives_bytes=32 << 20, events_bytes=32 << 20))
            in_snapshot = Counter(e.task.pid for e in tasks(watch))
            while len(pids) < 100 or pids[-50] in in_snapshot:
                pids.append(int(spawner.stdout.readline()))

            def executed():
                events = [e for e in watch.events if e.kind is Kind.EXEC and e.ns_init]
                return Counter(e.task.pid for e in events if e.task.argv == (str(program), "pause"))

            # The last one's: clone returns when its memory has been replaced, a little before the exec is told.
            watch.until(lambda: executed().keys() >= set(pids) - in_snapshot.keys(), "each to be known")
            print(f"{len(pids)} inits: {len(set(pids) & set(in_snapshot))} in the snapshot, {len(executed())} executed")
            assert set(in_snapshot.values()) == set(executed().values()) == {1}
            # One that began while it attached may be known by both, as one process.
            keys = {e.task.key for e in watch.events if e.task and e.task.pid in set(pids)}
            assert len(keys) == len(pids) == len(set(pids))
            assert not watch.lost()
        finally:
            # SIGPIPE ends it between two of them, and PR_SET_PDEATHSIG them. A SIGKILL could come before that is set.
            spawner.stdout.close()
            spawner.wait(20)
    wait_until(lambda: not any(argv_of(pid)[:1] == (str(program),) for pid in pids), timeout=20)
