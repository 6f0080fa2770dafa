"""Labels and annotations as the kubelet writes them, and as nobody should."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.attribution.runtimes import kubelet
from sigtrace.model.text import printable
from sigtrace.model.workload import PreStop, PreStopKind

GRACE = "io.kubernetes.pod.terminationGracePeriod"
DELETION = "io.kubernetes.pod.deletionGracePeriod"
PRE_STOP = "io.kubernetes.container.preStopHandler"


def test_labels_name_the_container_and_its_pod():
    marks = kubelet.read(
        {
            "io.kubernetes.container.name": "web",
            "io.kubernetes.pod.name": "api-7d9f",
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": "u-1",
        },
        {"io.kubernetes.container.restartCount": "3", "resource.opentelemetry.io/service.name": "api"},
    )
    assert (marks.container, marks.pod, marks.namespace, marks.uid) == ("web", "api-7d9f", "default", "u-1")
    assert (marks.restarts, marks.service) == (3, "api")
    assert (marks.grace_s, marks.pre_stop) == (None, None)


def test_the_grace_period_is_the_pods():
    assert kubelet.read({}, {GRACE: "30"}).grace_s == 30.0
    assert kubelet.read({}, {GRACE: "0"}).grace_s == 0.0


def test_the_grace_period_of_a_deletion_under_way_goes_first():
    assert kubelet.read({}, {GRACE: "30", DELETION: "2"}).grace_s == 2.0
    assert kubelet.read({}, {GRACE: "30", DELETION: "soon"}).grace_s == 30.0


@pytest.mark.parametrize("value", ["", "-1", "1e3", "30s", " 30", "٣٠", "9" * 400, "0x10"])
def test_a_strange_grace_period_is_none(value):
    assert kubelet.read({}, {GRACE: value}).grace_s is None


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ({"exec": {"command": ["sh", "-c", "sleep 5"]}}, PreStop(PreStopKind.EXEC, ("sh", "-c", "sleep 5"))),
        ({"httpGet": {"path": "/stop", "port": 80, "scheme": "HTTP"}}, PreStop(PreStopKind.HTTP)),
        ({"sleep": {"seconds": 5}}, PreStop(PreStopKind.SLEEP, sleep_s=5)),
        ({"sleep": {"seconds": "5"}}, PreStop(PreStopKind.SLEEP)),
        ({"exec": {"command": ["\x1b[2J", 5]}}, PreStop(PreStopKind.EXEC, ("\\x1b[2J", ""))),
        ({"tcpSocket": {"port": 80}}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_pre_stop_handler_is_one_of_three_kinds(handler, expected):
    assert kubelet.read({}, {PRE_STOP: json.dumps(handler)}).pre_stop == expected


@pytest.mark.parametrize("handler", ["", "{", "[" * 50_000, '{"exec":' + " " * 70_000 + '{"command":["x"]}}'])
def test_a_broken_or_huge_handler_is_none(handler):
    assert kubelet.read({}, {PRE_STOP: handler}).pre_stop is None


def test_a_long_command_is_cut():
    handler = json.dumps({"exec": {"command": ["x"] * 1_000}})
    assert len(kubelet.read({}, {PRE_STOP: handler}).pre_stop.command) == 64


@given(st.dictionaries(st.sampled_from(sorted(kubelet.ANNOTATIONS)), st.text(max_size=50)))
def test_no_annotation_brings_it_down(annotations):
    marks = kubelet.read({}, annotations)
    assert marks.service is None or marks.service == printable(marks.service)
