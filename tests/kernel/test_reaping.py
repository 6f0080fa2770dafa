"""kernel-signals.md, "Reaping": what is a zombie, whose it is, and when it is gone."""

import os
import signal
from pathlib import Path

import pytest

from sigtrace.lab.process import now_ns
from sigtrace.model.event import Kind

BOTH = pytest.mark.parametrize("kind", ["init", "ordinary"])


def the_exit_of_its_child(watch, target):
    def exits():
        return [e for e in watch.events if e.kind is Kind.EXIT and e.task.parent_key == target.key]

    (exit_,) = watch.until(exits, "the child's exit")
    return exit_


@BOTH
def test_a_zombie_is_told_reaped_when_its_parent_has_waited(run, watch, kind):
    with run(kind, "child", "exit-now", "5") as target:
        exit_ = the_exit_of_its_child(watch, target)
        target.mark()
        task = watch.task(exit_.task.key)
        assert (task.zombie, task.wait_status.raw, task.task.parent_key) == (True, 5 << 8, target.key)
        assert watch.of(exit_.task.key, Kind.REAP) == []
        before = now_ns()
        target.go()
        target.await_output(b"reaped 1280\n")
        reap = watch.first(exit_.task.key, Kind.REAP)
        assert reap.time_ns > before
        assert reap.wait_status == exit_.wait_status
        # thread_pid and nsproxy are NULL by then: what the namespaces said was saved at the exit.
        assert reap.task == exit_.task
        assert watch.task(exit_.task.key) is None


@BOTH
def test_with_sigchld_ignored_there_is_no_zombie(run, watch, kind):
    with run(kind, "child-ignored", "exit-now", "5") as target:
        exit_ = the_exit_of_its_child(watch, target)
        assert watch.first(exit_.task.key, Kind.REAP).wait_status.raw == 5 << 8
        target.go()
        target.await_output(b"reaped -1\n")


def test_a_zombie_gets_another_parent_with_no_event(run, watch):
    with run("init", "pause") as target:
        argv = (target.argv[0], "child", "exit-now", "5")
        target.box.exec(argv)
        # Not the cgroup's other process: that may be the one that enters it, or the child already.
        key = watch.until(lambda: [e.task.key for e in watch.events if e.kind is Kind.EXEC and e.task.argv == argv])[0]
        exit_ = watch.until(lambda: [e for e in watch.events if e.kind is Kind.EXIT and e.task.parent_key == key])[0]
        os.kill(key[0], signal.SIGKILL)
        watch.first(key, Kind.EXIT)
        watch.until(lambda: watch.task(exit_.task.key).task.parent_key == target.key, "PID 1 to inherit it")
        assert exit_.task.parent_key == key
        assert watch.of(exit_.task.key, Kind.REAP) == []
        assert watch.task(exit_.task.key).zombie


def test_what_is_torn_down_with_its_namespace_is_reaped(run, watch):
    with run("init", "child", "pause") as target:
        child = watch.executed(target.child(), [target.argv[0], "pause"])
        target.kill(signal.SIGKILL)
        exit_ = watch.first(child, Kind.EXIT)
        reap = watch.first(child, Kind.REAP)
        assert reap.time_ns > exit_.time_ns > watch.first(target.key, Kind.EXIT).time_ns
        assert (reap.task.ns_pid, reap.task.pidns) == (exit_.task.ns_pid, exit_.task.pidns)


def test_the_freeing_of_threads_tells_nothing(run, watch):
    with run("ordinary", "threads", "8") as target:
        target.go()
        target.wait()
        watch.first(target.key, Kind.REAP)
        assert len(watch.of(target.key, Kind.EXIT)) == len(watch.of(target.key, Kind.REAP)) == 1


def test_the_same_pid_again_is_another_process(run, watch):
    """Linux gives out pids in turn; ns_last_pid makes it give this one again."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not last.exists():
        pytest.skip("needs CONFIG_CHECKPOINT_RESTORE")
    with run("ordinary", "exit", "0") as first:
        first.go()
        first.wait()
    watch.first(first.key, Kind.REAP)

    def again():
        last.write_text(str(first.pid - 1))
        with run("ordinary", "exit", "1") as second:
            second.go()
            second.wait()
            return second.key if second.pid == first.pid else None

    kept = watch.of(first.key)
    second = watch.until(again, "the same pid again")
    assert second != first.key
    assert [e.wait_status.exit_code for e in kept if e.kind is Kind.EXIT] == [0]
    assert [e.wait_status.exit_code for e in watch.of(second, Kind.EXIT)] == [1]
