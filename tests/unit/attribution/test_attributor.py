"""Events become observations: whose are the target and the sender."""

import dataclasses

import pytest

from sigtrace.attribution import attributor as module
from sigtrace.attribution import inits
from sigtrace.attribution.attributor import Attributor
from sigtrace.attribution.cgroups import Cgroups
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import OomScope, WorkloadKind

S = 1_000_000_000
ID = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a"
OTHER_ID = "e" * 64
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


@pytest.mark.parametrize("later", [Kind.EXEC, Kind.SIGNAL_GENERATE, Kind.TASK, Kind.EXIT])
def test_a_sandbox_that_an_outsider_adopts_makes_no_container_of_its_unit(attributor, later):
    started = dataclasses.replace(event(UNIT, UNIT, kind=Kind.EXEC), ns_init=True)
    assert not attributor.observe(started).main
    adopted = attributor.observe(event(UNIT, ROOT, init=True, kind=later))
    assert not adopted.event.container_init
    assert not adopted.main
    assert adopted.workload.kind is WorkloadKind.UNIT


def test_what_comes_and_goes_deep_below_a_container_takes_nothing_from_it(attributor):
    attributor.observe(event(BOX, LAB, init=True, kind=Kind.EXEC))
    parent = BOX
    for n in range(1000, 1010):
        attributor.observe(mkdir(n, parent, "n" * 250))
        parent = n
    deep = attributor.observe(event(1009, 1009))
    assert deep.workload.cgroup_id == BOX
    attributor.observe(Event(1, 1, Kind.CGROUP_RMDIR, cgroup_id=1009))
    attributor.observe(mkdir(1010, 1008, "x"))
    assert attributor.observe(event(1010, 1010)).workload.cgroup_id == BOX
    assert attributor.observe(event(BOX, LAB)).workload.kind is WorkloadKind.CONTAINER


def test_a_runtimes_stage_that_leaves_its_own_cgroup_begins_a_container(attributor):
    stage = dataclasses.replace(event(LAB, LAB, kind=Kind.EXEC), ns_init=True)
    assert not attributor.observe(stage).main
    entered = attributor.observe(event(BOX, LAB, init=True, kind=Kind.EXEC))
    assert entered.main
    assert entered.workload.kind is WorkloadKind.CONTAINER


def test_an_init_below_its_parents_lab_container_is_nested_too(attributor):
    attributor.observe(event(BOX, LAB, init=True))
    inner = dataclasses.replace(
        event(BOX_SUB, BOX, init=True), task=Task(6, 6, cgroup_id=BOX_SUB, parent_cgroup_id=BOX)
    )
    observation = attributor.observe(inner)
    assert not observation.event.container_init
    assert observation.workload.container_name == "box"
    # Its parent dies, and whoever adopts it lives outside: it stays what it was.
    adopted = dataclasses.replace(inner, task=dataclasses.replace(inner.task, parent_cgroup_id=LAB))
    assert not attributor.observe(adopted).event.container_init


def test_a_container_in_a_container_is_its_own_by_its_cgroup_for_anybody_in_there_can_invent_an_id(attributor, cgroups):
    inner = "b" * 64
    cgroups._paths[50] = f"{PATHS[KUBE]}/docker/{inner}"
    observation = attributor.observe(event(50, KUBE, init=True))
    assert observation.event.container_init
    workload = observation.workload
    assert workload.is_container
    assert (workload.container_id, workload.runtime, workload.pod_uid) == (None, None, None)
    assert (workload.container_name, workload.cgroup) == (inner, cgroups._paths[50])


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
    attributor.observe(mkdir(60, ROOT, f"docker-{OTHER_ID}.scope"))
    assert attributor.observe(event(60)).workload.container_id == OTHER_ID


def test_a_plain_cgroup_in_the_place_of_a_lab_container_is_none(attributor):
    attributor.observe(event(BOX, LAB, init=True))
    attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=BOX))
    attributor.observe(mkdir(70, LAB, "box"))
    assert attributor.observe(event(70)).workload.kind is WorkloadKind.HOST


def test_a_path_that_was_not_known_yet_is_looked_up_again(attributor, cgroups):
    assert attributor.observe(event(80)).workload.kind is WorkloadKind.HOST
    cgroups._paths[80] = f"/docker/{OTHER_ID}"
    assert attributor.observe(event(80, at=2 * S)).workload.container_id == OTHER_ID


def test_an_id_belongs_to_the_oldest_cgroup_that_is_named_for_it(attributor):
    attributor.observe(mkdir(61, SESSION, f"cri-containerd-{ID}.scope"))
    attributor.observe(mkdir(62, SESSION, f"docker-{OTHER_ID}.scope"))
    copy, real, other = (attributor.observe(event(cgroup)).workload for cgroup in (61, KUBE, 62))
    assert (copy.kind, copy.container_id, copy.container_name) == (
        WorkloadKind.CONTAINER,
        None,
        f"cri-containerd-{ID}.scope",
    )
    assert (real.container_id, other.container_id) == (ID, OTHER_ID)
    assert attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=61)).workload == copy


def test_however_many_are_named_for_a_container_the_oldest_is_believed_in_any_order(tmp_path):
    cgroups = Cgroups(str(tmp_path))
    for number in (*range(500, 540), 20, *range(400, 440)):
        cgroups._learn(number, f"/users/{number}/docker-{ID}")
    assert cgroups.place_of(ID) == f"/users/20/docker-{ID}"


def test_a_container_that_is_started_again_in_its_place_keeps_its_id(attributor):
    attributor.observe(mkdir(63, ROOT, f"docker-{OTHER_ID}.scope"))
    attributor.observe(event(63))
    attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=63))
    attributor.observe(mkdir(64, ROOT, f"docker-{OTHER_ID}.scope"))
    assert attributor.observe(event(64)).workload.container_id == OTHER_ID


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


# ---- the main process


def seen(kind, pid, cgroup, *, entered=True, init=False, comm="app", argv=("app",), ns_pid=0):
    parent_cgroup = UNIT if entered else cgroup
    task = Task(pid, pid, comm, ns_pid=1 if init else ns_pid or pid, cgroup_id=cgroup, parent_cgroup_id=parent_cgroup)
    return Event(
        0, 0, kind, dataclasses.replace(task, argv=argv), ns_init=init, container_init=init, cgroup_entered=entered
    )


def test_an_init_is_the_main_process_and_the_source_need_not_watch_it(cgroups):
    watched = []
    attributor = Attributor(cgroups, on_main=lambda pid, start: watched.append((pid, start)))
    assert attributor.observe(seen(Kind.EXEC, 100, KUBE, init=True)).main
    assert not attributor.observe(seen(Kind.EXEC, 101, KUBE)).main
    assert watched == []


def test_in_a_host_pid_namespace_the_first_that_enters_is_and_the_source_watches_it(cgroups):
    watched = []
    attributor = Attributor(cgroups, on_main=lambda pid, start: watched.append((pid, start)))
    stage = seen(Kind.EXEC, 100, KUBE, comm="runc:[2:INIT]")
    steps = [stage, seen(Kind.EXEC, 100, KUBE), seen(Kind.EXEC, 101, KUBE), seen(Kind.EXEC, 102, KUBE, entered=False)]
    assert [attributor.observe(one).main for one in steps] == [False, True, False, False]
    assert watched == [(100, 100)]


def test_a_process_in_a_cgroup_below_is_of_the_same_container(attributor):
    assert attributor.observe(seen(Kind.EXEC, 100, KUBE, init=True)).main
    assert not attributor.observe(seen(Kind.EXEC, 101, KUBE_SUB)).main


@pytest.mark.parametrize("cgroup", [ROOT, UNIT, SESSION, LAB])
def test_what_is_no_container_has_none(cgroups, cgroup):
    watched = []
    attributor = Attributor(cgroups, on_main=lambda pid, start: watched.append(pid))
    assert not attributor.observe(seen(Kind.EXEC, 100, cgroup)).main
    assert watched == []


def test_a_cgroup_that_is_made_again_has_another(attributor, cgroups):
    assert attributor.observe(seen(Kind.EXEC, 100, KUBE)).main
    attributor.observe(mkdir(KUBE, ROOT, f"docker-{ID}.scope"))
    assert attributor.observe(seen(Kind.EXEC, 200, KUBE)).main


def test_a_nested_init_is_not(attributor):
    assert attributor.observe(seen(Kind.EXEC, 100, KUBE, init=True)).main
    nested = event(KUBE_SUB, KUBE, init=True)
    assert not attributor.observe(nested).main


# ---- sandboxes


@pytest.mark.parametrize(
    ("cgroup", "comm", "kind"),
    [
        (KUBE, "pause", WorkloadKind.SANDBOX),
        (KUBE, "app", WorkloadKind.CONTAINER),
        (BOX, "pause", WorkloadKind.CONTAINER),  # in no pod
    ],
)
def test_a_pods_pause_container_is_a_sandbox(attributor, cgroup, comm, kind):
    observation = attributor.observe(seen(Kind.EXEC, 100, cgroup, init=True, comm=comm))
    assert observation.workload.kind is kind
    assert attributor.observe(event(cgroup)).workload.kind is kind


def test_a_process_called_pause_in_a_container_makes_no_sandbox_of_it(attributor):
    attributor.observe(seen(Kind.EXEC, 100, KUBE, init=True))
    assert attributor.observe(seen(Kind.EXEC, 101, KUBE, comm="pause")).workload.is_container


# ---- details, limits


class Names:
    """A runtime: what it knows now, and what it was told."""

    def __init__(self, knows):
        self.knows = knows
        self.told = []

    def get(self, workload):
        return self.knows(workload)

    def pending(self, container_id):
        return container_id in getattr(self, "asked_for", ())

    def prefetch(self, container_id, runtime=None):
        self.told.append(("began", container_id, runtime))

    def gone(self, container_id):
        self.told.append(("gone", container_id))


def test_names_that_come_later_are_in_later_events(cgroups):
    known = {}
    attributor = Attributor(cgroups, names=Names(lambda w: dataclasses.replace(w, **known)))
    assert attributor.observe(event(KUBE)).workload.pod is None
    known.update(pod="api-1", grace_limit_s=30.0)
    workload = attributor.observe(event(KUBE)).workload
    assert (workload.pod, workload.grace_limit_s, workload.title) == ("api-1", 30.0, f"?/api-1 · {ID[:12]}")


def test_a_runtime_is_given_the_same_workload_each_time_and_asked_of_containers_alone(cgroups):
    given = []
    attributor = Attributor(cgroups, names=Names(lambda w: given.append(w) or w))
    for _ in range(5):
        attributor.observe(event(KUBE, UNIT, init=True))
    assert {w.container_id for w in given} == {ID}
    assert len({id(w) for w in given}) == 1, "what it merged can be kept by identity"
    attributor.observe(event(UNIT))
    assert {w.container_id for w in given} == {ID}


def test_a_runtime_hears_of_a_containers_cgroup_and_of_its_end(cgroups):
    names = Names(lambda w: w)
    attributor = Attributor(cgroups, names=names)
    other = "c" * 64
    for number, name, parent in ((900, f"docker-{other}.scope", 1), (901, "init", 900), (902, "x.service", 1)):
        made = Event(5, 5, Kind.CGROUP_MKDIR, cgroup_id=number, cgroup_parent_id=parent, cgroup_name=name)
        attributor.observe(made)
    assert names.told == [("began", other, "docker")]
    attributor.observe(event(901))
    attributor.observe(event(900))
    for number in (901, 900, 902):
        attributor.observe(Event(6, 6, Kind.CGROUP_RMDIR, cgroup_id=number))
    assert names.told[1:] == [("gone", other)]


def test_of_what_went_before_us_somebody_is_told(cgroups):
    """And of nothing else: neither of who lives, nor of what happens since we are here."""
    told = []
    attributor = Attributor(cgroups, on_gone=told.append)
    cgroups.since_ns = 100
    cgroups.removed(KUBE)
    for cgroup, at in ((UNIT, 50), (KUBE, 101), (KUBE_SUB, 50), (KUBE, 51)):
        attributor.observe(event(cgroup, at=at))
    assert told == [KUBE, KUBE]  # the container's own, also for what lies below


def test_a_container_that_is_there_again_is_not_gone(cgroups):
    """Its old cgroup is told as removed up to a second after its new one was made."""
    names = Names(lambda w: w)
    attributor = Attributor(cgroups, names=names)
    other = "c" * 64
    for number in (900, 901):
        made = Event(
            number, 0, Kind.CGROUP_MKDIR, cgroup_id=number, cgroup_parent_id=1, cgroup_name=f"docker-{other}.scope"
        )
        attributor.observe(made)
        attributor.observe(event(number))
    attributor.observe(Event(902, 0, Kind.CGROUP_RMDIR, cgroup_id=900))
    assert names.told == [("began", other, "docker")] * 2
    attributor.observe(Event(903, 0, Kind.CGROUP_RMDIR, cgroup_id=901))
    assert names.told[2:] == [("gone", other)]


@pytest.mark.parametrize(
    ("cgroup", "levels", "scope"),
    [
        (KUBE, None, OomScope.NODE),
        (KUBE, 0, OomScope.CONTAINER),
        (KUBE, 1, OomScope.POD),
        (KUBE, 2, OomScope.NODE),
        (KUBE, 99, OomScope.NODE),
        (KUBE_SUB, 0, OomScope.CONTAINER),
        (KUBE_SUB, 1, OomScope.CONTAINER),
        (KUBE_SUB, 2, OomScope.POD),
        (KUBE, -1, None),
        (UNIT, None, OomScope.NODE),
        (0, 0, None),
    ],
)
def test_an_oom_kill_says_whose_limit_it_was(attributor, cgroup, levels, scope):
    one = dataclasses.replace(event(cgroup, kind=Kind.OOM_KILL), oom_levels=levels)
    assert attributor.observe(one).oom_scope is scope


def test_a_zombies_container_has_its_limit_of_processes(attributor, tmp_path):
    folder = tmp_path / PATHS[KUBE][1:]
    folder.mkdir(parents=True)
    (folder / "pids.max").write_text("512\n", encoding="ascii")
    one = dataclasses.replace(event(KUBE, kind=Kind.TASK), zombie=True)
    assert attributor.observe(one).workload.pids_max == 512
    (folder / "pids.max").write_text("max\n", encoding="ascii")
    later = dataclasses.replace(one, time_ns=20 * S)
    assert attributor.observe(later).workload.pids_max is None


def test_the_source_is_told_of_a_main_process_when_it_begins_and_not_with_each_signal(cgroups):
    watched = []
    attributor = Attributor(cgroups, on_main=lambda pid, start: watched.append(pid))
    for kind in (Kind.EXEC, Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT):
        assert attributor.observe(seen(kind, 100, KUBE)).main
    assert watched == [100]


@pytest.mark.parametrize(
    ("sender_cgroup", "outside"), [(UNIT, True), (ROOT, True), (KUBE, False), (KUBE_SUB, False), (0, True)]
)
def test_in_a_shared_pid_namespace_the_containers_tell_who_is_outside(attributor, sender_cgroup, outside):
    """Also before the source knew whom to watch."""
    attributor.observe(seen(Kind.EXEC, 100, KUBE))
    one = dataclasses.replace(seen(Kind.SIGNAL_GENERATE, 100, KUBE), sender=Task(9, 9, cgroup_id=sender_cgroup))
    assert attributor.observe(one).event.outside is outside


def test_of_an_init_and_of_other_processes_the_kernels_word_stands(attributor):
    sender = Task(9, 9, cgroup_id=UNIT)
    attributor.observe(seen(Kind.EXEC, 100, KUBE, init=True))
    init = dataclasses.replace(seen(Kind.SIGNAL_GENERATE, 100, KUBE, init=True), sender=sender)
    child = dataclasses.replace(seen(Kind.SIGNAL_GENERATE, 101, KUBE, entered=False), sender=sender)
    assert not attributor.observe(init).event.outside
    assert not attributor.observe(child).event.outside
    assert not attributor.observe(seen(Kind.SIGNAL_GENERATE, 100, KUBE, init=True)).event.outside


def test_a_stop_signal_that_a_container_declares_is_told_to_the_source(cgroups):
    told = []
    declared = {KUBE: 28, BOX: None}
    names = Names(lambda w: dataclasses.replace(w, stop_signal=declared[w.cgroup_id]))
    attributor = Attributor(cgroups, on_stop_signal=told.append, names=names)
    attributor.observe(event(KUBE))
    attributor.observe(event(BOX, LAB, init=True))
    assert set(told) == {28}
    assert Attributor(cgroups, names=names).observe(event(KUBE)).workload.stop_signal == 28


def test_the_runtimes_word_on_the_main_process_goes_before_a_guess(cgroups):
    """With the host's PID namespace a probe may be seen first."""
    names = Names(lambda w: dataclasses.replace(w, main_pid=77))
    attributor = Attributor(cgroups, names=names)
    assert not attributor.observe(seen(Kind.EXEC, 50, KUBE)).main
    assert attributor.observe(seen(Kind.SIGNAL_GENERATE, 77, KUBE)).main


def test_the_end_of_a_container_waits_a_moment_for_its_names_and_nothing_else_does(cgroups):
    names = Names(lambda w: w)
    names.asked_for = {ID}
    attributor = Attributor(cgroups, names=names)
    end = dataclasses.replace(event(KUBE, init=True), kind=Kind.EXIT, container_init=True)
    assert attributor.is_early(end, 100)
    assert not attributor.is_early(end, 10**9), "not for ever"
    assert not attributor.is_early(dataclasses.replace(end, kind=Kind.SIGNAL_GENERATE), 100)
    assert not attributor.is_early(dataclasses.replace(end, container_init=False), 100), "another process of it"
    names.asked_for = set()
    assert not attributor.is_early(end, 100)
    assert not Attributor(cgroups).is_early(end, 100)


def test_whoever_lives_on_is_not_pushed_out_by_those_that_come_and_go(attributor, cgroups):
    for n in range(1000, 1100):
        attributor.observe(mkdir(n, UNIT, f"box-{n}"))
        attributor.observe(event(n, UNIT, init=True))
        attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=n))
    assert len(attributor._inits._began) == len(attributor._containers) == len(attributor._mains._mains) == 0


def test_of_inits_that_have_exited_only_the_last_are_known_and_who_lives_stays_nested(attributor, monkeypatch):
    monkeypatch.setattr(inits, "_ENDED_MAX", 10)
    attributor.observe(event(KUBE, init=True))

    def nested(n, kind, parent=KUBE):
        task = Task(n, n, cgroup_id=KUBE_SUB, parent_cgroup_id=parent)
        return attributor.observe(Event(n, n, kind, task, ns_init=True, container_init=True)).event.container_init

    assert not nested(100, Kind.EXEC)
    for n in range(200, 300):
        nested(n, Kind.EXEC)
        nested(n, Kind.EXIT)
    assert len(attributor._inits._nested) == 2 + 10
    assert not nested(299, Kind.SIGNAL_GENERATE, parent=ROOT)  # its parent has died, and it is a zombie
    assert not nested(100, Kind.SIGNAL_GENERATE, parent=ROOT)


def test_cgroups_that_are_asked_about_when_they_are_gone_leave_nothing(attributor):
    """The kernel gives their counts back some seconds later, and the metrics ask whose they were."""
    for cgroup in range(1000, 3000):
        attributor.observe(mkdir(cgroup, LAB, f"box-{cgroup}"))
        attributor.observe(event(cgroup))
        attributor.observe(Event(0, 0, Kind.CGROUP_RMDIR, cgroup_id=cgroup))
        assert attributor.workload_of(cgroup, S).cgroup == f"/sigtrace-lab/box-{cgroup}"
    assert len(attributor._workloads) < 10
