"""killed/oom: the OOM killer's marks, and whose they are."""

import dataclasses

import pytest

from sigtrace.model.causes import Severity
from sigtrace.model.finding import Certainty, Mechanism, SenderRole
from sigtrace.model.workload import OomScope
from tests.unit.detectors.events import (
    KILLED,
    MS,
    Container,
    S,
    findings,
)

BOX = Container()
WORKER = BOX.child(1)


def killed(*steps, until=None):
    """The findings `killed`, and no other than one."""
    (finding,) = findings(*steps, until=until, code="killed")
    return finding


def test_a_kill_by_the_kernel_waits_for_the_mark_of_the_oom_killer():
    kill = BOX.kill(S, None)
    assert not findings(kill, until=S + 99 * MS)
    finding = killed(kill, BOX.oom(S + 40_000))
    assert (finding.cause, finding.mechanism, finding.severity) == ("oom", Mechanism.OOM, Severity.ERROR)
    assert (finding.certainty, finding.sender_role) == (Certainty.OBSERVED, SenderRole.KERNEL)
    assert len(finding.evidence) == 2


def test_without_a_mark_it_was_not_the_oom_killer():
    finding = killed(BOX.kill(S, None))
    assert (finding.cause, finding.mechanism) == ("unknown", Mechanism.KILL)
    assert finding.message == "the kernel sent SIGKILL; not the OOM killer"


@pytest.mark.parametrize(
    "mark",
    [
        Container(2).oom(S + 40_000),
        BOX.oom(S + 40_000, WORKER),
        BOX.oom(S + 150 * MS),
        BOX.oom(S - 1),
        Container(life=1).oom(S + 40_000),
    ],
)
def test_a_mark_of_another_process_or_of_another_time_is_not_this_ones(mark):
    steps = sorted([BOX.kill(S, None), mark], key=lambda o: o.event.time_ns)
    assert killed(*steps).cause == "unknown"


@pytest.mark.parametrize("scope", [*OomScope, None])
def test_a_child_that_the_oom_killer_took_says_whose_limit_and_that_the_main_process_lives(scope):
    finding = killed(BOX.kill(S, None, task=WORKER), BOX.oom(S + 40_000, WORKER, scope=scope))
    assert (finding.cause, finding.subject.key) == ("oom", WORKER.key)
    assert finding.message.startswith("the OOM killer chose worker (pid 2)")
    assert finding.message.endswith("the main process was not chosen")
    words = {OomScope.CONTAINER: "its container was at", OomScope.POD: "its pod was at", OomScope.NODE: "the node"}
    assert words.get(scope, "worker") in finding.message


def test_of_a_group_the_first_victim_stands_for_all_that_went_without_the_main_process():
    others = [BOX.child(k) for k in range(1, 5)]
    steps = [
        o
        for i, task in enumerate(others)
        for o in (BOX.kill(S + i * 100_000, None, task=task), BOX.oom(S + i * 100_000 + 40_000, task, group=True))
    ]
    assert killed(*steps).subject.key == others[0].key


def test_of_a_group_the_main_process_stands_for_all():
    steps = [
        BOX.kill(S, None, task=WORKER),
        BOX.oom(S + 40_000, WORKER, group=True),
        BOX.kill(S + 60_000, None),
        BOX.oom(S + 90_000, group=True),
    ]
    assert killed(*steps).subject.key == BOX.init.key


def test_a_process_that_shares_the_victims_memory_is_collateral():
    twin = BOX.child(2)
    steps = [BOX.kill(S, None, task=WORKER), BOX.oom(S + 40_000, WORKER), BOX.kill(S + 60_000, None, task=twin)]
    assert killed(*steps).subject.key == WORKER.key


def test_a_mark_that_knows_only_a_thread_is_enough():
    mark = BOX.oom(S + 40_000)
    bare = dataclasses.replace(mark.event.task, pid=0, start_ns=0, comm="", pidns=0, cgroup_id=0)
    event = dataclasses.replace(mark.event, task=bare, ns_init=False, container_init=False)
    assert killed(BOX.kill(S, None), dataclasses.replace(mark, event=event, workload=None, main=False)).cause == "oom"


@pytest.mark.parametrize("task", [BOX.init, WORKER])
def test_the_exit_may_come_before_the_mark(task):
    steps = [BOX.exec(1, BOX.init), BOX.kill(S, None, task=task), BOX.exit(S + 20_000, KILLED, task)]
    assert killed(*steps, BOX.oom(S + 40_000, task)).cause == "oom"
