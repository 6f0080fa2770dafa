"""Answers of CRI, made here field by field."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.attribution.runtimes import cri_v1
from sigtrace.attribution.runtimes.protobuf import Message, encode
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.model import signals
from sigtrace.model.workload import WorkloadKind

ID, POD_ID = "a" * 64, "b" * 64
LABELS = {
    "io.kubernetes.container.name": "web",
    "io.kubernetes.pod.name": "api",
    "io.kubernetes.pod.namespace": "default",
    "io.kubernetes.pod.uid": "u-1",
    "app": "whatever",
}
ANNOTATIONS = {"io.kubernetes.pod.terminationGracePeriod": "7", "io.kubernetes.container.restartCount": "2"}


def status(container_id=ID, *, state=1, image=None, stop_signal=0, info=None, labels=LABELS):
    fields = {
        1: container_id,
        2: {1: "web", 2: 2},
        3: state,
        8: image or {1: "registry/web:1"},
        9: "sha256:ref",
        12: labels,
        13: ANNOTATIONS,
        19: stop_signal,
    }
    details = json.dumps({"pid": 4711, "sandboxID": POD_ID}) if info is None else info
    return encode({1: fields, 2: {"info": details}})


def read(raw, asked=ID):
    found = cri_v1.container_status(raw, "containerd", asked)
    return found.info if found else None


def test_a_status_names_the_container_its_pod_and_its_main_process():
    info = read(status())
    assert (info.kind, info.name, info.image) == (WorkloadKind.CONTAINER, "web", "registry/web:1")
    assert (info.pod, info.namespace, info.pod_uid) == ("api", "default", "u-1")
    assert (info.main_pid, info.sandbox_id, info.restart_count, info.grace_limit_s) == (4711, POD_ID, 2, 7.0)


def test_an_answer_about_another_container_is_none():
    assert read(status("c" * 64)) is None
    assert read(status("../../etc")) is None
    assert read(b"") is None


def test_a_container_that_does_not_run_has_no_main_process():
    created, exited = read(status(state=0)), read(status(state=2))
    assert (created.main_pid, created.starting) == (None, True)
    assert (exited.main_pid, exited.starting) == (None, False)


@pytest.mark.parametrize("info", ["{", "[]", '{"pid": "4711"}', '{"pid": -3}', '{"pid": true, "sandboxID": "x"}', "7"])
def test_strange_details_cost_only_themselves(info):
    found = read(status(info=info))
    assert (found.main_pid, found.sandbox_id, found.name) == (None, None, "web")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "SIGABRT"),
        (10, "SIGINT"),
        (18, "SIGQUIT"),
        (23, "SIGTERM"),
        (29, "SIGUSR1"),
        (35, "SIGRTMIN"),
        (38, "SIGRTMIN+3"),
        (51, "SIGRTMAX-14"),
        (65, "SIGRTMAX"),
    ],
)
def test_the_stop_signal_is_by_cris_own_numbers(number, name):
    assert read(status(stop_signal=number)).stop_signal == signals.number(name)


def test_all_of_cris_signals_are_signals():
    assert len(cri_v1._SIGNALS) == 65
    assert list(cri_v1._SIGNALS[:34]) == sorted(cri_v1._SIGNALS[:34])
    assert all(signals.number(name) for name in cri_v1._SIGNALS)


def test_an_unknown_stop_signal_is_looked_up_in_the_image():
    assert cri_v1.container_status(status(stop_signal=66), "containerd", ID).image_ref == "sha256:ref"
    assert cri_v1.container_status(status(stop_signal=23), "containerd", ID).image_ref is None


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({1: "web:1"}, "web:1"),
        ({1: "sha256:feed", 18: "registry/web:2"}, "registry/web:2"),
        ({1: "sha256:feed"}, "sha256:ref"),
    ],
)
def test_the_image_is_what_its_user_would_call_it(spec, image):
    assert read(status(image=spec)).image == image


def test_names_are_harmless():
    info = read(status(labels={**LABELS, "io.kubernetes.pod.name": "a\x1b[31m\u202e"}))
    assert info.pod == "a\\x1b[31m\\u202e"


def test_lists_leave_out_what_makes_no_sense():
    one = {1: ID, 3: {1: "web"}, 4: {1: "web:1"}, 6: 1, 8: LABELS, 9: ANNOTATIONS}
    found = cri_v1.containers(encode({1: [one, {1: "no id"}, {}]}), "containerd")
    assert [(info.container_id, info.name, info.pod, info.grace_limit_s) for info in found] == [(ID, "web", "api", 7.0)]
    pods = cri_v1.sandboxes(encode({1: [{1: POD_ID, 2: {1: "api", 2: "u-1", 3: "default"}}, {1: "x"}]}), "containerd")
    assert [(p.kind, p.pod, p.pod_uid, p.namespace) for p in pods] == [(WorkloadKind.SANDBOX, "api", "u-1", "default")]


def test_a_sandboxs_status_has_its_pod_and_the_pods_service_name():
    fields = {1: POD_ID, 2: {1: "api", 2: "u-1", 3: "d"}, 8: {"resource.opentelemetry.io/service.name": "shop"}}
    raw = encode({1: fields, 2: {"info": '{"pid": 12}'}})
    info = cri_v1.sandbox_status(raw, "cri-o", POD_ID)
    assert (info.kind, info.pod, info.service_name, info.main_pid) == (WorkloadKind.SANDBOX, "api", "shop", 12)
    assert cri_v1.sandbox_status(raw, "cri-o", ID) is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [({"StopSignal": "SIGQUIT"}, 3), ({"StopSignal": "37"}, 37), ({}, 15), ({"StopSignal": "SIGNOPE"}, None)],
)
def test_an_images_stop_signal_is_sigterm_if_it_says_nothing(config, expected):
    raw = encode({2: {"info": json.dumps({"imageSpec": {"config": config}})}})
    assert cri_v1.image_stop_signal(raw) == expected


def test_of_an_unknown_image_nothing_is_known():
    assert cri_v1.image_stop_signal(b"") is None


def test_only_what_runs_is_listed():
    assert Message(cri_v1.running_containers_request()).message(1).message(2).integer(1) == 1
    # SANDBOX_READY is 0: what counts is that its wrapper is there.
    assert cri_v1.ready_sandboxes_request() == bytes.fromhex("0a 02 12 00")


@given(st.binary(max_size=120), st.booleans())
def test_no_answer_brings_it_down(noise, wrapped):
    raw = encode({1: noise, 2: noise}) if wrapped else noise
    for reading in (
        lambda: cri_v1.container_status(raw, "x", ID),
        lambda: cri_v1.sandbox_status(raw, "x", ID),
        lambda: cri_v1.containers(raw, "x"),
        lambda: cri_v1.sandboxes(raw, "x"),
        lambda: cri_v1.image_stop_signal(raw),
        lambda: cri_v1.version(raw),
    ):
        with contextlib.suppress(NoAnswer):
            reading()
