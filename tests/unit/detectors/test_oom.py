"""The outcome `oom`, and statuses that a main process passed on."""

import pytest

from sigtrace.model import signals
from sigtrace.model.finding import Ended
from sigtrace.model.workload import OomScope
from tests.unit.detectors.events import (
    BASH,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    SEGFAULT,
    TAKEN,
    Container,
    S,
    exited,
    killed_by,
    named,
    shutdown_of,
    story,
    verdict,
)

BOX = Container()
HOST = Container(2, host_pid=True)
TERM = killed_by(signals.SIGTERM)
ABORTED = killed_by(signals.SIGABRT | 0x80)


# ---- OOM


def test_the_oom_killer_comes_before_everything():
    shutdown = shutdown_of(BOX.term(S, **DROPPED), BOX.kill(2 * S, None), BOX.oom(2 * S + 1), BOX.exit(3 * S, KILLED))
    assert (shutdown.outcome, shutdown.cause) == ("oom", "main-process")
    assert shutdown.processes[0].ended is Ended.OOM


@pytest.mark.parametrize("scope", [*OomScope, None])
def test_an_oom_says_whose_limit_it_was(scope):
    steps = [BOX.kill(S, None), BOX.oom(S + 1, scope=scope), BOX.exit(2 * S, KILLED)]
    assert shutdown_of(*steps).oom_scope == scope


def oom_group(order, *, main_exits_first=False):
    """memory.oom.group takes all of a container, one after the other."""
    worker = BOX.child()
    tasks = [worker, BOX.init] if order == "worker first" else [BOX.init, worker]
    steps = [BOX.exec(1, BOX.init), BOX.exec(2, worker)]
    for i, task in enumerate(tasks):
        at = S + i * 100_000
        steps += [BOX.kill(at, None, task=task), BOX.oom(at + 40_000, task, group=True, scope=OomScope.CONTAINER)]
        if main_exits_first and task is BOX.init:
            steps.append(BOX.exit(at + 50_000, KILLED))
    if not main_exits_first:
        steps.append(BOX.exit(S + MS, KILLED))
    return [*steps, BOX.exit(S + 2 * MS, KILLED, worker)], tasks[0]


@pytest.mark.parametrize("order", ["worker first", "main first"])
@pytest.mark.parametrize("main_exits_first", [False, True])
def test_a_group_that_goes_together_is_one_oom_and_its_first_victim_is_named(order, main_exits_first):
    steps, first = oom_group(order, main_exits_first=main_exits_first)
    shutdown, findings = story(*steps)
    assert (shutdown.outcome, shutdown.cause) == ("oom", "group")
    assert shutdown.first_victim.key == first.key
    assert named(findings) == ["killed/oom"]
    assert [p.ended for p in shutdown.processes] == [Ended.OOM, Ended.OOM]


def test_oom_group_with_only_the_main_process_is_no_group():
    steps = [BOX.kill(S, None), BOX.oom(S + 1, group=True), BOX.exit(2 * S, KILLED)]
    assert verdict(*steps) == ("oom", "main-process")


def test_an_oom_of_an_hour_ago_has_no_part_in_this_one():
    worker = BOX.child()
    before = [BOX.exec(1, BOX.init), BOX.exec(2, worker), BOX.kill(S, None, task=worker), BOX.oom(S + 40_000, worker)]
    now = [BOX.kill(3600 * S, None), BOX.oom(3600 * S + 40_000, group=True), BOX.exit(3600 * S + MS, KILLED)]
    shutdown = shutdown_of(before, BOX.exit(S + MS, KILLED, worker), now)
    assert (shutdown.outcome, shutdown.cause) == ("oom", "main-process")
    assert shutdown.first_victim.key == BOX.init.key


# ---- relayed statuses


def child_dies(at, status, *before):
    return [*before, BOX.exit(at, status, BOX.child(comm="java"))]


def test_137_by_exit_after_the_oom_killer_took_a_child_is_an_oom_that_was_passed_on():
    worker = BOX.child(comm="java")
    oom = [BOX.exec(1, worker), BOX.kill(S, None, task=worker), BOX.oom(S + 40_000, worker, scope=OomScope.CONTAINER)]
    shutdown, findings = story(
        BOX.exec(1, BOX.init), child_dies(S + MS, KILLED, *oom), BOX.exit(S + 3 * MS, exited(137))
    )
    assert (shutdown.outcome, shutdown.cause) == ("oom", "relayed")
    assert (shutdown.origin.key, shutdown.oom_scope) == (worker.key, OomScope.CONTAINER)
    assert named(findings) == ["killed/oom"]
    assert shutdown.processes[0].ended is Ended.EXITED


def test_137_by_exit_after_somebody_killed_a_child_is_a_crash_that_was_passed_on():
    worker = BOX.child(comm="java")
    steps = [BOX.exec(1, BOX.init), BOX.exec(1, worker), BOX.kill(S, BASH, task=worker)]
    shutdown, findings = story(child_dies(S + MS, KILLED, *steps), BOX.exit(S + 3 * MS, exited(137)))
    assert (shutdown.outcome, shutdown.cause) == ("crashed", "relayed")
    assert shutdown.origin.key == worker.key
    assert named(findings) == ["killed/manual", "crashed/relayed"]
    assert findings[1].origin.key == worker.key


def test_139_by_exit_after_a_child_crashed_is_passed_on_and_told_once():
    shutdown, findings = story(child_dies(S, SEGFAULT, BOX.exec(1, BOX.init)), BOX.exit(S + MS, exited(139)))
    assert (shutdown.outcome, shutdown.cause) == ("crashed", "relayed")
    assert named(findings) == ["crashed/relayed"]


@pytest.mark.parametrize(
    ("status", "after"),
    [(exited(139), 3 * S), (exited(137), MS), (exited(1), MS)],
    ids=["long after it", "of another signal", "of none"],
)
def test_a_status_that_is_not_the_childs_is_the_main_processes_own(status, after):
    steps = [BOX.exec(1, BOX.init), child_dies(S, SEGFAULT), BOX.exit(S + after, status)]
    assert verdict(steps) == ("crashed", "exit-status")


def test_137_by_signal_is_a_kill_and_no_relay():
    steps = [BOX.exec(1, BOX.init), child_dies(S, KILLED), BOX.kill(S + MS, BASH), BOX.exit(S + 2 * MS, KILLED)]
    assert verdict(steps) == ("killed", "manual")


@pytest.mark.parametrize(
    ("disposition", "outcome"), [(BY_DEFAULT, ("terminated", "no-handler")), (HANDLED, ("graceful", None))]
)
@pytest.mark.parametrize("main", [TAKEN, HANDLED], ids=["tini", "dumb-init"])
def test_143_of_a_forwarder_is_graceful_if_its_child_had_a_handler(main, disposition, outcome):
    worker = BOX.child(comm="app")
    steps = [
        BOX.exec(1, BOX.init),
        BOX.term(S, **main),
        BOX.term(S + MS, BOX.init, task=worker, **disposition),
        BOX.exit(S + 2 * MS, TERM, worker),
        BOX.exit(S + 3 * MS, exited(143)),
    ]
    assert verdict(steps) == outcome


def test_an_abort_of_pid_1_is_an_abort_though_it_ends_with_139():
    aborts = [BOX.signal(S + i, signals.SIGABRT, BOX.init, **DROPPED) for i in range(2)]
    shutdown, findings = story(BOX.exec(1, BOX.init), aborts, BOX.fault(S + 3), BOX.exit(S + MS, SEGFAULT))
    assert (shutdown.outcome, shutdown.cause) == ("crashed", "abort-as-pid1")
    assert named(findings) == ["crashed/abort-as-pid1"]


def test_an_abort_in_a_host_pid_namespace_is_an_ordinary_one():
    aborts = [HOST.signal(S + i, signals.SIGABRT, HOST.init) for i in range(2)]
    assert verdict(HOST.exec(1, HOST.init), aborts, HOST.exit(S + MS, ABORTED)) == ("crashed", "fatal-signal")
