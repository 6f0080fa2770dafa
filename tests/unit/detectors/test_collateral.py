"""SIGKILLs that are no kill of their own: teardown, and what a runtime cleans up."""

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model.event import Result
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    DROPPED,
    KILLED,
    MS,
    Container,
    S,
    exited,
    findings,
    named,
    run,
)

BOX = Container()
WORKER = BOX.child(1)


def killed(*steps, until=None):
    """The findings `killed`, and no other than one."""
    (finding,) = findings(*steps, until=until, code="killed")
    return finding


@pytest.mark.parametrize(
    "observation",
    [
        BOX.kill(S, sender=WORKER, **DROPPED),  # from inside: the kernel drops it
        BOX.kill(S, None, teardown=True),
        BOX.kill(S, result=Result.IGNORED),
        BOX.kill(S, result=Result.OVERFLOW),
        BOX.kill(S, leaving=True),
        BOX.teardown(S, WORKER),
        BOX.kill(S, None, task=WORKER, result=Result.IGNORED),
        BOX.parent_died(S, WORKER),
    ],
)
def test_what_ends_nobody_or_was_meant_to_is_no_kill(observation):
    assert not findings(observation, code="killed")


@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_only_containers_have_kills(kind):
    box = Container(kind=kind)
    assert not run(Chain(), box.kill(S), box.kill(2 * S, task=box.child()), box.exit(3 * S, KILLED), until=99 * S)


def test_only_the_first_kill_is_told():
    assert named(findings(BOX.kill(S), BOX.kill(2 * S), BOX.kill(3 * S, BASH))) == ["killed/no-stop-signal"]


@pytest.mark.parametrize("after", [1, 10 * MS, 99 * MS, 300 * MS, 8 * S])
@pytest.mark.parametrize("host_pid", [False, True])
def test_kills_after_the_main_processs_own_are_collateral(after, host_pid):
    box = Container(host_pid=host_pid)
    steps = [box.kill(S), box.kill(S + after, task=box.child(1)), box.kill(S + after + 1, None, task=box.child(2))]
    assert killed(*steps, until=60 * S).subject.key == box.init.key


@pytest.mark.parametrize("after", [1, 10 * MS, 300 * MS, 8 * S, 100 * S])
@pytest.mark.parametrize("status", [exited(0), exited(1), KILLED])
def test_kills_after_the_main_processs_end_are_collateral(after, status):
    box = Container(host_pid=True)
    left = box.child(1, "left")
    steps = [box.exec(1, box.init), box.exit(S, status)]
    assert not findings(*steps, box.kill(S + after, task=left), box.exit(S + after + MS, KILLED, left), code="killed")


def test_who_kills_all_of_them_may_begin_with_any():
    steps = [
        BOX.cgroup_kill(S, task=WORKER),
        BOX.cgroup_kill(S + 30_000),
        BOX.cgroup_kill(S + 60_000, task=BOX.child(2)),
    ]
    assert killed(*steps).subject.key == BOX.init.key


def test_collateral_of_a_container_that_ended_long_ago_is_collateral_on_a_busy_node():
    chain = Chain()
    for n in range(100, 10_200):
        run(chain, Container(n).exit(S, exited(0)), until=S + 500 * MS)
    box = Container(host_pid=True)
    run(chain, box.exec(2 * S, box.init), box.exit(3 * S, exited(0)), until=4 * S)
    run(chain, Container(2).exec(5 * S, Container(2).init), until=5 * S)
    assert not run(chain, box.kill(6 * S, task=box.child()), until=9 * S)


def test_kills_in_a_container_that_was_started_again_in_its_cgroup_count():
    again = Container(life=1)
    old = [BOX.exec(1, BOX.init), BOX.kill(S), BOX.exit(S + MS, KILLED)]
    found = findings(old, again.exec(5 * S, again.init), again.kill(9 * S, BASH), code="killed")
    assert named(found) == ["killed/no-stop-signal", "killed/manual"]
