"""The user's choice of workloads: target or sender matches."""

import pytest

from sigtrace.model.event import Event, Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Shutdown
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind

ID = "b43d92bf1e5c" + "0" * 52
WEB = Workload(
    WorkloadKind.CONTAINER, 1, runtime="docker", container_id=ID, container_name="web", pod="web-1", namespace="shop"
)
OTHER = Workload(WorkloadKind.CONTAINER, 2, container_name="other")
HOST = Workload(WorkloadKind.HOST, 3)
EVENT = Event(0, 0, Kind.SIGNAL_GENERATE)


@pytest.mark.parametrize(
    "wanted",
    [
        {"container": "web"},
        {"container": ID},
        {"container": ID[:12]},
        {"container": ID[:4]},
        {"pod": "web-1"},
        {"namespace": "shop"},
        {"runtime": "docker"},
        {"container": "web", "pod": "web-1", "namespace": "shop", "runtime": "docker"},
    ],
)
def test_target_or_sender_may_match(wanted):
    chosen = WorkloadFilter(**wanted)
    assert chosen.observation(Observation(EVENT, WEB, OTHER))
    assert chosen.observation(Observation(EVENT, OTHER, WEB))
    assert chosen.observation(Observation(EVENT, None, WEB))
    assert not chosen.observation(Observation(EVENT, OTHER, HOST))
    assert not chosen.observation(Observation(EVENT))


@pytest.mark.parametrize(
    "wanted",
    [
        {"container": "we"},
        {"container": ID[:3]},  # too short to be meant as an id
        {"container": ID[1:]},
        {"container": "web", "pod": "web-2"},
        {"pod": "web"},
        {"namespace": "shop", "runtime": "podman"},
    ],
)
def test_everything_that_was_asked_must_match(wanted):
    assert not WorkloadFilter(**wanted).workload(WEB)


def test_target_and_sender_may_not_share_the_work():
    half, other = Workload(WorkloadKind.CONTAINER, 1, pod="a"), Workload(WorkloadKind.CONTAINER, 2, namespace="b")
    assert not WorkloadFilter(pod="a", namespace="b").observation(Observation(EVENT, half, other))


def test_an_open_filter_passes_all_even_what_has_no_workload():
    assert WorkloadFilter().is_open
    assert WorkloadFilter().observation(Observation(EVENT))
    assert not WorkloadFilter(container="x").is_open


def test_a_verdict_goes_by_its_workload():
    def shutdown(workload):
        return Shutdown("exited", None, 0, 0, workload, None, WaitStatus(0))

    assert WorkloadFilter(pod="web-1").verdict(shutdown(WEB))
    assert not WorkloadFilter(pod="web-1").verdict(shutdown(OTHER))


def test_a_choice_is_told_as_it_was_made():
    assert WorkloadFilter().words == ""
    assert WorkloadFilter("web", namespace="a\x1bb").words == "--container web --namespace a\\x1bb"


@pytest.mark.parametrize(
    ("wanted", "by_name"),
    [({}, False), ({"runtime": "docker"}, False), ({"container": ID[:12]}, False), ({"container": "b43"}, True)]
    + [({name: "web"}, True) for name in ("container", "pod", "namespace")],
)
def test_only_a_runtime_knows_names_and_anybody_knows_ids(wanted, by_name):
    assert WorkloadFilter(**wanted).by_name is by_name
