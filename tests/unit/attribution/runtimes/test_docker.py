"""Docker and Podman, as their REST APIs answer; tests/containers asks a real Podman."""

import json

import pytest

from sigtrace.attribution.runtimes.docker import DockerClient
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.model.workload import WorkloadKind

ID, POD_ID = "a" * 64, "b" * 64


@pytest.fixture
def rest(server):
    """The server with a page for each path: an object, or (status, object); ``podman`` makes it one."""
    pages: dict[str, object] = {"/version": {"Version": "26.1.5"}}
    headers: list[str] = []

    def answer(connection):
        target = server.requests[-1].split()[1].decode()
        page = "OK" if target == "/_ping" else pages.get(target, (404, {"message": "no such container"}))
        status, content = page if isinstance(page, tuple) else (200, page)
        body = json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)

    server.answer = answer

    def client(pages_now, *, podman=None):
        pages.update(pages_now)
        headers[:] = [f"Libpod-API-Version: {podman}"] if podman else []
        return DockerClient(server.path)

    return client


def docker(**more):
    return {
        "Id": ID,
        "Name": "/web",
        "State": {"Pid": 4711, "Status": "running"},
        "Config": {"Image": "web:1", "Labels": None, **more.pop("Config", {})},
        "RestartCount": 2,
        **more,
    }


def fetch(rest, page):
    client = rest({f"/containers/{ID}/json": page})
    client.open()
    return client.fetch(ID)


def test_docker_names_a_container(rest):
    info = fetch(rest, docker())
    assert (info.runtime, info.kind, info.name, info.image) == ("docker", WorkloadKind.CONTAINER, "web", "web:1")
    assert (info.main_pid, info.restart_count, info.starting) == (4711, 2, False)


@pytest.mark.parametrize(("config", "grace"), [({}, 10.0), ({"StopTimeout": 3}, 3.0), ({"StopTimeout": -1}, 10.0)])
def test_dockers_grace_limit_is_its_stop_timeout_or_ten_seconds(rest, config, grace):
    assert fetch(rest, docker(Config=config)).grace_limit_s == grace


@pytest.mark.parametrize(
    ("word", "signo"), [("SIGQUIT", 3), ("9", 9), (3, 3), ("", 15), (None, 15), ("SIGNOPE", None), ([], None)]
)
def test_the_stop_signal_is_a_name_or_a_number_and_sigterm_without(rest, word, signo):
    assert fetch(rest, docker(Config={"StopSignal": word})).stop_signal == signo


def test_a_container_of_cri_dockerd_has_its_pod_from_labels(rest):
    labels = {
        "io.kubernetes.container.name": "web",
        "io.kubernetes.pod.name": "api",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u-1",
        "io.kubernetes.docker.type": "container",
        "annotation.io.kubernetes.pod.terminationGracePeriod": "45",
        "annotation.io.kubernetes.container.restartCount": "7",
    }
    info = fetch(rest, docker(Name="/k8s_web_api_default_u-1_7", Config={"Labels": labels}))
    assert (info.name, info.pod, info.namespace, info.pod_uid) == ("web", "api", "default", "u-1")
    assert (info.grace_limit_s, info.restart_count) == (45.0, 7)


def test_a_sandbox_of_cri_dockerd_is_one(rest):
    labels = {"io.kubernetes.docker.type": "podsandbox", "io.kubernetes.pod.name": "api"}
    assert fetch(rest, docker(Config={"Labels": labels})).kind is WorkloadKind.SANDBOX


@pytest.mark.parametrize(
    "page", [(404, {}), (500, {"message": "going"}), {}, [], "x", None, docker(Id="b" * 64), docker(Id=5)]
)
def test_an_unknown_container_and_an_answer_about_another_are_none(rest, page):
    assert fetch(rest, page) is None


@pytest.mark.parametrize("page", [(500, {"message": "down"}), (301, {}), (403, {})])
def test_an_error_of_the_server_is_no_answer(rest, page):
    client = rest({"/containers/json": page})
    client.open()
    with pytest.raises(NoAnswer, match="status"):
        client.listing()


@pytest.mark.parametrize(
    "page",
    [
        docker(State=None, Config={"Labels": ["x"], "Image": 5}, RestartCount="many", Name=["x"]),
        docker(
            State={"Pid": 1e300, "Status": {}}, Config={"StopTimeout": "3", "Labels": {"io.kubernetes.pod.name": 5}}
        ),
    ],
)
def test_strange_values_cost_only_themselves(rest, page):
    info = fetch(rest, page)
    assert (info.container_id, info.main_pid, info.pod, info.grace_limit_s) == (ID, None, None, 10.0)


def test_docker_lists_what_runs(rest):
    client = rest({"/containers/json": [{"Id": ID, "Names": ["/web"], "Image": "web:1", "Labels": {}}, {"Id": "x"}, 5]})
    assert client.open() == "docker 26.1.5"
    assert [(info.container_id, info.name, info.main_pid) for info in client.listing()] == [(ID, "web", None)]


def test_a_list_that_is_none_is_no_answer(rest):
    client = rest({"/containers/json": {"message": "?"}})
    client.open()
    with pytest.raises(NoAnswer, match="no list"):
        client.listing()


PODMAN = {
    "Id": ID,
    "Name": "web",
    "ImageName": "localhost/web:1",
    "Pod": POD_ID,
    "IsInfra": False,
    "State": {"Pid": 12, "Status": "running"},
    "RestartCount": 0,
    "Config": {"StopSignal": 3, "StopTimeout": 4, "Labels": {}},
}


def test_podman_is_asked_in_its_own_and_names_the_pod(rest):
    at = "/v4.3.1/libpod"
    client = rest({f"{at}/containers/{ID}/json": PODMAN, f"{at}/pods/{POD_ID}/json": {"Name": "shop"}}, podman="4.3.1")
    assert client.open() == "podman 4.3.1"
    info = client.fetch(ID)
    assert (info.runtime, info.name, info.image, info.pod) == ("podman", "web", "localhost/web:1", "shop")
    assert (info.main_pid, info.grace_limit_s, info.stop_signal) == (12, 4.0, 3)


def test_podmans_infra_container_is_a_sandbox(rest):
    at = "/v5.0.0/libpod"
    page = {**PODMAN, "IsInfra": True, "Config": {"StopSignal": "SIGTERM"}}
    client = rest({f"{at}/containers/{ID}/json": page}, podman="5.0.0")
    client.open()
    info = client.fetch(ID)
    assert (info.kind, info.pod, info.stop_signal, info.grace_limit_s) == (WorkloadKind.SANDBOX, None, 15, None)


def test_podmans_list_has_pods_and_infra_containers(rest):
    one = {"Id": ID, "Names": ["web"], "Image": "web:1", "PodName": "shop", "IsInfra": True, "Labels": None}
    client = rest({"/v4.3.1/libpod/containers/json": [one]}, podman="4.3.1")
    client.open()
    assert [(i.name, i.pod, i.kind) for i in client.listing()] == [("web", "shop", WorkloadKind.SANDBOX)]


def test_a_version_that_would_be_a_path_is_refused(rest):
    with pytest.raises(NoAnswer, match="version"):
        rest({}, podman="../../x").open()
