"""The scope of a shutdown: the pod goes, or only this container."""

import pytest

from sigtrace.model.finding import Shutdown
from sigtrace.model.signals import number
from sigtrace.model.workload import PreStop, PreStopKind, WorkloadKind
from tests.unit.detectors.events import HANDLED, KILLED, MS, RUNC, Chain, Container, S, exited, run, verdict

SIGUSR1 = number("SIGUSR1")
POD = {"pod": "web-1", "namespace": "default", "pod_uid": "6a4ce4a0"}
PAUSE = Container(1, kind=WorkloadKind.SANDBOX, **POD)
WEB = Container(2, **POD)
SIDECAR = Container(3, **POD)
OTHER_POD = Container(4, pod="db-0", namespace="default", pod_uid="11112222")


def up(*boxes):
    return [box.exec(1, box.init) for box in boxes]


def asked(box, at):
    return [box.term(at, **HANDLED), box.deliver(at + 1)]


def stops(box, at, after=10 * MS):
    return [*asked(box, at), box.exit(at + after, exited(0))]


def scope_of(box, *steps, until=10 * S):
    shutdowns = [v for v in run(Chain(), *steps, until=until) if isinstance(v, Shutdown)]
    (told,) = [v for v in shutdowns if v.workload.cgroup_id == box.workload.cgroup_id]
    return told.scope


def test_a_sandbox_that_is_asked_soon_after_says_that_the_pod_goes():
    assert scope_of(WEB, up(PAUSE, WEB), stops(WEB, S), PAUSE.term(S + 100 * MS, RUNC, **HANDLED)) == "pod"


def test_a_sandbox_that_stays_says_that_only_the_container_went():
    assert scope_of(WEB, up(PAUSE, WEB), stops(WEB, S)) == "container"


def test_so_does_a_sibling_that_nobody_has_asked():
    assert scope_of(WEB, up(PAUSE, WEB, SIDECAR), stops(WEB, S)) == "container"


@pytest.mark.parametrize("at", [S - 5 * MS, S + 5 * MS, S + 200 * MS])
def test_siblings_that_are_asked_too_say_that_the_pod_goes_though_it_takes_them_long(at):
    # A sidecar is asked when the others have ended.
    web, slow = stops(WEB, S), asked(SIDECAR, at)
    steps = sorted([*web, *slow], key=lambda o: o.event.time_ns)
    assert scope_of(WEB, up(PAUSE, WEB, SIDECAR), steps) == "pod"


def test_another_pods_containers_say_nothing_of_this_one():
    assert scope_of(WEB, up(PAUSE, WEB, OTHER_POD), asked(OTHER_POD, S - 5 * MS), stops(WEB, S)) == "container"


def test_without_a_sandbox_in_sight_it_is_not_known():
    assert scope_of(WEB, up(WEB), stops(WEB, S)) is None


def test_a_container_without_a_pod_has_no_scope():
    assert scope_of(Container(5), up(Container(5)), stops(Container(5), S)) is None


def test_what_ended_by_itself_says_nothing_of_its_pod():
    assert scope_of(WEB, up(PAUSE, WEB), WEB.exit(S, exited(1))) is None


def test_a_sibling_whose_hook_may_be_at_work_makes_it_unknown():
    """It is asked when its preStop hook is over."""
    hooked = Container(3, **POD, pre_stop=PreStop(PreStopKind.SLEEP, sleep_s=20))
    assert scope_of(WEB, up(PAUSE, WEB, hooked), stops(WEB, S)) is None


def test_a_sandbox_in_place_of_another_begins_anew():
    again = Container(1, life=1, kind=WorkloadKind.SANDBOX, **POD)
    gone = [PAUSE.term(S, RUNC, **HANDLED), PAUSE.exit(S + 1, exited(0))]
    steps = [up(PAUSE), gone, again.exec(2 * S, again.init), WEB.exec(2 * S + 1, WEB.init)]
    assert scope_of(WEB, *steps, stops(WEB, 5 * S), until=20 * S) == "container"


def test_pods_that_come_and_go_are_forgotten():
    chain = Chain()
    for n in range(100):
        at = n * 60 * S
        pause = Container(n + 1, kind=WorkloadKind.SANDBOX, pod="job", namespace="default", pod_uid=f"uid-{n}")
        run(chain, pause.exec(at, pause.init), pause.exit(at + MS, exited(0)), until=at)
    assert len(chain._shutdowns._pods._going) == len(chain._shutdowns._pods._gone) == 61


def test_a_signal_that_asks_nobody_to_end_says_nothing_of_the_pod():
    poke = PAUSE.signal(S - 1, SIGUSR1, RUNC, **HANDLED)
    assert scope_of(WEB, up(PAUSE, WEB), poke, stops(WEB, S)) == "container"


def test_the_story_of_a_pod_waits_for_its_scope_and_its_cause_stays_what_it_was():
    """By then those that were torn down have exited."""
    worker = WEB.child()
    stop = [
        *asked(WEB, S),
        WEB.snapshot(S + 20 * MS, WEB.init, worker),
        WEB.kill(31 * S),
        WEB.exit(31 * S + MS, KILLED),
    ]
    gone = [WEB.teardown(31 * S + 2 * MS, worker), WEB.exit(31 * S + 3 * MS, KILLED, worker)]
    assert verdict(up(PAUSE, WEB), stop, gone, until=40 * S) == ("escalated", "not-forwarded")
