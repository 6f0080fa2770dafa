"""What every source of events must give. A source joins by its name in SOURCES."""

import time
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.model.event import Disposition, Kind, Result
from sigtrace.sources.base import Source
from sigtrace.sources.bpf import BpfSource

SOURCES = {"bpf": BpfSource}
SIGTERM, SIGKILL = 15, 9


@pytest.fixture(params=SOURCES)
def source(request, bpf_host):
    source: Source = SOURCES[request.param]()
    try:
        source.open()
        yield source
    finally:
        source.close()


def the(source, pid, kind, signo=0, timeout_s=10):
    """The first such event; what was read is kept for the next question."""
    seen = source.__dict__.setdefault("seen_by_test", [])
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for event in seen:
            if event.kind is kind and event.task and event.task.pid == pid and event.signo == signo:
                return event
        seen += source.read(0.05).events
    raise AssertionError(f"no {kind} of {pid} with signal {signo} within {timeout_s} s")


def test_a_dropped_stop_signal_and_the_kill_after_it(source):
    with Container("contract-dropped") as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        pid = box.init_pid
        box.kill(SIGTERM)
        dropped = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
        box.kill(SIGKILL)
        killed = the(source, pid, Kind.SIGNAL_GENERATE, SIGKILL)
        exited = the(source, pid, Kind.EXIT)
    assert (dropped.result, dropped.disposition) == (Result.IGNORED, Disposition.DEFAULT)
    assert dropped.container_init
    assert dropped.outside
    assert dropped.task.ns_pid == 1
    assert dropped.sender.comm
    assert killed.result is Result.DELIVERED
    assert exited.wait_status.signal == SIGKILL
    assert dropped.task.key == killed.task.key == exited.task.key
    assert dropped.time_ns < killed.time_ns < exited.time_ns


def test_what_exists_is_told_at_the_start(bpf_host):
    with Container("contract-snapshot") as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        for make in SOURCES.values():
            source = make()
            try:
                source.open()
                task = the(source, box.init_pid, Kind.TASK)
            finally:
                source.close()
            assert task.container_init
            assert task.task.argv == ("sleep", "infinity")


def test_a_first_exec_has_its_argv(source):
    with Container("contract-exec") as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        event = the(source, box.init_pid, Kind.EXEC)
        assert event.task.argv == ("sleep", "infinity")
        assert event.task.cgroup_id == Path(box.cgroup_path).stat().st_ino


def test_time_moves_on_without_events(source):
    first = source.read(0.01).until_ns
    deadline = time.monotonic() + 5
    while source.read(0.01).until_ns <= first:
        assert time.monotonic() < deadline


def test_closing_twice_is_harmless(source):
    source.close()
    source.close()
