"""Events become observations: whose are the target and the sender."""

import dataclasses

import pytest

from sigtrace.attribution import attributor as module
from sigtrace.attribution.attributor import Attributor
from sigtrace.attribution.cgroups import Cgroups
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import WorkloadKind

S = 1_000_000_000
ID = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a"
POD = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e"
ROOT, UNIT, SESSION, KUBE, KUBE_SUB, LAB, BOX, BOX_SUB = 1, 10, 20, 30, 31, 40, 41, 42
PATHS = {
    ROOT: "/",
    UNIT: "/system.slice/nginx.service",
    SESSION: "/user.slice/session-1.scope",
    KUBE: f"/kubepods/burstable/pod{POD}/cri-containerd-{ID}",
    KUBE_SUB: f"/kubepods/burstable/pod{POD}/cri-containerd-{ID}/sub",
    LAB: "/sigtrace-lab",
    BOX: "/sigtrace-lab/box",
    BOX_SUB: "/sigtrace-lab/box/sub",
}


@pytest.fixture
def cgroups(tmp_path):
    cgroups = Cgroups(str(tmp_path))
    cgroups.walk(0)
    cgroups._paths.clear()
    for number, path in PATHS.items():
        cgroups._learn(number, path)
    return cgroups


@pytest.fixture
def attributor(cgroups):
    return Attributor(cgroups, "node1")


def event(cgroup, parent_cgroup=ROOT, at=0, *, init=False, sender=None, kind=Kind.SIGNAL_GENERATE):
    task = Task(5, 5, cgroup_id=cgroup, parent_cgroup_id=parent_cgroup)
    return Event(at, at, kind, task, sender, ns_init=init, container_init=init)


def mkdir(cgroup, parent, name):
    return Event(0, 0, Kind.CGROUP_MKDIR, cgroup_id=cgroup, cgroup_parent_id=parent, cgroup_name=name)


@pytest.mark.parametrize(
    ("cgroup", "kind", "name"),
    [
        (ROOT, WorkloadKind.HOST, None),
        (UNIT, WorkloadKind.UNIT, "nginx.service"),
        (SESSION, WorkloadKind.SESSION, "session-1.scope"),
        (KUBE, WorkloadKind.CONTAINER, None),
        (LAB, WorkloadKind.HOST, None),
        (BOX, WorkloadKind.HOST, None),
    ],
)
def test_a_path_makes_a_workload(attributor, cgroup, kind, name):
    workload = attributor.observe(event(cgroup)).workload
    assert (workload.kind, workload.container_name, workload.node) == (kind, name, "node1")
    assert workload.cgroup_id == cgroup
    assert workload.cgroup == PATHS[cgroup]


def test_a_container_has_its_pod(attributor):
    workload = attributor.observe(event(KUBE)).workload
    assert (workload.runtime, workload.container_id) == ("containerd", ID)
    assert (workload.pod_uid, workload.qos) == (POD, "burstable")


def test_a_cgroup_below_a_container_is_the_container(attributor):
    workload = attributor.observe(event(KUBE_SUB)).workload
    assert (workload.container_id, workload.cgroup) == (ID, PATHS[KUBE])


def test_a_cgroup_below_a_container_has_the_containers_id(attributor):
    assert attributor.observe(event(KUBE_SUB)).workload == attributor.observe(event(KUBE)).workload


def test_sender_and_target_have_a_workload_each(attributor):
    observation = attributor.observe(event(KUBE, sender=Task(9, 9, cgroup_id=UNIT)))
    assert observation.workload.is_container
    assert observation.sender_workload.kind is WorkloadKind.UNIT


def test_what_has_no_task_or_no_cgroup_has_no_workload(attributor):
    lost = Event(0, 0, Kind.LOST)
    assert attributor.observe(lost).workload is None
    observation = attributor.observe(event(0, sender=Task(9, 9)))
    assert (observation.workload, observation.sender_workload) == (None, None)


def test_an_init_that_began_from_outside_makes_a_container_of_its_cgroup(attributor):
    assert attributor.observe(event(BOX)).workload.kind is WorkloadKind.HOST
    observation = attributor.observe(event(BOX, LAB, init=True))
    assert observation.event.container_init
    assert observation.workload.is_container
    assert (observation.workload.cgroup, observation.workload.container_name) == (PATHS[BOX], "box")
    assert attributor.observe(event(BOX)).workload.is_container
    below = attributor.observe(event(BOX_SUB)).workload
    assert (below.cgroup, below.container_name) == (PATHS[BOX], "box")
    assert attributor.observe(event(LAB)).workload.kind is WorkloadKind.HOST


def test_below_a_lab_container_a_cached_workload_is_corrected(attributor):
    attributor.observe(event(BOX_SUB))
    attributor.observe(event(BOX, LAB, init=True))
    assert attributor.observe(event(BOX_SUB)).workload.is_container


def test_an_init_in_the_root_cgroup_makes_no_container_of_the_host(attributor):
    observation = attributor.observe(event(ROOT, UNIT, init=True))
    assert observation.workload.kind is WorkloadKind.HOST


def test_an_init_in_a_known_container_changes_nothing(attributor):
    observation = attributor.observe(event(KUBE, UNIT, init=True))
    assert observation.event.container_init
    assert observation.workload.container_id == ID


def test_an_init_below_its_parents_container_is_nested(attributor):
    observation = attributor.observe(event(KUBE_SUB, KUBE, init=True))
    assert not observation.event.container_init
    assert observation.event.ns_init
    assert observation.workload.container_id == ID


def test_an_init_below_its_parents_lab_container_is_nested_too(attributor):
    attributor.observe(event(BOX, LAB, init=True))
    observation = attributor.observe(event(BOX_SUB, BOX, init=True))
    assert not observation.event.container_init
    assert observation.workload.container_name == "box"


def test_a_container_in_a_container_is_its_own(attributor, cgroups):
    inner = "b" * 64
    cgroups._paths[50] = f"{PATHS[KUBE]}/docker/{inner}"
    observation = attributor.observe(event(50, KUBE, init=True))
    assert observation.event.container_init
    assert observation.workload.container_id == inner


def test_a_cgroup_that_is_made_is_known_and_one_that_is_removed_is_told_once_more(attributor):
    attributor.observe(mkdir(60, UNIT, "child"))
    assert attributor.observe(event(60)).workload.cgroup == "/system.slice/nginx.service/child"
    gone = attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=60))
    assert gone.workload.container_name == "nginx.service"
    assert attributor.observe(event(60)).workload.container_name == "nginx.service"  # a zombie of it


def test_an_id_that_is_used_again_is_looked_up_again(attributor):
    attributor.observe(mkdir(60, UNIT, "old"))
    attributor.observe(event(60))
    attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=60))
    attributor.observe(mkdir(60, ROOT, f"docker-{ID}.scope"))
    assert attributor.observe(event(60)).workload.container_id == ID


def test_a_plain_cgroup_in_the_place_of_a_lab_container_is_none(attributor):
    attributor.observe(event(BOX, LAB, init=True))
    attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=BOX))
    attributor.observe(mkdir(70, LAB, "box"))
    assert attributor.observe(event(70)).workload.kind is WorkloadKind.HOST


def test_a_path_that_was_not_known_yet_is_looked_up_again(attributor, cgroups):
    assert attributor.observe(event(80)).workload.kind is WorkloadKind.HOST
    cgroups._paths[80] = f"/docker/{ID}"
    assert attributor.observe(event(80, at=2 * S)).workload.container_id == ID


def test_the_caches_are_bounded(attributor, cgroups, monkeypatch):
    monkeypatch.setattr(module, "_CACHE_MAX", 100)
    for n in range(1000, 2000):
        cgroups._paths[n] = f"/lab/{n}"
        assert attributor.observe(event(n, ROOT, init=True)).workload.is_container
    assert len(attributor._workloads) <= 100
    assert len(attributor._containers) <= 100


def test_events_are_passed_on_unchanged(attributor):
    one = event(KUBE, sender=Task(9, 9, cgroup_id=UNIT))
    copy = dataclasses.replace(one)
    assert attributor.observe(one).event is one
    assert one == copy
