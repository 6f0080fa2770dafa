"""What a real Podman tells of containers that it really runs, with runc and with crun."""

import os
from pathlib import Path

import pytest

from sigtrace.attribution.paths import parse
from sigtrace.attribution.runtimes.base import Api, SocketState
from sigtrace.attribution.runtimes.docker import DockerClient
from sigtrace.attribution.runtimes.lookup import Runtimes
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.model.workload import Workload, WorkloadKind
from tests.containers import images

SLEEP = ("sleep", "600")


@pytest.fixture(scope="module")
def client(pods):
    one = DockerClient(pods.socket)
    assert one.open().startswith("podman ")
    return one


@pytest.fixture(autouse=True)
def _ended(pods):
    yield
    pods("pod", "rm", "--all", "--force", "--time=0")
    pods("rm", "--all", "--force", "--time=0")


def workload(container: str) -> Workload:
    return Workload(WorkloadKind.CONTAINER, 1, "/x", runtime="podman", container_id=container)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_a_container_has_its_names_limits_and_main_process(pods, client, runtime):
    container = pods.run(*SLEEP, name="web", runtime=runtime, stop_timeout=4)
    info = client.fetch(container)
    assert (info.runtime, info.kind, info.name) == ("podman", WorkloadKind.CONTAINER, "web")
    assert (info.image, info.pod) == (images.BUSYBOX, None)
    assert (info.grace_limit_s, info.stop_signal, info.restart_count) == (4.0, 15, 0)
    assert info.main_pid == pods.main_pid(container)
    lines = Path(f"/proc/{info.main_pid}/cgroup").read_text(encoding="ascii").splitlines()
    assert container in {parse(line.split(":")[2]).container_id for line in lines}


def test_the_stop_signal_is_the_images_or_its_own(pods, client):
    assert client.fetch(pods.run(*SLEEP, name="a", image=images.QUIT)).stop_signal == 3
    assert client.fetch(pods.run(*SLEEP, name="b", options=("--stop-signal=SIGRTMIN+3",))).stop_signal == 37


def test_the_grace_limit_is_ten_seconds_if_nobody_said(pods, client):
    assert client.fetch(pods.run(*SLEEP, name="a")).grace_limit_s == 10.0


def test_a_pod_has_its_name_and_its_infra_container_is_a_sandbox(pods, client):
    _, infra = pods.pod("shop")
    container = pods.run(*SLEEP, name="web", pod="shop")
    assert client.fetch(container).pod == "shop"
    info = client.fetch(infra)
    assert (info.kind, info.pod) == (WorkloadKind.SANDBOX, "shop")
    listed = {one.container_id: (one.kind, one.pod) for one in client.listing()}
    assert listed == {container: (WorkloadKind.CONTAINER, "shop"), infra: (WorkloadKind.SANDBOX, "shop")}


def test_the_main_process_is_known_in_the_hosts_pid_namespace(pods, client):
    container = pods.run(*SLEEP, name="web", options=("--pid=host",))
    main = client.fetch(container).main_pid
    assert main == pods.main_pid(container)
    assert os.readlink(f"/proc/{main}/ns/pid") == os.readlink("/proc/self/ns/pid")


def test_docker_s_api_tells_the_same(pods, client):
    """Podman speaks it too: the real thing to try the words for Docker on."""
    container = pods.run(*SLEEP, name="web", image=images.QUIT, stop_timeout=4)
    own = client.fetch(container)
    docker = DockerClient(pods.socket)
    seen = docker.fetch(container)  # not opened, so that it doesn't know that it is Podman
    same = ("name", "image", "main_pid", "grace_limit_s", "stop_signal", "restart_count", "kind")
    assert [getattr(seen, name) for name in same] == [getattr(own, name) for name in same]
    assert [info.container_id for info in docker.listing()] == [container]


def test_a_container_that_starts_again_has_another_main_process(pods, wait_until):
    container = pods.run(*SLEEP, name="web", stop_timeout=0)
    with Runtimes([Socket(Api.DOCKER, pods.socket)]) as runtimes:
        assert runtimes.settle(20)
        first = runtimes.info(container).main_pid
        pods("restart", container)
        runtimes.prefetch(container, "podman")
        wait_until(lambda: runtimes.info(container).main_pid not in (None, first))
        assert runtimes.info(container).main_pid == pods.main_pid(container)


def test_an_unknown_container_is_none(client):
    assert client.fetch("0" * 64) is None


def test_names_return_with_the_service(pods, wait_until):
    with Runtimes([Socket(Api.DOCKER, pods.socket)]) as runtimes:
        assert runtimes.settle(20)
        pods.end_service()
        container = pods.run(*SLEEP, name="web")
        runtimes.prefetch(container, "podman")
        wait_until(lambda: runtimes.status()[0].state is SocketState.FAILING)
        assert "refused" in runtimes.status()[0].error
        pods.serve()
        asked = workload(container)
        wait_until(lambda: runtimes.get(asked).container_name == "web", timeout=30)
