"""kernel-signals.md, "Exits": the wait status, and what is one process's end and what is not."""

import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.process import now_ns
from sigtrace.model.event import Info, Kind, Result
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.ring import Ring

KILL, TERM, SEGV = signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV
BOTH = pytest.mark.parametrize("kind", ["init", "ordinary"])


@BOTH
@pytest.mark.parametrize("code", [0, 1, 137, 255])
def test_an_exit_code_is_told_as_such(run, watch, kind, code):
    with run(kind, "exit", str(code)) as target:
        target.go()
        assert target.wait() == code << 8
        (exit_,) = watch.of(target.key, Kind.EXIT)
        assert (exit_.wait_status.raw, exit_.wait_status.exit_code) == (code << 8, code)
        assert exit_.wait_status.signal is None
        assert exit_.container_init == (kind == "init")


@BOTH
def test_a_death_by_signal_is_told_as_such(run, watch, kind):
    with run(kind, "pause") as target:
        target.kill(KILL)
        assert target.wait() == KILL
        (exit_,) = watch.of(target.key, Kind.EXIT)
        assert (exit_.wait_status.signal, exit_.wait_status.exit_code, exit_.wait_status.code) == (KILL, None, 137)


@BOTH
def test_the_core_flag_is_not_part_of_the_signal(run, watch, kind, tmp_path):
    with run(kind, "fault-core", str(tmp_path)) as target:
        target.go()
        raw = target.wait()
        status = target.exit().wait_status
        assert status.raw == raw
        assert (status.signal, status.core_dumped) == (SEGV, bool(raw & 0x80))
        # A pattern that pipes into a program dumps only if that program runs.
        if not Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
            assert status.core_dumped


@BOTH
def test_a_leader_that_exits_first_is_no_exit_and_no_zombie(run, watch, kind):
    with run(kind, "leader-first", "3", "7") as target:
        target.go()
        target.await_state("Z")
        task = watch.task(target.key)
        assert (task.zombie, task.wait_status) == (False, None)
        assert watch.of(target.key, Kind.EXIT) == []
        target.go()
        # Without exit_group(2) it is the leader's; on newer kernels, 6.18 is one, the last thread's, whose exit is then
        # the group's.
        raw = target.wait()
        assert raw in {3 << 8, 7 << 8}
        (exit_,) = watch.of(target.key, Kind.EXIT)
        assert exit_.wait_status.raw == raw
        assert exit_.task.tid != target.pid


@BOTH
def test_many_threads_that_end_at_once_are_one_exit(run, watch, kind):
    for _ in range(10):
        with run(kind, "threads", "16") as target:
            target.go()
            assert target.wait() == 0
            assert len(watch.of(target.key, Kind.EXIT)) == 1


@BOTH
def test_an_exec_by_another_thread_is_neither_exit_nor_reap(run, watch, kind):
    with run(kind, "exec-thread") as target:
        before = now_ns()
        target.go()
        assert watch.executed(target.pid, [target.argv[0], "pause"], before) == target.key
        target.await_output(b"ready\nready\n")
        target.mark()
        # The old leader is freed some RCU grace periods later, and so is this, which died after it.
        with run(kind, "exit", "0") as later:
            later.go()
            later.wait()
            key = later.key
        watch.first(key, Kind.REAP)
        assert watch.of(target.key, Kind.EXIT) == watch.of(target.key, Kind.REAP) == []
        assert watch.task(target.key).zombie is False
        target.kill(KILL)
        target.wait()
        assert len(watch.of(target.key, Kind.EXIT)) == 1


def test_a_fatal_sigterm_arrives_as_9_and_the_cause_is_in_its_generation(run, watch):
    with run("ordinary", "pause") as target:
        target.kill(TERM)
        assert target.wait() == TERM
        assert [e.signo for e in watch.generated(target.key)] == [TERM]
        assert {(e.signo, e.info) for e in watch.delivered(target.key)} == {(KILL, Info.NOINFO)}
        assert target.exit().wait_status.signal == TERM


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_shell_relays_137_as_an_exit_of_its_own(watch, program, shell):
    line = f"{program} pause; exit $?"
    before = now_ns()
    with subprocess.Popen([shell, "-c", line], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as relay:
        assert relay.stdout.readline() == b"ready\n"
        child = int(Path(f"/proc/{relay.pid}/task/{relay.pid}/children").read_text())
        key = watch.executed(child, [str(program), "pause"], before)
        relay_key = watch.executed(relay.pid, [shell, "-c", line], before)
        os.kill(child, KILL)
    assert watch.first(key, Kind.EXIT).wait_status.signal == KILL
    status = watch.first(relay_key, Kind.EXIT).wait_status
    assert (status.signal, status.exit_code, status.code) == (None, 137, 137)
    assert relay.returncode == 137


def test_an_init_that_a_fatal_signal_has_ended_is_still_known_as_one(run, watch):
    """complete_signal has replaced SIGNAL_UNKILLABLE by then."""
    with run("init", "pause") as target:
        target.kill(KILL)
        generate = watch.first(target.key, "signal_generate", KILL)
        assert generate.ns_init
        assert generate.container_init
        assert generate.result is Result.DELIVERED
        assert target.exit().ns_init


def test_nothing_happens_in_a_cgroup_after_it_is_removed(bpf_host, monkeypatch):
    """A container that lives while a batch is read: after the look at the clock, before the look at what is gone."""
    read, boxes = Ring.read, []

    def slow_read(ring):
        if not boxes:
            with Container(f"gone-{os.getpid()}") as box:
                box.start(["sleep", "infinity"])
                box.wait_ready()
                boxes.append(box.cgroup_id)
                box.kill(KILL)
                box.wait()
        return read(ring)

    with closing(BpfSource()) as source:
        source.open()
        monkeypatch.setattr(Ring, "read", slow_read)
        events = source.read(0).events  # the first looks at what is gone, too
        monkeypatch.undo()
        events += source.read(0).events
    of_it = [e for e in events if boxes[0] in (e.cgroup_id, e.task and e.task.cgroup_id)]
    of_it.sort(key=lambda event: event.time_ns)
    assert [e.kind for e in of_it].count(Kind.CGROUP_RMDIR) == 1
    assert {Kind.EXEC, Kind.SIGNAL_GENERATE, Kind.EXIT} <= {e.kind for e in of_it}
    assert of_it[-1].kind is Kind.CGROUP_RMDIR


def test_a_main_process_that_ends_before_it_is_watched_takes_no_room(run, watch):
    """Its exec is held back for some milliseconds; who lives shorter is asked for when it is gone."""
    with run("ordinary", "pause") as target:
        target.kill(KILL)
        target._popen.wait()
        watch.source.watch(*target.key)  # its exit is in the ring
        assert target.key in watch.source._choices._mains
        watch.first(target.key, Kind.EXIT)
        assert target.key not in watch.source._choices._mains
        watch.source.watch(*target.key)
        assert target.key not in watch.source._choices._mains
