"""kernel-signals.md, "SIGTERM from an ancestor namespace": a target that is stopped, frozen or traced."""

import contextlib
import os
import signal
import subprocess

import pytest

from sigtrace.model.event import Disposition, Info, Result
from tests.kernel.targets import Cgroup, hierarchy

TERM, KILL, STOP, CONT = signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
DFL, IGN, FN = Disposition
DELIVERED, IGNORED = Result.DELIVERED, Result.IGNORED
BIT = 1 << (TERM - 1)
V2 = hierarchy("cgroup2")
V1 = hierarchy("freezer")

needs_v1 = pytest.mark.skipif(V1 is None and V2 is not None, reason="a pure v2 host has no v1 freezer")
FREEZERS = [pytest.param("v1", marks=needs_v1), "v2"]


class Frozen:
    """Freezes a target in a cgroup of its own, in the v1 freezer or in v2."""

    def __init__(self, watch, target, version) -> None:
        self.watch = watch
        self.cgroup = Cgroup(V1 if version == "v1" else V2)
        self.target = target
        self.version = version

    def __enter__(self):
        self.cgroup.__enter__()
        try:
            self.cgroup.add(self.target.pid)
            self._set(frozen=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_frozen(self):
        if self.version == "v1":
            return self.cgroup.read("freezer.state") == "FROZEN\n"
        return "frozen 1\n" in self.cgroup.read("cgroup.events")

    def _set(self, *, frozen):
        if self.version == "v1":
            self.cgroup.write("freezer.state", "FROZEN" if frozen else "THAWED")
        else:
            self.cgroup.write("cgroup.freeze", "1" if frozen else "0")
        self.watch.until(lambda: self.is_frozen() == frozen, f"frozen {frozen}")

    def thaw(self):
        self._set(frozen=False)

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.thaw()
        self.cgroup.__exit__()


@contextlib.contextmanager
def tracing(watch, program, target):
    """A tracer that hands every signal on, as strace -p does."""
    tracer = subprocess.Popen([program, "tracer", str(target.pid)], stdout=subprocess.PIPE)
    try:
        assert tracer.stdout.readline() == b"ready\n"
        yield
    finally:
        tracer.kill()
        tracer.wait()
        tracer.stdout.close()


def pending(watch, target):
    return bool(watch.task(target.key).masks.pending & BIT)


# ---- stopped


def stop(target):
    target.kill(STOP)
    target.await_state("T")


def test_an_init_without_a_handler_drops_it_while_stopped(run, watch):
    with run("init", "pause") as target:
        stop(target)
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.stopped) == (IGNORED, DFL, True)
        assert not pending(watch, target)
        target.kill(CONT)
        target.mark()
        assert watch.delivered(target.key, TERM) == []


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_a_stopped_process_with_a_handler_keeps_it_until_sigcont(run, watch, kind):
    with run(kind, "handler") as target:
        stop(target)
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.stopped) == (DELIVERED, FN, True)
        assert pending(watch, target)
        assert target.state() == "T"
        assert watch.delivered(target.key, TERM) == []
        target.kill(CONT)
        target.await_output(b"took 15\n")
        assert [e.disposition for e in watch.delivered(target.key, TERM)] == [FN]


def test_a_stopped_ordinary_process_keeps_it_even_at_the_default_and_dies_at_sigcont(run, watch):
    with run("ordinary", "pause") as target:
        stop(target)
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.stopped) == (DELIVERED, DFL, True)
        assert pending(watch, target)
        assert target.state() == "T"
        target.kill(CONT)
        assert target.wait() == target.exit().wait_status.raw == TERM


# ---- frozen


@pytest.mark.parametrize("version", FREEZERS)
def test_an_init_without_a_handler_drops_it_while_frozen(run, watch, version):
    with run("init", "pause") as target, Frozen(watch, target, version) as freezer:
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.frozen) == (IGNORED, DFL, True)
        assert not pending(watch, target)
        freezer.thaw()
        target.mark()
        assert watch.delivered(target.key, TERM) == []


@pytest.mark.parametrize("version", FREEZERS)
@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_a_frozen_process_with_a_handler_keeps_it_until_the_thaw(run, watch, kind, version):
    with run(kind, "handler") as target, Frozen(watch, target, version) as freezer:
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.frozen) == (DELIVERED, FN, True)
        assert pending(watch, target)
        assert freezer.is_frozen()
        assert watch.delivered(target.key, TERM) == []
        freezer.thaw()
        target.await_output(b"took 15\n")
        assert [e.disposition for e in watch.delivered(target.key, TERM)] == [FN]


@needs_v1
def test_an_ordinary_process_that_v1_has_frozen_dies_of_it_at_the_thaw(run, watch):
    with run("ordinary", "pause") as target, Frozen(watch, target, "v1") as freezer:
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.frozen) == (DELIVERED, DFL, True)
        assert watch.task(target.key).zombie is False
        assert watch.of(target.key, "exit") == []
        assert freezer.is_frozen()
        freezer.thaw()
        assert target.wait() == target.exit().wait_status.raw == TERM


def test_an_ordinary_process_that_v2_has_frozen_dies_of_it_frozen(run, watch):
    with run("ordinary", "pause") as target, Frozen(watch, target, "v2") as freezer:
        target.kill(TERM)
        assert watch.first(target.key, "signal_generate", TERM).frozen
        assert target.wait() == target.exit().wait_status.raw == TERM
        assert freezer.cgroup.read("cgroup.freeze") == "1\n"


@needs_v1
@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_sigkill_of_what_v1_has_frozen_waits_for_the_thaw(run, watch, kind):
    with run(kind, "pause") as target, Frozen(watch, target, "v1") as freezer:
        target.kill(KILL)
        generate = watch.first(target.key, "signal_generate", KILL)
        assert (generate.result, generate.frozen) == (DELIVERED, True)
        assert watch.task(target.key).masks.pending & 1 << (KILL - 1)
        assert freezer.is_frozen()
        assert watch.of(target.key, "exit") == []
        freezer.thaw()
        assert target.wait() == target.exit().wait_status.raw == KILL


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_sigkill_of_what_v2_has_frozen_works(run, watch, kind):
    with run(kind, "pause") as target, Frozen(watch, target, "v2") as freezer:
        target.kill(KILL)
        assert watch.first(target.key, "signal_generate", KILL).frozen
        assert target.wait() == target.exit().wait_status.raw == KILL
        assert freezer.cgroup.read("cgroup.freeze") == "1\n"


# ---- traced


def test_a_traced_init_without_a_handler_is_told_delivered_and_lives(run, watch, program):
    """A tracer changes the result it measures."""
    with run("init", "pause") as target, tracing(watch, program, target):
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition, generate.ptraced) == (DELIVERED, DFL, True)
        deliver = watch.first(target.key, "signal_deliver", TERM)
        assert deliver.disposition is DFL
        target.mark()
        assert watch.of(target.key, "exit") == []


def test_a_traced_ordinary_process_gets_it_itself_and_dies(run, watch, program):
    with run("ordinary", "pause") as target, tracing(watch, program, target):
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.ptraced) == (DELIVERED, True)
        deliver = watch.first(target.key, "signal_deliver")
        assert (deliver.signo, deliver.disposition, deliver.info) == (TERM, DFL, Info.REAL)
        assert target.exit().wait_status.raw == TERM
        # To the tracer first; then to us, its parent.
        watch.until(lambda: os.waitid(os.P_PID, target.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), "the tracer's wait")
