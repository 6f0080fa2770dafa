"""kernel-signals.md, "SIGTERM from an ancestor namespace": how a process's own masks and handlers meet the signal."""

import os
import signal
from dataclasses import dataclass

import pytest

from sigtrace.model.event import Disposition, Info, Kind, Result

TERM, KILL = signal.SIGTERM, signal.SIGKILL
DFL, IGN, FN = Disposition
DELIVERED, IGNORED = Result.DELIVERED, Result.IGNORED
BIT = 1 << (TERM - 1)

BOTH = ("init", "ordinary")
# What SIGTERM may come to: it is generated and that is all; a handler runs; sigwait or signalfd takes it; the kernel
# ends the process.
NOTHING, HANDLED, TAKEN, FATAL = "nothing", "handled", "taken", "fatal"


@dataclass
class Row:
    title: str
    mode: str
    kinds: tuple
    result: Result
    disposition: Disposition
    end: str
    blocked: bool = False
    pending: bool = False


ROWS = [
    Row("no handler: dropped", "pause", ("init",), IGNORED, DFL, NOTHING),
    Row("no handler: dies", "pause", ("ordinary",), DELIVERED, DFL, FATAL),
    Row("handler: it runs", "handler", BOTH, DELIVERED, FN, HANDLED),
    Row("SIG_IGN: ignored by choice", "ignore", BOTH, IGNORED, IGN, NOTHING),
    Row("blocked at the default: pending", "block", BOTH, DELIVERED, DFL, NOTHING, blocked=True, pending=True),
    Row("blocked, SIG_IGN: pending too", "block-ignore", BOTH, DELIVERED, IGN, NOTHING, blocked=True, pending=True),
    Row("sigwait takes it", "sigwait", BOTH, DELIVERED, DFL, TAKEN, blocked=True),
    Row("sigtimedwait takes it", "sigtimedwait", BOTH, DELIVERED, DFL, TAKEN, blocked=True),
    Row("signalfd takes it", "signalfd", BOTH, DELIVERED, DFL, TAKEN, blocked=True),
]
CASES = [pytest.param(row, kind, id=f"{kind}: {row.title}") for row in ROWS for kind in row.kinds]


@pytest.mark.parametrize(("row", "kind"), CASES)
def test_sigterm_from_outside(run, watch, row, kind):
    with run(kind, row.mode) as target:
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert (generate.result, generate.disposition) == (row.result, row.disposition)
        assert generate.blocked == row.blocked
        assert generate.group
        assert (generate.info, generate.si_code) == (Info.REAL, 0)
        assert generate.sender.pid == os.getpid()
        assert generate.ns_init == generate.container_init == generate.outside == (kind == "init")
        assert generate.task.ns_pid == (1 if kind == "init" else target.pid)
        if row.end == FATAL:
            deliver = watch.first(target.key, "signal_deliver", KILL)
            assert deliver.info is Info.NOINFO
            assert target.wait() == target.exit().wait_status.raw == TERM
        else:
            if row.end in {HANDLED, TAKEN}:
                target.await_output(b"took 15\n")
            target.mark()
        assert [e.disposition for e in watch.delivered(target.key, TERM)] == [FN] * (row.end == HANDLED)
        assert len(watch.generated(target.key, TERM)) == 1
        if row.end != FATAL:
            assert bool(watch.task(target.key).masks.pending & BIT) == row.pending
            assert watch.of(target.key, "exit") == []


@pytest.mark.parametrize("kind", BOTH)
def test_a_process_in_sigwait_says_that_it_waits_for_it(run, watch, kind):
    with run(kind, "sigwait") as target:
        masks = watch.task(target.key).masks
        assert (masks.blocked & BIT, masks.real_blocked & BIT) == (0, BIT)
        target.kill(TERM)
        generate = watch.first(target.key, "signal_generate", TERM)
        assert generate.blocked
        assert generate.waited


def test_blocked_and_later_unblocked_at_the_default_is_a_late_drop_in_an_init(run, watch):
    with run("init", "block") as target:
        target.kill(TERM)
        assert watch.first(target.key, "signal_generate", TERM).result is DELIVERED
        target.go()
        target.await_output(b"unblocked\n")
        deliver = watch.first(target.key, "signal_deliver", TERM)
        assert deliver.disposition is DFL
        target.mark()
        assert not watch.task(target.key).masks.pending & BIT
        assert watch.of(target.key, "exit") == []


def test_blocked_and_later_unblocked_at_the_default_ends_an_ordinary_process(run, watch):
    with run("ordinary", "block") as target:
        target.kill(TERM)
        target.go()
        assert target.wait() == target.exit().wait_status.raw == TERM
        assert [e.disposition for e in watch.delivered(target.key, TERM)] == [DFL]


@pytest.mark.parametrize("kind", BOTH)
def test_a_second_one_that_is_blocked_is_already_pending(run, watch, kind):
    with run(kind, "block") as target:
        target.kill(TERM)
        target.kill(TERM)
        target.mark()
        results = [e.result for e in watch.generated(target.key, TERM)]
        assert results == [DELIVERED, Result.ALREADY_PENDING]


@pytest.mark.parametrize("kind", BOTH)
def test_a_leader_that_blocks_it_is_the_target_though_another_thread_handles_it(run, watch, kind):
    with run(kind, "thread-handler") as target:
        target.kill(TERM)
        target.await_output(b"took 15\n")
        generate = watch.first(target.key, "signal_generate", TERM)
        deliver = watch.first(target.key, "signal_deliver", TERM)
        assert generate.task.tid == target.pid
        assert generate.blocked
        assert (deliver.disposition, deliver.task.pid) == (FN, target.pid)
        assert deliver.task.tid != target.pid


@pytest.mark.parametrize("kind", BOTH)
def test_a_leader_that_blocks_it_does_not_keep_it_from_another_thread_that_has_the_default(run, watch, kind):
    """The leader's mask keeps the kernel from ignoring the signal, and complete_signal then finds a thread that wants
    it, for which it is fatal to the group. With some kernels an init is spared, and that thread drops it: builds of
    6.18.44 do either. What is told says which."""
    with run(kind, "thread-default") as target:
        target.kill(TERM)
        ended = watch.until(lambda: watch.of(target.key, "exit") or watch.delivered(target.key, TERM), "what it met")
        (generate,) = watch.generated(target.key, TERM)
        assert (generate.result, generate.disposition, generate.blocked) == (DELIVERED, DFL, True)
        if kind == "init" and ended[0].kind is Kind.SIGNAL_DELIVER:
            assert not generate.exiting
            assert ended[0].disposition is DFL
            assert ended[0].task.tid != target.pid
            target.mark()
            assert watch.of(target.key, "exit") == []
            return
        assert generate.exiting  # by this signal
        assert target.wait() == target.exit().wait_status.raw == TERM
        assert watch.delivered(target.key, TERM) == []
        assert {e.info for e in watch.delivered(target.key, KILL)} == {Info.NOINFO}


def test_another_thread_that_unblocks_it_later_makes_a_late_drop_in_an_init(run, watch):
    with run("init", "thread-late") as target:
        target.kill(TERM)
        assert watch.first(target.key, "signal_generate", TERM).result is DELIVERED
        target.go()
        deliver = watch.first(target.key, "signal_deliver", TERM)
        assert deliver.disposition is DFL
        assert deliver.task.tid != target.pid
        target.mark()
        assert watch.of(target.key, "exit") == []


def test_another_thread_that_unblocks_it_later_ends_an_ordinary_process(run, watch):
    with run("ordinary", "thread-late") as target:
        target.kill(TERM)
        target.go()
        assert target.wait() == target.exit().wait_status.raw == TERM
        assert [e.disposition for e in watch.delivered(target.key, TERM)] == [DFL]
