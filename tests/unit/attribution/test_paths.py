"""What a cgroup's path says: container, pod, unit or session."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.attribution.paths import PathInfo, container_around, parse

SAMPLES = [
    line.split("\t")
    for line in (Path(__file__).parents[2] / "data/cgroup-paths.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
ID = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a"
OTHER = "b" * 64
POD = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e"
UID = POD.replace("-", "_")


@pytest.mark.parametrize(("path", "runtime", "container_id", "uid", "qos"), SAMPLES, ids=[s[0][-40:] for s in SAMPLES])
def test_real_paths_say_what_they_are(path, runtime, container_id, uid, qos):
    info = parse(path)
    told = [info.runtime, info.container_id, info.pod_uid, info.qos]
    assert [value or "-" for value in told] == [runtime, container_id, uid, qos]


def test_the_samples_are_there():
    assert len(SAMPLES) > 20


@pytest.mark.parametrize(("path", "runtime", "container_id", "uid", "qos"), [s for s in SAMPLES if s[2] != "-"])
def test_what_lies_below_a_container_is_the_container_too(path, runtime, container_id, uid, qos):
    own = parse(path).container_path
    assert path.startswith(own)
    assert own.rsplit("/", 1)[-1].removesuffix(".scope").endswith(container_id)
    assert parse(own) == parse(path) == parse(own + "/init.scope") == parse(own + "/a/b.service")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/nginx.service", PathInfo(unit="nginx.service")),
        ("/user.slice/user-1000.slice/session-1.scope", PathInfo(session="session-1.scope")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app.service",
            PathInfo(unit="app.service"),
        ),
        ("/system.slice/a.service/b", PathInfo(unit="a.service")),
        ("/", PathInfo()),
        ("", PathInfo()),
        ("//", PathInfo()),
    ],
)
def test_units_and_sessions_where_there_is_no_container(path, expected):
    assert parse(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/system.slice/docker-{ID}",  # no scope: cgroupfs driver, still a container
        f"/system.slice/docker-{ID[:63]}.scope",
        f"/system.slice/docker-{ID}0.scope",
        f"/system.slice/docker-{ID.upper()}.scope",
        f"/system.slice/docker-{ID}.scope.d",
        f"/system.slice/xdocker-{ID}.scope",
        f"/system.slice/docker-{ID}.scope\n",
        f"/home/{ID}",
        f"/{ID}",
        f"/{ID}/docker",
        f"/docker/{ID}x",
        f"/docker/x/{ID}",
        "/kubepods/burstable",
        f"/kubepods/pod{POD}",
        f"/kubepods/pod{POD}/" + "g" * 64,
        "/docker/" + "\uff14" * 64,  # digits, but not the ASCII ones
    ],
)
def test_what_only_looks_like_a_container_is_none(path):
    expected = ID if path == f"/system.slice/docker-{ID}" else None
    assert parse(path).container_id == expected


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/k8s.io/{ID}", "containerd"),
        (f"/default/{ID}", "containerd"),
        (f"/moby/{ID}", "docker"),
        (
            f"/containerd.service/kubepods-burstable-pod{POD.replace('-', '_')}.slice:cri-containerd:{ID}",
            "containerd",
        ),
        (f"/kubepods/besteffort/pod{POD}/{ID}", "unknown"),
        (f"/system.slice:docker:{ID}", "docker"),
    ],
)
def test_other_shapes_are_known_too(path, runtime):
    info = parse(path)
    assert (info.runtime, info.container_id) == (runtime, ID)


def test_a_pod_in_colon_shape_is_named_by_its_slice():
    info = parse(f"/kubelet-kubepods-burstable-pod{POD.replace('-', '_')}.slice:cri-containerd:{ID}")
    assert (info.pod_uid, info.qos) == (POD, "burstable")


def test_the_innermost_container_wins_with_the_pod_that_is_nearest():
    path = f"/kubepods/burstable/pod{POD}/{OTHER}/kubepods/besteffort/pod{'0' * 32}/{ID}"
    info = parse(path)
    assert (info.container_id, info.pod_uid, info.qos) == (ID, "0" * 32, "besteffort")
    assert parse(f"/kubepods/burstable/pod{POD}/{OTHER}/docker/{ID}").container_id == ID


SEGMENT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["docker", "kubepods", "burstable", "moby", "..", "", f"pod{POD}", "session-1.scope", "x.service"]),
    st.from_regex(r"(cri-containerd|crio|docker|libpod|libpod-conmon|x)[-:][0-9a-f]{63,65}(\.scope)?"),
    st.from_regex(r"[0-9a-f]{63,65}", fullmatch=True),
)


@given(st.lists(SEGMENT, max_size=12).map("/".join))
def test_no_path_raises_and_no_id_is_made_up(path):
    info = parse(path)
    if info.container_id is None:
        assert (info.runtime, info.pod_uid, info.qos, info.container_path) == (None, None, None, None)
        return
    assert re.fullmatch("[0-9a-f]{64}", info.container_id)
    assert info.container_id in path
    assert info.container_path.endswith(("", ".scope"))
    assert info.container_path.strip("/") in path
    assert info.runtime in {"docker", "containerd", "cri-o", "podman", "unknown"}
    assert info.pod_uid is None or info.pod_uid.replace("-", "_") in path.replace("-", "_")
    assert (info.qos is None) == (info.pod_uid is None)


OUTER, INNER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("path", "around"),
    [
        ("/system.slice/docker.service", None),
        (f"/kubepods/pod{POD}/{OUTER}", f"/kubepods/pod{POD}/{OUTER}"),
        (f"/kubepods/pod{POD}/{OUTER}/workers/1", f"/kubepods/pod{POD}/{OUTER}"),
        (f"/docker/{OUTER}/kubelet/kubepods/pod{POD}/{INNER}/x", f"/docker/{OUTER}"),
    ],
)
def test_the_outermost_container_owns_what_is_made_in_it(path, around):
    assert container_around(path) == around
