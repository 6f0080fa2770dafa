"""The image of our Dockerfile is built and run on containerd with exactly the DaemonSet's security context."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from sigtrace import __version__
from sigtrace.model.finding import Shutdown
from tests import manifests
from tests.containers import built, kubelet
from tests.containers.containerd import containerd
from tests.containers.leftovers import unmount_below, wait_for
from tests.containers.told import telling

pytestmark = pytest.mark.prove  # the image takes minutes to build
BPF, PERFMON = 39, 38
DEAF = ("sleep", "600")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    try:
        yield built.builder(folder)
    finally:
        unmount_below(folder)  # buildah's store is a mount of itself
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def archive(request, tmp_path_factory):
    """The image as a file."""
    kept = os.environ.get("SIGTRACE_TEST_IMAGE")
    file = Path(kept) if kept else tmp_path_factory.mktemp("archive") / "image.tar"
    if not file.exists():
        builder = request.getfixturevalue("builder")
        builder.build()
        builder.archive(file)
    yield file
    if not kept:
        file.unlink()


@pytest.fixture(scope="module")
def node(bpf_host, short_folder, archive):
    """A containerd whose pods have networks of their own, with our image."""
    with containerd(short_folder()) as cri:
        kubelet.give_network(cri)
        cri.ctr("images", "import", "--snapshotter=native", str(archive))
        yield cri


@pytest.fixture
def places(node, tmp_path):
    """The host's folders are the test's own, because this machine may have an agent already."""
    bpffs = Path("/sys/fs/bpf") / f"sigtrace-tests-{os.getpid()}"
    (bpffs / "sigtrace").mkdir(parents=True)
    own = ("/run/sigtrace", "/var/lib/sigtrace", "/var/lib/kubelet/seccomp/sigtrace")
    found = {path: str(tmp_path / path.strip("/")) for path in own}
    for place in found.values():
        Path(place).mkdir(parents=True)
    found |= {"/sys/fs/bpf": str(bpffs), "/sys/fs/bpf/sigtrace": str(bpffs / "sigtrace")}
    # Any runtime's socket is this containerd's.
    yield found | dict.fromkeys([manifests.CONTAINERD, manifests.CRIO], node.socket)
    shutil.rmtree(bpffs, ignore_errors=True)


@pytest.fixture
def start(node, tmp_path, places):
    """Runs the DaemonSet of an overlay on this node."""
    running = []

    def started(overlay="containerd", *, probed=True):
        objects = manifests.built(overlay)
        maps = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ConfigMap"}
        daemon_set = manifests.one(objects, "DaemonSet")
        agent = kubelet.run(node, daemon_set, maps, tmp_path / f"pod-{len(running)}", places)
        running.append(agent)
        if probed:
            wait_for_agent(agent, lambda: agent.probe("readinessProbe"), what="the agent to be ready")
        return agent

    yield started
    for agent in running:
        kubelet.end(agent)


def wait_for_agent(agent, predicate, *, what):
    """As wait_for, with the agent's own words if it was in vain."""
    try:
        return wait_for(predicate, what=what)
    except pytest.fail.Exception as failed:
        pytest.fail(f"{failed}; the agent's log:\n{agent.errors()[-4000:]}")


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def stop_a_deaf_neighbour(node):
    """Its name, and what the agent should say of it."""
    pod = node.run_pod("shop-0", namespace="prod", grace_s=1)
    container = node.run_container(pod, DEAF, name="web")
    node.await_program(container)
    node.stop_container(container, timeout=1)
    node.stop_pod(pod)
    node.remove_pod(pod)
    return container


def shutdown_of(agent, container):
    """The agent's line about it."""

    def found():
        lines = [json.loads(line) for line in agent.lines()]
        of = [r for r in lines if r["type"] == "shutdown" and r["workload"]["container_id"] == container]
        return of[0] if of else None

    return wait_for_agent(agent, found, what="the shutdown on stdout")


def test_the_agent_has_the_manifests_rights_and_tells_of_its_neighbour(node, start):
    agent = start()
    status = status_of(agent.pid)
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 1 << BPF | 1 << PERFMON
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()[0]) == ("1", "2", "0")
    assert "ro" in kubelet.mounts(agent.pid)["/"]
    assert os.readlink(f"/proc/{agent.pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    assert os.readlink(f"/proc/{agent.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    told = shutdown_of(agent, stop_a_deaf_neighbour(node))
    assert (told["outcome"], told["cause"]) == ("escalated", "dropped")
    workload = told["workload"]
    assert (workload["namespace"], workload["pod"], workload["container_name"]) == ("prod", "shop-0", "web")
    assert workload["node"] == kubelet.NODE_NAME
    story = agent.exec("sigtrace", "why", "shop-0")
    assert "it never heard SIGTERM" in story
    assert re.search('sigtrace: containers are named by="?containerd .*socket=/run/containerd/', agent.errors())


def test_it_is_scraped_and_answers_its_probes(node, start):
    agent = start()
    assert agent.probe("startupProbe")
    assert agent.probe("livenessProbe")
    stop_a_deaf_neighbour(node)

    def counted():
        _, text = agent.get("/metrics")
        wanted = "sigtrace_container_shutdowns_total{"
        lines = [line for line in text.splitlines() if line.startswith(wanted) and 'outcome="escalated"' in line]
        return any('container="web"' in line and float(line.rsplit(" ", 1)[1]) >= 1 for line in lines)

    wait_for_agent(agent, counted, what="the shutdown to be counted")
    status, text = agent.get("/metrics")
    assert status == 200
    done = subprocess.run(["promtool", "check", "metrics"], check=False, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_stopped_gracefully_as_a_second_sigtrace_on_the_host_tells(node, start):
    agent = start()
    assert agent.spec["terminationGracePeriodSeconds"] > 5
    with telling(f"cri:{node.socket}") as told:
        node.stop_container(agent.container, timeout=agent.spec["terminationGracePeriodSeconds"])
        shutdown = told.shutdown(agent.container)
    assert isinstance(shutdown, Shutdown)
    assert (shutdown.outcome, shutdown.cause) == ("graceful", None)
    assert shutdown.wait_status.exit_code == 0
    assert shutdown.grace_s < 5
    assert shutdown.workload.container_name == "sigtrace"


def test_without_a_runtime_socket_containers_go_by_their_ids(node, start):
    agent = start("strict")
    container = stop_a_deaf_neighbour(node)
    told = shutdown_of(agent, container)
    assert (told["outcome"], told["cause"]) == ("escalated", "dropped")
    assert told["workload"]["pod"] is None
    assert told["workload"]["pod_uid"]


def test_the_seccomp_profile_for_cri_o_is_enough_for_the_agent(node, start):
    agent = start("cri-o")
    assert status_of(agent.pid)["Seccomp"] == "2"
    told = shutdown_of(agent, stop_a_deaf_neighbour(node))
    assert told["workload"]["pod"] == "shop-0"
    assert "shop-0" in agent.exec("sigtrace", "why", "shop-0")


def files_in(archive):
    """(config, path → the layer's entry and content reader) of what a container would see."""
    found = {}
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json"))[0]
        config = json.load(image.extractfile(manifest["Config"]))["config"]
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as tar:
                for entry in tar:
                    folder, _, name = entry.name.rpartition("/")
                    if name.startswith(".wh."):  # a layer's way to say that something below it is gone
                        gone = f"{folder}/{name.removeprefix('.wh.')}"
                        found = {
                            path: one
                            for path, one in found.items()
                            if path != gone and path[: len(gone) + 1] != gone + "/"
                        }
                    elif entry.name.startswith("usr/share/sigtrace/"):
                        found[entry.name] = tar.extractfile(entry).read() if entry.isfile() else b""
                    else:
                        found[entry.name] = b""
    return config, found


def test_what_happens_between_two_pinned_agents_is_told_by_the_second(node, start):
    first = start("pinned")
    pod = node.run_pod("shop-0", namespace="prod", grace_s=1)
    container = node.run_container(pod, DEAF, name="web")
    node.await_program(container)
    pidfd = os.pidfd_open(first.pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], 20)[0], "SIGKILL did not end it"
    os.close(pidfd)
    node.stop_container(container, timeout=1)
    kubelet.end(first)
    second = start("pinned")
    told = shutdown_of(second, container)
    assert (told["outcome"], told["cause"]) == ("escalated", "dropped")
    whose = [told["workload"][name] for name in ("namespace", "pod", "container_name", "pod_uid")]
    assert whose == ["prod", "shop-0", "web", pod.uid]


def test_the_overlay_that_removes_leaves_nothing_and_ends_when_it_is_asked(node, start, places):
    kubelet.end(start("pinned"))
    pins, state = Path(places["/sys/fs/bpf/sigtrace"]), Path(places["/var/lib/sigtrace"])
    assert list(pins.iterdir())
    assert list(state.iterdir())
    removed = start("remove", probed=False)
    assert not pins.exists() or not list(pins.iterdir())
    assert not list(state.iterdir())
    with telling(f"cri:{node.socket}") as told:
        wait_for(lambda: has_child(removed.pid), what="its trap to be set")
        node.stop_container(removed.container, timeout=removed.spec["terminationGracePeriodSeconds"])
        assert told.outcome(removed.container) == ("graceful", None)


def has_child(pid):
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"))


def test_the_image_has_no_compiler_and_says_what_it_is_made_of(archive):
    config, files = files_in(archive)
    assert (config["Entrypoint"], config["Cmd"]) == (["/opt/sigtrace/bin/sigtrace"], ["agent"])
    programs = {Path(name).name for name in files if "bin/" in name}
    assert "python3.11" in programs
    assert not programs & {"clang", "clang-14", "gcc", "cc", "ld", "make", "llvm-strip", "pip", "pip3"}
    assert [name for name in files if name.endswith("sigtrace/sources/sigtrace.bpf.o")]
    lines = files["usr/share/sigtrace/packages.txt"].decode().splitlines()
    assert any(line.startswith("deb libbpf1 ") for line in lines)
    assert any(line.startswith("wheel click==") for line in lines)
    assert all("sha256:" in line for line in lines)
    assert archive.stat().st_size < 300 << 20


@pytest.mark.prove
def test_two_builds_are_the_same_image(builder):
    ids = {builder.build(f"localhost/again:{n}") for n in range(2)}
    assert len(ids) == 1


def test_the_image_is_of_this_version(node, start):
    agent = start()
    assert agent.exec("sigtrace", "--version").split()[-1] == __version__
