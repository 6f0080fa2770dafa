"""Where the lab's containers may live, who may send them signals, and that all of it goes again."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sigtrace.errors import HostError, RunError
from sigtrace.lab.cgroup import FOLDER
from sigtrace.lab.cgroups import MemoryLimit, find_memory
from sigtrace.lab.container import Container, cgroup_name
from sigtrace.lab.needs import unmet
from sigtrace.lab.outside import Outside
from sigtrace.lab.process import state_of
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.lab.tracer import Tracer
from tests.kernel.ground import (
    SLEEP,
    cgroup_of,
    cgroups_of,
    hierarchies,
    namespace_of,
    nothing_left,
    processes_of,
    status_of,
    wait_for,
)

REPOSITORY = Path(__file__).parents[2]
NAME = f"test-{os.getpid()}"
LIMIT = 64 << 20


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left():
        yield


def started(stack_or_box, argv=SLEEP):
    stack_or_box.start(argv)
    stack_or_box.wait_ready()
    return stack_or_box


def test_without_a_pid_namespace_the_main_process_is_no_pid_1():
    with Container(NAME, host_pid=True) as box:
        started(box)
        assert status_of(box.init_pid)["NSpid"] == [str(box.init_pid)]
        assert namespace_of(box.init_pid) == namespace_of("self")
        assert all(namespace_of(box.init_pid, kind) != namespace_of("self", kind) for kind in ("mnt", "uts"))
        assert cgroup_of(box.init_pid) == f"/{FOLDER}/{cgroup_name(NAME, own_namespace=False)}"
        assert cgroup_of(status_of(box.init_pid)["PPid"][0]) == cgroup_of("self")
        assert box.exec(["sh", "-c", "exit 7"]).wait() == 7


def test_without_a_pid_namespace_what_outlives_the_main_process_goes_at_the_end():
    with Container(NAME, host_pid=True) as box:
        started(box, ["sh", "-c", "sleep 3600 & sleep 3601 & sleep infinity"])
        wait_for(lambda: len(box.cgroup.pids()) == 4, "three programs")
        others = set(box.cgroup.pids()) - {box.init_pid}
        box.stop(0)
        assert set(box.cgroup.pids()) == others
    # Of a process that is just exiting it may not be asked (EACCES), and Path.exists() would raise.
    assert not any(os.path.exists(f"/proc/{pid}/cwd") for pid in others)


def test_a_shared_pid_namespace_is_the_sandboxs():
    with Container(f"{NAME}-pause") as pause, Container(NAME, sandbox=pause) as box:
        started(pause)
        started(box)
        assert namespace_of(box.init_pid) == namespace_of(pause.init_pid) != namespace_of("self")
        host, inside = status_of(box.init_pid)["NSpid"]
        assert (int(host), inside != "1") == (box.init_pid, True)
        assert cgroup_of(box.init_pid) != cgroup_of(pause.init_pid)
        assert namespace_of(status_of(box.init_pid)["PPid"][0]) == namespace_of("self")
        assert box.exec(["cat", "/proc/1/comm"]).wait() == 0
        box.stop(0, signal.SIGTERM)
        assert not pause.has_exited()


@pytest.mark.parametrize("program", ["/sbin/init", "systemd"])
def test_what_would_set_up_this_machine_is_not_started(program):
    with Container(NAME) as box, pytest.raises(RunError, match="would set up this machine"):
        box.start([program])


def test_it_has_one_sub_path_in_each_hierarchy_that_it_needs():
    assert find_memory()
    with Container(NAME, v2=True, memory=MemoryLimit(LIMIT)) as box:
        started(box)
        entered = box.exec(SLEEP)
        for pid in (box.init_pid, entered.await_pid()):
            assert {cgroup_of(pid, hierarchy) for hierarchy in hierarchies()} == {f"/{FOLDER}/{NAME}"}
        assert sorted(map(str, cgroups_of(NAME))) == sorted(box.cgroups.paths)
        limits = [p for path in box.cgroups.paths for p in Path(path).glob("memory.*")]
        (limit,) = [p for p in limits if p.name in {"memory.max", "memory.limit_in_bytes"}]
        assert int(limit.read_text()) == LIMIT


def test_without_a_cgroup_of_version_2_the_next_step_is_named():
    with Container(NAME) as box:
        started(box)
        with pytest.raises(RunError, match="no cgroup of version 2: make it with v2=True"):
            box.cgroups.freeze()


def test_without_a_memory_hierarchy_it_is_refused(monkeypatch):
    monkeypatch.setattr("sigtrace.lab.cgroups.find_other", lambda _: None)
    with (
        Container(NAME, memory=MemoryLimit(LIMIT)) as box,
        pytest.raises(HostError, match="with the memory controller"),
    ):
        box.start(SLEEP)


@pytest.mark.parametrize("hierarchy", hierarchies(), ids=lambda h: h.kind.name.lower())
@pytest.mark.parametrize("name", ["exec-form", "oom-child", "frozen", "cgroup-kill"])
def test_it_works_whatever_the_hierarchy_is_that_containers_live_in(hierarchy, name, monkeypatch):
    monkeypatch.setattr("sigtrace.lab.cgroup.find_hierarchy", lambda: hierarchy)
    if unmet(SCENARIOS[name].needs):  # test_lab looks at the reason
        with pytest.raises(HostError, match="can't be run here"):
            run(SCENARIOS[name])
        return
    result = run(SCENARIOS[name], container=f"{NAME}-{hierarchy.kind.name}")
    assert result.surprises == []
    assert not Path(hierarchy.mount, FOLDER, result.container).exists()


@pytest.mark.parametrize("comm", ["runc", "containerd-shim", "systemd", "sh"])
def test_a_sender_on_the_host_has_the_name_it_was_given(comm, tmp_path):
    said = Outside(tmp_path / "host").run(
        comm, 'read -r name </proc/$$/comm; echo "$name"; while read -r line; do echo "$line"; done </proc/$$/cgroup'
    )
    name, *cgroups = said.splitlines()
    assert name == comm
    assert cgroups == Path("/proc/self/cgroup").read_text().splitlines()


def test_a_sender_that_fails_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"sh outside the container: 'kill -9 none; exit 4' gave 4: .*kill"):
        Outside(tmp_path / "host").run("sh", "kill -9 none; exit 4")


def test_who_sent_it_is_in_the_record():
    (sent,) = run(SCENARIOS["no-stop-signal"]).stop.signals
    assert (sent.signo, sent.sender) == (signal.SIGKILL, "runc")


def test_several_programs_may_enter_and_run_until_the_end():
    with Container(NAME) as box:
        started(box)
        entered = [box.exec(["sleep", str(3600 + n)]) for n in range(4)]
        pids = {program.await_pid() for program in entered}
        assert len(pids) == 4
        assert pids | {box.init_pid} == set(box.cgroup.pids())
        box.stop(0)
        assert [program.wait() for program in entered] == [128 + signal.SIGKILL] * 4


def test_a_tracer_holds_a_process_and_lets_go():
    with Container(NAME) as box:
        started(box)
        with Tracer(box.init_pid):
            assert state_of(box.init_pid) == "t"
            assert status_of(box.init_pid)["TracerPid"] != ["0"]
            with pytest.raises(HostError, match=r"can't be traced: cannot trace: Operation not permitted"):
                Tracer(box.init_pid)
        assert status_of(box.init_pid)["TracerPid"] == ["0"]


def test_a_tracer_lets_go_of_the_dead():
    with Container(NAME) as box:
        started(box)
        with Tracer(box.init_pid):
            assert box.stop(0).wait_status.raw == signal.SIGKILL


# What a lab may be doing when it is killed; ``name`` and ``folder`` are given.
DEATHS = {
    "a plain container": """
        box = Container(name, workdir=folder)
        box.start(["sleep", "infinity"])
        box.wait_ready()
    """,
    "one in the host's PID namespace": """
        box = Container(name, host_pid=True)
        box.start(["sh", "-c", "sleep 3600 & sleep 3601 & sleep infinity"])
        box.wait_ready()
        until(lambda: len(box.cgroup.pids()) == 4, "three programs")
    """,
    "one in a shared PID namespace": """
        pause = Container(name + "-pause")
        pause.start(["sleep", "infinity"])
        pause.wait_ready()
        box = Container(name, sandbox=pause)
        box.start(["sh", "-c", "sleep 3600 & sleep infinity"])
        box.wait_ready()
        box.exec(["sleep", "infinity"]).await_pid()
    """,
    "one that is frozen, with a limit": """
        box = Container(name, v2=True, memory=MemoryLimit(64 << 20))
        box.start(["sh", "-c", "sleep 3600 & sleep infinity"])
        box.wait_ready()
        box.cgroups.freeze()
    """,
    "one that is traced": """
        box = Container(name)
        box.start(["sleep", "infinity"])
        box.wait_ready()
        tracer = Tracer(box.init_pid)
    """,
    "a scenario": """
        path = Folder({"a": "b"}).__enter__()
        box = Container(name, workdir=path)
        box.start(["sleep", "infinity"])
        box.wait_ready()
        os.rename(path / "a", path / "c")
        open(folder + "/path", "w").write(str(path))
    """,
}
PROGRAM = """
import os, sys
from sigtrace.lab.cgroups import MemoryLimit
from sigtrace.lab.container import Container, cgroup_name
from sigtrace.lab.folder import Folder
from sigtrace.lab.process import until
from sigtrace.lab.tracer import Tracer
name, folder = sys.argv[1:]
{deed}
print("ready", flush=True)
input()
"""


@pytest.mark.parametrize("deed", DEATHS)
def test_a_lab_killed_with_9_leaves_nothing_of(deed, tmp_path):
    name = f"{NAME}-orphan"
    program = PROGRAM.format(deed=textwrap.dedent(DEATHS[deed]))
    command = [sys.executable, "-c", program, name, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as lab:
        assert lab.stdout.readline() == "ready\n"
        made = cgroups_of(name)
        assert made
        assert all(processes_of(f"/{FOLDER}/{cgroup.name}") for cgroup in made)
        lab.kill()
    wait_for(lambda: not any(processes_of(f"/{FOLDER}/{cgroup.name}") for cgroup in made), "its processes to end")
    wait_for(lambda: not cgroups_of(name), "its cgroups to go")
    if deed == "a scenario":
        folder = Path((tmp_path / "path").read_text())
        wait_for(lambda: not folder.exists(), "its folder to go")


def test_a_scenario_that_fails_leaves_nothing(monkeypatch):
    made = []

    def fail(scene):
        made.append(scene.box)
        raise RunError("the act failed")

    scenario = dataclasses.replace(SCENARIOS["shared-pid"], act=fail)
    with pytest.raises(RunError, match="the act failed"):
        run(scenario, container=NAME)
    assert not Path(made[0].workdir).exists()


def test_a_scenario_in_which_pid_1_leaves_too_soon_says_so():
    scenario = dataclasses.replace(SCENARIOS["exec-form"], argv=("sh", "-c", "echo early; exit 5"), ready=None)
    with pytest.raises(RunError, match=re.escape("ended before it was asked to stop (exit 5)")):
        run(dataclasses.replace(scenario, act=lambda scene: scene.box.wait()), container=NAME)
