"""kernel-signals.md, "Who sent a SIGKILL": what each cause looks like, and that timers have no sender."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from sigtrace.lab.process import now_ns
from sigtrace.model.event import Disposition, Info, Kind, Result
from tests.kernel.targets import Cgroup, hierarchy

KILL = signal.SIGKILL
V2 = hierarchy("cgroup2")
SI_KERNEL, SI_TIMER = 0x80, -2
MIB = 1 << 20


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_kill_has_a_sender_and_a_real_siginfo(run, watch, kind):
    with run(kind, "pause") as target:
        target.kill(KILL)
        assert target.wait() == KILL
        (generate,) = watch.generated(target.key, KILL)
        assert (generate.info, generate.si_code, generate.group) == (Info.REAL, 0, True)
        assert (generate.sender.pid, generate.teardown) == (os.getpid(), False)
        assert generate.sender.uid == os.getuid()
        if kind == "init":
            assert generate.sender.ancestry  # who stands behind a stop is part of the verdict
            assert generate.outside


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_cgroup_kill_has_no_info_and_the_writer_sent_it(run, watch, kind):
    with run(kind, "pause") as target, Cgroup(V2) as cgroup:
        if not (cgroup.path / "cgroup.kill").exists():
            pytest.skip("this kernel has no cgroup.kill (since v5.14, commit 661ee6280931)")
        cgroup.add(target.pid)
        writer = subprocess.Popen(["sh", "-c", 'echo 1 >"$0"', cgroup.path / "cgroup.kill"])
        with writer:
            assert target.wait() == KILL
        (generate,) = watch.generated(target.key, KILL)
        assert (generate.info, generate.si_code, generate.group) == (Info.NOINFO, None, False)
        assert (generate.sender.pid, generate.teardown) == (writer.pid, False)


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_cgroup_kill_is_one_for_each_process_not_for_each_thread(run, watch, kind):
    with run(kind, "threads", "3") as target, Cgroup(V2) as cgroup:
        if not (cgroup.path / "cgroup.kill").exists():
            pytest.skip("this kernel has no cgroup.kill (since v5.14, commit 661ee6280931)")
        cgroup.add(target.pid)
        cgroup.write("cgroup.kill", "1")
        assert target.wait() == KILL
        first, *rest = watch.generated(target.key, KILL)
        assert (first.info, first.result) == (Info.NOINFO, Result.DELIVERED)
        # An init that is torn down signals its own threads that are not quite gone, as it does dying children.
        assert all((e.info, e.result, e.exiting) == (Info.PRIV, Result.IGNORED, True) for e in rest)
        assert kind == "init" or not rest


@pytest.mark.parametrize("how", ["killed", "exits", "last thread is not the leader"])
def test_the_teardown_of_a_namespace_is_the_kernels_after_its_init_has_exited(run, watch, how):
    modes = {"killed": ("pause",), "exits": ("exit", "0"), "last thread is not the leader": ("leader-first", "0", "0")}
    with run("init", *modes[how]) as target:
        beside = target.box.exec([target.argv[0], "pause"])
        inside = watch.until(lambda: set(target.box.cgroup.pids()) - {target.pid})
        child = watch.executed(inside.pop(), [target.argv[0], "pause"])
        if how == "last thread is not the leader":
            target.go()
            target.await_state("Z")
        target.kill(KILL) if how == "killed" else target.go()
        assert target.wait() == (KILL if how == "killed" else 0)
        beside.wait()
        (generate,) = watch.generated(child, KILL)
        assert (generate.info, generate.si_code, generate.group) == (Info.PRIV, None, True)
        assert (generate.sender, generate.teardown, generate.result) == (None, True, Result.DELIVERED)
        assert generate.time_ns > target.exit().time_ns
        assert watch.first(child, "exit").wait_status.raw == KILL


def test_the_siblings_of_a_group_exit_get_no_signal_generate(run, watch):
    with run("ordinary", "threads", "3") as target:
        target.kill(KILL)
        assert target.wait() == KILL
        assert len(watch.generated(target.key, KILL)) == 1
        delivered = watch.delivered(target.key, KILL)
        assert len({e.task.tid for e in delivered}) == len(delivered) == 4
        assert {e.info for e in delivered} == {Info.NOINFO}
        assert len(watch.of(target.key, "exit")) == 1


def test_the_siblings_of_an_exec_get_no_signal_generate(run, watch):
    with run("ordinary", "exec-thread") as target:
        before = now_ns()
        target.go()
        watch.executed(target.pid, [target.argv[0], "pause"], before)
        assert watch.generated(target.key, KILL) == []
        delivered = watch.delivered(target.key, KILL)
        assert [(e.task.tid, e.info, e.exiting) for e in delivered] == [(target.pid, Info.NOINFO, False)]


@contextlib.contextmanager
def memory_cgroup(limit):
    """A cgroup that may hold so many bytes: of v2 if it has the controller, else of v1."""
    v1 = hierarchy("memory")
    with Cgroup(v1 or V2) as cgroup:
        if v1:
            cgroup.write("memory.limit_in_bytes", str(limit))
        else:
            control = Path(V2, "cgroup.subtree_control")
            if "memory" not in control.read_text():
                control.write_text("+memory")
            cgroup.write("memory.max", str(limit))
            with contextlib.suppress(FileNotFoundError):
                cgroup.write("memory.swap.max", "0")
        yield cgroup


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_the_oom_killer_is_the_kernel_and_marks_its_victim_afterwards(run, watch, kind):
    with run(kind, "eat") as target, memory_cgroup(8 * MIB) as cgroup:
        cgroup.add(target.pid)
        target.go()
        assert target.wait() == KILL
        (generate,) = watch.generated(target.key, KILL)
        assert (generate.info, generate.group, generate.sender) == (Info.PRIV, True, None)
        assert generate.teardown is False
        (oom,) = [e for e in watch.events if e.kind is Kind.OOM_KILL and target.pid in {e.task.pid, e.task.tid}]
        assert 0 < oom.time_ns - generate.time_ns < 100_000_000
        if oom.task.start_ns:  # since v6.8 the tracepoint has the task, before it a pid
            assert oom.task.key == target.key
        assert target.exit().wait_status.raw == KILL


@pytest.mark.parametrize("how", ["alarm", "timer"])
def test_a_timer_has_no_sender(run, watch, how):
    with run("ordinary", how) as target:
        signo = signal.SIGALRM if how == "alarm" else signal.SIGUSR2
        target.go()
        target.await_output(b"took")
        generate = watch.first(target.key, "signal_generate", signo)
        assert generate.sender is None
        assert (generate.info, generate.si_code) == ((Info.PRIV, None) if how == "alarm" else (Info.REAL, SI_TIMER))
        assert watch.first(target.key, "signal_deliver", signo).disposition is Disposition.HANDLER


def test_what_the_kernel_sends_by_itself_has_no_sender(run, watch):
    with run("ordinary", "child", "exit-now", "0") as target:
        generate = watch.first(target.key, "signal_generate", signal.SIGCHLD)
        assert generate.sender is None
        assert generate.si_code == 1  # CLD_EXITED


def test_a_sender_outside_the_namespace_is_known_though_the_siginfo_says_0(run, watch):
    with run("init", "handler") as target:
        subprocess.run(["sh", "-c", f"kill {target.pid}; :"], check=True)
        generate = watch.first(target.key, "signal_generate", signal.SIGTERM)
        assert generate.sender.comm == "sh"
        assert generate.sender.parent_pid == os.getpid()
        assert generate.sender.ancestry[0] == Path("/proc/self/comm").read_text().strip()
