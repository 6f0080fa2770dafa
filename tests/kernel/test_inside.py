"""kernel-signals.md, below its first table: signals from inside the namespace, and what res=1 alone does not mean."""

import os
import signal
from pathlib import Path

import pytest

from sigtrace.model.event import Disposition, Info, Result

KILL, TERM, SEGV, ABRT = signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT
DFL, IGN, FN = Disposition
DELIVERED, IGNORED = Result.DELIVERED, Result.IGNORED


@pytest.mark.parametrize("signo", [TERM, KILL])
def test_from_inside_an_init_without_a_handler_gets_nothing_and_kill_returns_0(run, watch, signo):
    with run("init", "pause") as target:
        assert target.box.kill_from_inside(f"kill -{signo:d} 1") == 0
        generate = watch.first(target.key, "signal_generate", signo)
        assert (generate.result, generate.disposition) == (IGNORED, DFL)
        assert not generate.outside
        assert generate.sender.pidns == generate.task.pidns
        assert generate.sender.ns_pid > 1
        target.mark()
        assert watch.delivered(target.key, signo) == []


def test_from_inside_an_init_with_a_handler_gets_sigterm(run, watch):
    with run("init", "handler") as target:
        assert target.box.kill_from_inside("kill 1") == 0
        target.await_output(b"took 15\n")
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.outside) == (DELIVERED, False)
        assert watch.first(target.key, "signal_deliver", TERM).disposition is FN


def test_kill_minus_1_inside_skips_the_sender_and_the_init(run, watch):
    with run("init", "child", "pause") as target:
        child = watch.executed(target.child(), [target.argv[0], "pause"])
        inside = target.box.exec(["sh", "-c", "kill -9 -1 && echo alive"])
        assert inside.wait() == 0
        assert inside.output == b"alive\n"
        generate = watch.first(child, "signal_generate", KILL)
        assert (generate.result, generate.group) == (DELIVERED, True)
        assert watch.of(generate.sender.key, "signal_generate", KILL) == []
        assert watch.generated(target.key, KILL) == []
        target.mark()


def test_a_signal_to_the_process_group_is_one_for_each_member_and_the_init_ignores_its_own(run, watch):
    with run("init", "child", "pause") as target:
        child = watch.executed(target.child(), [target.argv[0], "pause"])
        os.killpg(target.pid, TERM)
        assert watch.first(target.key, "signal_generate", TERM).result is IGNORED
        (generate,) = watch.until(lambda: watch.generated(child, TERM))
        assert (generate.result, generate.group) == (DELIVERED, True)
        target.mark()


def test_a_fault_by_the_cpu_ends_an_init(run, watch):
    with run("init", "fault") as target:
        target.go()
        assert target.wait() == SEGV
        (generate,) = watch.generated(target.key, SEGV)
        assert (generate.result, generate.info, generate.sender) == (DELIVERED, Info.REAL, None)
        assert generate.si_code > 0
        assert target.exit().wait_status.code == 139


def test_abort_in_an_init_is_dropped_twice_and_then_it_faults_139_not_134(run, watch):
    with run("init", "abort") as target:
        target.go()
        assert target.wait() == SEGV
        assert target.exit().wait_status.code == 139
        assert [e.result for e in watch.generated(target.key, ABRT)] == [IGNORED, IGNORED]
        fault = watch.generated(target.key, SEGV)[-1]
        assert fault.result is DELIVERED
        assert fault.sender is None


def test_abort_in_an_ordinary_process_is_134(run, watch):
    with run("ordinary", "abort") as target:
        target.go()
        assert target.wait() == ABRT
        assert [e.result for e in watch.generated(target.key, ABRT)] == [DELIVERED]
        assert target.exit().wait_status.code == 134


@pytest.mark.parametrize("kind", ["init", "ordinary"])
@pytest.mark.parametrize("name", ["SIGCHLD", "SIGURG", "SIGWINCH", "SIGCONT"])
def test_a_signal_that_is_ignored_by_default_has_the_result_of_a_dropped_one(run, watch, name, kind):
    with run(kind, "pause") as target:
        target.kill(signal.Signals[name])
        generate = watch.first(target.key, "signal_generate", signal.Signals[name])
        assert (generate.result, generate.disposition) == (IGNORED, DFL)
        target.mark()
        assert watch.delivered(target.key, signal.Signals[name]) == []


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_sigcont_to_a_stopped_target_shows_ignored_and_still_resumes_it(run, watch, kind):
    with run(kind, "pause") as target:
        target.kill(signal.SIGSTOP)
        target.await_state("T")
        target.kill(signal.SIGCONT)
        assert watch.first(target.key, "signal_generate", signal.SIGCONT).result is IGNORED
        target.await_state("S")
        target.mark()


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_sigchld_at_the_default_shows_ignored_and_the_zombie_stays(run, watch, kind):
    with run(kind, "child", "exit-now", "5") as target:
        child = target.child()
        generate = watch.first(target.key, "signal_generate", signal.SIGCHLD)
        assert (generate.result, generate.disposition) == (IGNORED, DFL)
        target.mark()
        assert Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        zombie = next(e for e in watch.source.snapshot() if e.task.pid == child)
        assert (zombie.zombie, zombie.wait_status.raw) == (True, 5 << 8)
        assert zombie.task.parent_key == target.key
        assert watch.of(zombie.task.key, "reap") == []
