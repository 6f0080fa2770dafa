"""`trace` for one container beside others: the kernel leaves out what the user did not ask for, and nothing else."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sigtrace.capture import Capture
from sigtrace.demonstration import Known
from sigtrace.lab.cgroup import LabCgroup
from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.sinks.chosen import Filtered
from sigtrace.sources.options import BpfOptions

SIGNALS = 3_000
# Raises so many signals at itself when it is told to, and says when it has.
STORM = f"""
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
print(flush=True)
while sys.stdin.readline():
    for _ in range({SIGNALS}):
        os.kill(os.getpid(), signal.SIGUSR1)
    print(flush=True)
"""


class Kept:
    """A sink that keeps what reaches it."""

    def __init__(self):
        self.observations = []

    def observation(self, observation):
        self.observations.append(observation)

    def verdict(self, verdict): ...
    def pass_time(self, now_ns): ...
    def close(self): ...

    def take_dropped(self):
        return 0


def move(pid, cgroup):
    Path(cgroup.path, "cgroup.procs").write_text(str(pid), encoding="ascii")


class Stormer:
    """A process in a cgroup of its own."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        self.process = subprocess.Popen(
            [sys.executable, "-c", STORM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        move(self.process.pid, cgroup)
        self.process.stdout.readline()

    @property
    def pid(self):
        return self.process.pid

    def storm(self):
        print(file=self.process.stdin, flush=True)
        self.process.stdout.readline()

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def two(bpf_host):
    """A capture that wants one of two cgroups (by its name), what reached it, and the two."""
    with contextlib.ExitStack() as stack:
        boxes = []
        for name in ("wanted", "other"):
            cgroup = LabCgroup(f"{name}-{os.getpid()}")
            cgroup.create()
            stack.callback(cgroup.remove)
            boxes.append(Stormer(cgroup))
            stack.callback(boxes[-1].end)
        kept = Kept()
        capture = Capture("bpf", BpfOptions(tell_all=True, filtered=True, events_bytes=16 << 20), [], names=Known())
        chosen = Named(boxes[0].cgroup.path.name)
        capture.sinks.append(Filtered(kept, chosen, capture.judged))
        stack.enter_context(capture)
        yield capture, kept, *boxes


class Named(WorkloadFilter):
    """By the last part of the cgroup's path, since no runtime names these."""

    is_open = False

    def workload(self, workload):
        return workload is not None and (workload.cgroup or "").endswith(f"/{self.container}")


def signals_of(kept, pid, signo=signal.SIGUSR1):
    return [
        o
        for o in kept.observations
        if o.event.kind is Kind.SIGNAL_GENERATE and o.event.signo == signo and o.event.task.pid == pid
    ]


def recorded(capture):
    return capture.lost()["recorded_event"]


def test_a_storm_in_another_cgroup_makes_no_records_once_it_is_known_and_the_own_is_told_whole(two, wait_until):
    capture, kept, wanted, other = two
    other.process.send_signal(signal.SIGURG)  # so that its cgroup is seen, and found to be another
    other.storm()
    wait_until(lambda: capture.feed.step(0.01) or other.cgroup.id in capture._source._loaded.unwanted._known)
    before = recorded(capture)
    other.storm()
    capture.feed.step(0.05)
    assert recorded(capture) - before < SIGNALS / 10  # others on this machine are told as well
    wanted.storm()
    wait_until(lambda: capture.feed.step(0.01) or len(signals_of(kept, wanted.pid)) >= SIGNALS, timeout=60)
    assert len(signals_of(kept, wanted.pid)) == SIGNALS
    assert not signals_of(kept, other.pid)


def test_what_the_wanted_one_sends_to_another_is_told_too(two, wait_until):
    capture, kept, wanted, other = two
    other.storm()
    wait_until(lambda: capture.feed.step(0.01) or other.cgroup.id in capture._source._loaded.unwanted._known)
    with subprocess.Popen(["sh", "-c", f"read x; kill -URG {other.pid}"], stdin=subprocess.PIPE) as sender:
        move(sender.pid, wanted.cgroup)
        sender.communicate(b"\n")
    wait_until(lambda: capture.feed.step(0.01) or signals_of(kept, other.pid, signal.SIGURG))


def test_what_is_removed_leaves_the_table_again(two, wait_until):
    capture, _, _, other = two
    other.storm()
    wait_until(lambda: capture.feed.step(0.01) or other.cgroup.id in capture._source._loaded.unwanted._known)
    other.end()
    other.cgroup.remove()
    wait_until(lambda: capture.feed.step(0.05) or other.cgroup.id not in capture._source._loaded.unwanted._known)
