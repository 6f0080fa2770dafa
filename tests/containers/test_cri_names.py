"""What a real containerd tells over CRI of containers that it really runs."""

import os
from pathlib import Path

import pytest

from sigtrace.attribution.paths import parse
from sigtrace.attribution.runtimes.base import Api, SocketState
from sigtrace.attribution.runtimes.cri import CriClient
from sigtrace.attribution.runtimes.lookup import Runtimes
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.model.workload import PreStop, PreStopKind, Workload, WorkloadKind
from tests.containers import images
from tests.containers.containerd import NODE, POD

SLEEP = ["sleep", "600"]


@pytest.fixture(scope="module")
def client(cri):
    one = CriClient(cri.socket)
    assert one.open().startswith("containerd ")
    yield one
    one.close()


@pytest.fixture
def runtimes(cri):
    with Runtimes([Socket(Api.CRI, cri.socket)]) as one:
        assert one.settle(20)
        yield one


@pytest.fixture
def make_pod(cri):
    """run_pod, and its end."""
    made = []

    def make(*argv, **more):
        made.append(cri.run_pod(*argv, **more))
        return made[-1]

    yield make
    for pod in made:
        cri.stop_pod(pod)
        cri.remove_pod(pod)


def pid_namespace(pid) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def workload(container: str) -> Workload:
    return Workload(WorkloadKind.CONTAINER, 1, "/x", runtime="unknown", container_id=container)


def test_a_container_has_its_names_limits_and_main_process(cri, client, make_pod):
    pod = make_pod("api-7d9f", namespace="shop", grace_s=7, annotations={"resource.opentelemetry.io/service.name": "s"})
    hook = {"exec": {"command": ["/bin/sh", "-c", "sleep 1"]}}
    container = cri.run_container(pod, SLEEP, name="web", restarts=3, pre_stop=hook)
    info = client.fetch(container)
    assert (info.runtime, info.kind, info.name) == ("containerd", WorkloadKind.CONTAINER, "web")
    assert (info.pod, info.namespace, info.pod_uid) == ("api-7d9f", "shop", pod.uid)
    assert (info.image, info.sandbox_id, info.service_name) == (images.BUSYBOX, pod.id, "s")
    assert (info.grace_limit_s, info.restart_count, info.stop_signal) == (7.0, 3, 15)
    assert info.pre_stop == PreStop(PreStopKind.EXEC, ("/bin/sh", "-c", "sleep 1"))
    assert info.main_pid == cri.main_pid(container)
    path = parse(Path(f"/proc/{info.main_pid}/cgroup").read_text(encoding="ascii").split("\n")[0].split(":")[2])
    assert (path.container_id, path.pod_uid) == (container, pod.uid)


def test_the_stop_signal_is_the_images(cri, client, make_pod):
    container = cri.run_container(make_pod(), SLEEP, image=images.QUIT)
    assert client.fetch(container).stop_signal == 3


@pytest.mark.parametrize(
    ("hook", "kind"), [({"sleep": {"seconds": 5}}, "sleep"), ({"httpGet": {"path": "/", "port": 80}}, "http")]
)
def test_hooks_that_never_enter_the_container_are_known_too(cri, client, make_pod, hook, kind):
    container = cri.run_container(make_pod(), SLEEP, pre_stop=hook)
    assert client.fetch(container).pre_stop.kind == kind


def test_the_pause_container_is_a_sandbox(cri, client, make_pod, wait_until):
    pod = make_pod("paused")
    info = client.fetch(pod.id)
    assert (info.kind, info.pod, info.pod_uid) == (WorkloadKind.SANDBOX, "paused", pod.uid)
    # The runtime answers when its last stage has let go, which may come a moment before that stage's exec.
    comm = Path(f"/proc/{info.main_pid}/comm")
    wait_until(lambda: comm.read_text(encoding="ascii") == "pause\n", timeout=20)


def test_the_main_process_is_known_in_the_hosts_pid_namespace(cri, client, make_pod):
    container = cri.run_container(make_pod(pid_mode=NODE), SLEEP)
    info = client.fetch(container)
    assert info.main_pid == cri.main_pid(container)
    assert pid_namespace(info.main_pid) == pid_namespace("self")


def test_two_containers_in_one_pid_namespace_have_a_main_process_each(cri, client, make_pod):
    pod = make_pod(pid_mode=POD)
    mains = [client.fetch(cri.run_container(pod, SLEEP, name=name)).main_pid for name in ("a", "b")]
    assert len(set(mains)) == 2
    assert {pid_namespace(pid) for pid in mains} == {pid_namespace(client.fetch(pod.id).main_pid)}


def test_a_container_that_is_made_and_not_started_will_have_a_main_process(cri, client, make_pod):
    container = cri.create_container(make_pod(), SLEEP)
    info = client.fetch(container)
    assert (info.starting, info.main_pid) == (True, None)


def test_one_that_has_ended_is_known_until_it_is_removed(cri, client, make_pod, wait_until):
    container = cri.run_container(make_pod(), ["true"], name="job")
    wait_until(lambda: client.fetch(container).main_pid is None)
    assert client.fetch(container).name == "job"
    cri.remove_container(container)
    assert client.fetch(container) is None


def test_the_list_has_what_runs(cri, client, make_pod):
    pod = make_pod("listed")
    container = cri.run_container(pod, SLEEP)
    listed = {info.container_id: info for info in client.listing()}
    assert (listed[container].pod, listed[container].grace_limit_s) == ("listed", 30.0)
    assert listed[pod.id].kind is WorkloadKind.SANDBOX


def test_names_come_for_what_ran_before_and_for_what_begins(cri, make_pod, wait_until):
    pod = make_pod("api")
    before = cri.run_container(pod, SLEEP, name="before")
    with Runtimes([Socket(Api.CRI, cri.socket)]) as runtimes:
        assert runtimes.settle(20)
        assert runtimes.get(workload(before)).container_name == "before"
        assert runtimes.info(before).main_pid == cri.main_pid(before)
        # As the capture does it: when the cgroup appears, before the main process is there.
        after = cri.create_container(pod, SLEEP, name="after")
        runtimes.prefetch(after, "unknown")
        wait_until(lambda: runtimes.get(workload(after)).container_name == "after")
        cri.start_container(after)
        wait_until(lambda: runtimes.info(after).main_pid)
        assert runtimes.info(after).main_pid == cri.main_pid(after)


def test_containers_that_live_for_an_instant_get_their_names(cri, runtimes, make_pod, wait_until, record_property):
    pod = make_pod("short")
    containers = []
    for number in range(20):
        container = cri.create_container(pod, ["usleep", "20000"], name=f"job-{number}")
        cri.start_container(container)
        runtimes.prefetch(container, "unknown")
        containers.append(container)
    answered = lambda: all(runtimes.info(one) for one in containers) or runtimes.counters.given_up  # noqa: E731
    wait_until(answered, timeout=20)
    named = [runtimes.info(one).name if runtimes.info(one) else None for one in containers]
    record_property("named", f"{sum(name is not None for name in named)} of {len(named)}")
    # They are not removed, so that the runtime knows them all.
    assert named == [f"job-{number}" for number in range(20)]


def test_names_return_with_the_daemon(short_folder, wait_until):
    from tests.containers.containerd import containerd

    with containerd(short_folder()) as own:
        pod = own.run_pod("api")
        first = own.run_container(pod, SLEEP, name="first")
        with Runtimes([Socket(Api.CRI, own.socket)]) as runtimes:
            assert runtimes.settle(20)
            own.end_daemon()
            runtimes.prefetch("d" * 64)
            wait_until(lambda: runtimes.status()[0].state is SocketState.FAILING, timeout=20)
            assert runtimes.get(workload(first)).container_name == "first"
            own.start()
            second = own.run_container(pod, SLEEP, name="second")
            wait_until(lambda: runtimes.get(workload(second)).container_name == "second", timeout=30)
            assert runtimes.status()[0].state is SocketState.CONNECTED
