"""Real runtimes stop real containers: the right workload, the right story, and nothing about healthy ones."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigtrace.model.finding import Finding, SenderRole
from sigtrace.model.workload import WorkloadKind
from tests.containers import images
from tests.containers.containerd import NODE
from tests.containers.containerd import POD as SHARED
from tests.containers.leftovers import wait_for
from tests.containers.told import telling

DEAF = ("sleep", "600")
#: In wait(1) a shell takes a signal at once.
POLITE = ("sh", "-c", "trap 'kill $!; exit 0' TERM QUIT; sleep 600 & wait")


@pytest.fixture
def told(bpf_host, cri):
    with telling(f"cri:{cri.socket}") as told:
        yield told


@pytest.fixture
def podman_told(bpf_host, pods):
    with telling(f"podman:{pods.socket}") as told:
        yield told
    pods("pod", "rm", "--all", "--force", "--time=0")
    pods("rm", "--all", "--force", "--time=0")


def ready(cri, container):
    """Its program has begun, and a shell has set its trap by the time it has a child."""
    wait_for(lambda: children_of(cri.main_pid(container)), what="the program's child")


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return f.read().split()
    except FileNotFoundError:
        return []


def test_a_deaf_container_is_told_with_its_pod_and_its_limit(cri, told):
    pod = cri.run_pod("shop-0", namespace="prod", grace_s=2)
    container = cri.run_container(pod, DEAF, name="web")
    cri.await_program(container)
    cri.stop_container(container, timeout=2)
    shutdown = told.shutdown(container)
    workload = shutdown.workload
    assert (workload.runtime, workload.namespace, workload.pod, workload.container_name) == (
        "containerd", "prod", "shop-0", "web",
    )  # fmt: skip
    assert (workload.pod_uid, workload.image) == (pod.uid, images.BUSYBOX)
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "dropped")
    assert (shutdown.grace_limit_s, shutdown.requested_by) == (2.0, SenderRole.RUNTIME)
    assert shutdown.grace_s > 1.9
    assert told.findings(container) == {("signal-dropped", "no-handler"), ("killed", "grace-expired")}
    cri.stop_pod(pod)


def test_a_healthy_pod_that_is_stopped_has_no_findings(cri, told):
    pod = cri.run_pod("calm")
    both = [cri.run_container(pod, POLITE, name=name) for name in ("a", "b")]
    for container in both:
        ready(cri, container)
        assert cri.exec_sync(container, ["true"])[0] == 0
    for container in both:
        cri.stop_container(container, timeout=20)
    cri.stop_pod(pod)
    for container in both:
        assert told.outcome(container) == ("graceful", None)
        assert not told.findings(container)
    assert not told.of(pod.id), "a sandbox makes events only"
    kinds = [o.workload.kind for o in told.observations if o.workload.container_id == pod.id]
    assert kinds[-1] is WorkloadKind.SANDBOX, "until the runtime says so its name may not show it"


def test_whether_the_pod_goes_or_only_one_container_is_told(cri, told):
    pod = cri.run_pod("parts")
    one, *rest = (cri.run_container(pod, POLITE, name=name) for name in ("restarted", "a", "b"))
    for container in (one, *rest):
        ready(cri, container)
    cri.stop_container(one, timeout=20)  # as after a failed probe
    assert told.shutdown(one).scope == "container"
    with ThreadPoolExecutor() as kubelet:  # it asks all at once, then the sandbox
        list(kubelet.map(lambda container: cri.stop_container(container, timeout=20), rest))
    cri.stop_pod(pod)
    assert [told.shutdown(container).scope for container in rest] == ["pod", "pod"]


@pytest.mark.parametrize("mode", [NODE, SHARED], ids=["hostPID", "shared"])
def test_the_main_process_is_known_in_every_pid_namespace(cri, told, mode):
    pod = cri.run_pod("where", pid_mode=mode, grace_s=20)
    polite, plain = (cri.run_container(pod, argv, name=argv[0]) for argv in (POLITE, DEAF))
    ready(cri, polite)
    cri.await_program(plain)
    pids = {c: cri.main_pid(c) for c in (polite, plain)}
    for container in (polite, plain):
        cri.stop_container(container, timeout=20)
        assert told.shutdown(container).main.pid == pids[container]
    assert told.outcome(polite) == ("graceful", None)
    assert told.outcome(plain) == ("terminated", "no-handler")
    assert not told.findings(polite) | told.findings(plain)
    cri.stop_pod(pod)


def test_a_pre_stop_command_is_in_the_story(cri, told):
    """As the kubelet does: the hook, and when it has ended, the stop."""
    pod = cri.run_pod("hooked", grace_s=20)
    hook = ["sh", "-c", "sleep 0.3"]
    container = cri.run_container(pod, POLITE, name="web", pre_stop={"exec": {"command": hook}})
    ready(cri, container)
    assert cri.exec_sync(container, ["true"])[0] == 0
    assert cri.exec_sync(container, hook)[0] == 0
    cri.stop_container(container, timeout=20)
    shutdown = told.shutdown(container)
    assert (shutdown.outcome, shutdown.pre_stop_kind) == ("graceful", "exec")
    assert shutdown.pre_stop_s >= 0.3
    assert not told.findings(container)
    cri.stop_pod(pod)


def test_an_exec_that_times_out_is_no_end_of_the_container(cri, told):
    pod = cri.run_pod("probed")
    container = cri.run_container(pod, POLITE, name="web")
    ready(cri, container)
    with pytest.raises(Exception, match=r"(?i)timeout|deadline"):
        cri.exec_sync(container, ["sleep", "600"], timeout=1)
    cri.stop_container(container, timeout=20)
    assert told.outcome(container) == ("graceful", None)
    assert told.findings(container) == {("killed", "exec-timeout")}
    cri.stop_pod(pod)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_podman_stops_containers_with_either_runtime(pods, podman_told, runtime):
    polite = pods.run(*POLITE, name="polite", runtime=runtime)
    deaf = pods.run(*DEAF, name="deaf", runtime=runtime, stop_timeout=1)
    wait_for(lambda: children_of(pods.main_pid(polite)), what="the shell's child")
    pods.stop(polite, timeout=20)
    pods.stop(deaf, timeout=1)
    assert podman_told.outcome(polite) == ("graceful", None)
    assert podman_told.outcome(deaf) == ("escalated", "dropped")
    shutdown = podman_told.shutdown(deaf)
    assert (shutdown.workload.container_name, shutdown.workload.runtime) == ("deaf", "podman")
    assert (shutdown.grace_limit_s, shutdown.requested_by) == (1.0, SenderRole.RUNTIME)
    assert not podman_told.findings(polite)
    assert podman_told.findings(deaf) == {("signal-dropped", "no-handler"), ("killed", "grace-expired")}


def test_what_an_operator_does_with_podman_is_named(pods, podman_told):
    killed = pods.run(*DEAF, name="killed")
    pods("kill", killed)
    assert podman_told.outcome(killed) == ("killed", "no-stop-signal")
    by_hand = pods.run(*DEAF, name="by-hand")
    os.system(f"kill -9 {pods.main_pid(by_hand)}")
    assert podman_told.outcome(by_hand) == ("killed", "manual")
    failed = pods.run("sh", "-c", "exit 3", name="failed")
    assert podman_told.outcome(failed) == ("crashed", "exit-status")
    job = pods.run("true", name="job")
    assert podman_told.outcome(job) == ("exited", None)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_a_program_that_is_not_there_is_no_crash_of_it(pods, podman_told, runtime):
    missing = pods("--runtime", runtime, "create", "--network=none", images.BUSYBOX, "/no/such/program")
    pods("start", missing, check=False)
    # crun's process ends by itself, or crun kills it: whichever comes first.
    assert podman_told.outcome(missing) in {("crashed", "exit-status"), ("killed", "no-stop-signal")}
    (told,) = (v for v in podman_told.of(missing) if isinstance(v, Finding))
    assert told.advice.startswith("the runtime's own error")


def test_containers_that_live_a_moment_are_all_told_by_their_id(cri, told):
    """200 of them, ten at a time. What the runtime still knew when it was asked has its names."""
    pod = cri.run_pod("brief")

    def one(number):
        container = cri.run_container(pod, ["sleep", "0.03"], name=f"c{number}")
        wait_for(lambda: told.exits(container), what=f"the exit of c{number}")
        cri.remove_container(container)
        return container

    with ThreadPoolExecutor(10) as pool:
        containers = list(pool.map(one, range(200)))
    ends = [told.shutdown(container) for container in containers]
    named = sum(1 for end in ends if end.workload.container_name)
    print(f"\n200 containers of 30 ms: {named} with their names when their story was told")
    assert {(end.outcome, end.cause) for end in ends} == {("exited", None)}
    assert not {finding for container in containers for finding in told.findings(container)}
    cri.stop_pod(pod)


def test_a_runtime_that_dies_costs_names_and_no_event(cri, told):
    pod = cri.run_pod("lasting")
    before = cri.run_container(pod, POLITE, name="before")
    ready(cri, before)
    pid = cri.main_pid(before)
    cri.end_daemon()
    os.kill(pid, 15)
    assert told.outcome(before) == ("graceful", None)
    assert told.shutdown(before).workload.container_name == "before"
    cri.start()
    after = cri.run_container(pod, POLITE, name="after")
    ready(cri, after)
    cri.stop_container(after, timeout=20)
    assert told.outcome(after) == ("graceful", None)
    assert told.shutdown(after).workload.container_name == "after"
    cri.stop_pod(pod)


def test_a_container_that_fails_at_once_is_told_by_its_name(pods, podman_told):
    """What people look for first, and over before anybody could ask."""
    containers = {f"quick-{n}": pods.run("sh", "-c", "exit 3", name=f"quick-{n}") for n in range(5)}
    for name, container in containers.items():
        shutdown = podman_told.shutdown(container)
        assert (shutdown.outcome, shutdown.cause) == ("crashed", "exit-status")
        assert shutdown.workload.container_name == name
