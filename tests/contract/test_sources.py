"""What every source of events must give. A source joins by its name in SOURCES."""

import time
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.process import argv_of, descendants_of, until
from sigtrace.model.event import Disposition, Kind, Result
from sigtrace.sources.base import Source
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions

#: Zombies are told soon, so that a test need not wait for as long as a person would.
SOURCES = {"bpf": lambda: BpfSource(BpfOptions(zombie_after_s=0.2))}
SIGTERM, SIGKILL = 15, 9


@pytest.fixture(params=SOURCES)
def source(request, bpf_host):
    source: Source = SOURCES[request.param]()
    try:
        source.open()
        yield source
    finally:
        source.close()


def all_of(source, wanted, timeout_s=10):
    """The events that are wanted, once there is one; what was read is kept for the next question."""
    seen = source.__dict__.setdefault("seen_by_test", [])
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := [event for event in seen if event.task and wanted(event)]:
            return found
        seen += source.read(0.05).events
    raise AssertionError(f"not within {timeout_s} s; kinds seen: {sorted({e.kind.value for e in seen})}")


def the(source, pid, kind, signo=0):
    """The first such event."""
    return all_of(source, lambda e: e.kind is kind and e.task.pid == pid and e.signo == signo)[0]


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
        pid = box.init_pid  # it executed what made it a container before: that was on the host
        event = all_of(source, lambda e: e.kind is Kind.EXEC and e.task.pid == pid and e.cgroup_entered)[0]
        assert event.task.argv == ("sleep", "infinity")
        assert event.task.cgroup_id == Path(box.cgroup_path).stat().st_ino


def test_an_exit_names_the_parent_whose_wait_it_awaits(source):
    with Container("contract-parent") as box:
        box.start(["sh", "-c", "trap : TERM; while :; do sleep 0.05; (exit 7); done"])
        box.wait_ready(asleep=False)
        pid = box.init_pid
        exited = all_of(source, lambda e: e.kind is Kind.EXIT and e.task.parent_pid == pid)[0]
    assert exited.wait_status.exit_code == 7
    assert exited.parent.key == exited.task.parent_key
    assert exited.parent.ns_pid == 1


def test_who_lives_in_a_container_that_is_asked_to_stop_is_listed_with_argv(source):
    with Container("contract-members") as box:
        box.start(["sh", "-c", "sleep 98765 & wait"])
        box.wait_ready()
        pid = box.init_pid
        until(lambda: ("sleep", "98765") in map(argv_of, descendants_of(pid)), "sleep")
        box.kill(SIGTERM)
        asked = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)

        def is_listed(event):
            return event.kind is Kind.TASK and event.time_ns > asked.time_ns and event.task.pidns == asked.task.pidns

        listed = all_of(source, is_listed)
    argv = {e.task.pid: e.task.argv for e in listed}
    assert argv[pid][:2] == ("sh", "-c")
    assert ("sleep", "98765") in argv.values()
    assert len({e.time_ns for e in listed}) == 1
    assert all(e.masks is not None for e in listed)


def test_a_command_that_enters_is_told_and_so_is_its_end_though_nothing_failed(source):
    with Container("contract-enters") as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        box.exec(["sh", "-c", "exit 0", "contract"]).wait()
        wanted = ("sh", "-c", "exit 0", "contract")
        entered = all_of(source, lambda e: e.kind is Kind.EXEC and e.task.argv == wanted)[0]
        exited = the(source, entered.task.pid, Kind.EXIT)
        cgroup = box.cgroup_id
    assert entered.cgroup_entered
    assert entered.parent_outside
    assert not entered.container_init
    assert entered.task.cgroup_id == cgroup
    assert exited.wait_status.exit_code == 0
    assert exited.cgroup_entered


def test_a_zombie_is_told_with_the_parent_that_owes_the_wait(source):
    with Container("contract-zombie") as box:
        box.start(["sh", "-c", "sleep 0.01 & exec sleep 98764"])
        box.wait_ready()
        pid = box.init_pid
        zombie = all_of(source, lambda e: e.kind is Kind.TASK and e.zombie and e.parent and e.parent.pid == pid)[0]
    assert zombie.parent.key == zombie.task.parent_key
    assert zombie.parent.argv == ("sleep", "98764")
    assert zombie.wait_status.exit_code == 0
    assert 0 < zombie.exit_ns < zombie.time_ns


def test_a_main_process_that_is_no_init_is_watched_once_it_is_known(source):
    with Container("contract-host-pid", host_pid=True) as box:
        box.start(["sleep", "98763"])
        box.wait_ready()
        pid = box.init_pid
        source.watch(*the(source, pid, Kind.EXEC).task.key)
        box.kill(SIGTERM)
        asked = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
        exited = the(source, pid, Kind.EXIT)
    assert asked.watched
    assert asked.outside
    assert not asked.ns_init
    assert asked.result is Result.DELIVERED
    assert exited.watched
    assert exited.wait_status.signal == SIGTERM


def test_time_moves_on_without_events(source):
    first = source.read(0.01).until_ns
    deadline = time.monotonic() + 5
    while source.read(0.01).until_ns <= first:
        assert time.monotonic() < deadline


def test_closing_twice_is_harmless(source):
    source.close()
    source.close()
