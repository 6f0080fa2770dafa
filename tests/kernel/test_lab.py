"""The lab's containers are what it says they are: the ground truth, without sigtrace."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.errors import HostError, RunError
from sigtrace.lab.cgroup import FOLDER, LabCgroup
from sigtrace.lab.container import Container
from sigtrace.lab.needs import unmet
from sigtrace.lab.process import argv_of, tool
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel.ground import SLEEP, cgroup_of, cgroups_of, names_in, namespace_of, nothing_left, status_of, wait_for

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def box(request):
    with Container(f"test-{os.getpid()}") as container:
        yield container


@pytest.fixture(autouse=True)
def _nothing_left():
    with nothing_left():
        yield


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_as_it_says(name):
    scenario = SCENARIOS[name]
    if reason := unmet(scenario.needs):
        with pytest.raises(HostError, match=re.escape(f"the scenario {name} can't be run here: {reason}")):
            run(scenario)
        return
    container = f"test-{os.getpid()}-{name}"
    result = run(scenario, container=container, zombie_after_s=0.1, unanswered_after_s=0.1)
    assert cgroups_of(container) == []
    expect = scenario.expect
    assert result.surprises == [], result.output
    assert result.wait_status.code == expect.status_code
    assert result.stop.killed == expect.killed
    if result.wait_status.signal == signal.SIGKILL and not scenario.memory:
        assert expect.killed
    times = [result.started_ns, result.ready_ns, *(s.time_ns for s in result.stop.signals), result.stop.exited_ns]
    assert times == sorted(times)
    if expect.findings & {("killed", "grace-expired"), ("killed", "grace-shortened")}:
        first, last = (sent.time_ns for sent in result.stop.signals[-2:])
        assert (last - first) / 1e9 >= result.grace_s


def test_the_grace_is_a_parameter():
    result = run(SCENARIOS["no-handler"], grace_s=0.05)
    assert 0.05 <= result.stop.duration_s < 0.3


def test_pid_1_is_init_of_its_own_namespaces(box):
    box.start(SLEEP)
    box.wait_ready()
    assert status_of(box.init_pid)["NSpid"] == [str(box.init_pid), "1"]
    for kind in ("pid", "mnt", "uts"):
        assert namespace_of(box.init_pid, kind) != namespace_of("self", kind)
    inside = box.exec(["sh", "-c", "hostname; echo /proc/[0-9]*; cat /proc/1/comm"])
    assert inside.wait() == 0
    hostname, processes, comm = inside.output.decode().splitlines()
    assert hostname == box.name
    assert {"/proc/1", "/proc/2"} <= set(processes.split()) <= {f"/proc/{n}" for n in range(1, 5)}
    assert comm == "sleep"


def test_pid_1_has_a_cgroup_of_its_own_and_its_parent_is_outside(box):
    box.start(SLEEP)
    box.wait_ready()
    parent = int(status_of(box.init_pid)["PPid"][0])
    assert cgroup_of(box.init_pid) == f"/{FOLDER}/{box.name}"
    assert cgroup_of(parent) == cgroup_of("self")
    assert namespace_of(parent) == namespace_of("self")
    assert box.cgroup_id == box.cgroup.path.stat().st_ino
    assert box.cgroup.pids() == [box.init_pid]


def test_nothing_of_ours_is_handed_down(box):
    """Neither ignored nor blocked signals, nor descriptors, nor the environment."""
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.signal(signo, signal.SIG_IGN) for signo in ours]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    os.set_inheritable(leak := os.open("/dev/null", os.O_RDONLY), True)
    try:
        box.start(SLEEP)
        box.wait_ready()
        status = status_of(box.init_pid)
        # 32 and 33 are glibc's own: its posix_spawn (make uses it) leaves them ignored, and its sigaction lets nobody
        # change that.
        own = 1 << 31 | 1 << 32
        assert not any(int(status[f"Sig{which}"][0], 16) & ~own for which in ("Blk", "Ign", "Cgt"))
        assert names_in(f"/proc/{box.init_pid}/fd") == ["0", "1", "2"]
        environment = Path(f"/proc/{box.init_pid}/environ").read_text().strip("\0").split("\0")
        assert {word.partition("=")[0] for word in environment} <= {"PATH", "PWD", "OLDPWD"}
        assert box.stop(0).killed
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGTERM, signal.SIGUSR1} | mask
    finally:
        os.close(leak)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for signo, handler in zip(ours, before, strict=True):
            signal.signal(signo, handler)


def test_an_exec_has_its_parent_outside_the_namespace_and_the_cgroup(box):
    box.start(SLEEP)
    box.wait_ready()
    entered = box.exec(["sleep", "3600"])
    wait_for(lambda: len(box.cgroup.pids()) == 2, "the exec to enter the cgroup")
    (pid,) = set(box.cgroup.pids()) - {box.init_pid}
    wait_for(lambda: argv_of(pid) == ("sleep", "3600"), "sleep 3600")
    status = status_of(pid)
    assert len(status["NSpid"]) == 2
    parent = int(status["PPid"][0])
    assert cgroup_of(parent) == cgroup_of("self")
    assert len(status_of(parent)["NSpid"]) == 1
    box.stop(0)
    assert entered.wait() == 128 + signal.SIGKILL


def test_kill_9_from_inside_does_nothing(box):
    box.start(SLEEP)
    box.wait_ready()
    assert box.kill_from_inside("kill -9 1") == 0
    assert not box.has_exited()


@pytest.mark.parametrize(
    ("program", "raw"),
    [("exit 0", 0), ("exit 3", 3 << 8), ("exit 137", 137 << 8), ("ulimit -c 0; kill -SEGV $$; exit 9", 9 << 8)],
)
def test_the_wait_status_is_the_true_one(box, program, raw):
    """Exit 137 is not SIGKILL, and a shell that sends PID 1 a SIGSEGV is not a fault."""
    box.start(["sh", "-c", program])
    assert box.wait().raw == raw
    stop = box.stop(1)
    assert (stop.signals, stop.killed, stop.wait_status.raw) == ((), False, raw)


def test_sigkill_from_outside_is_told_from_exit_137(box):
    box.start(SLEEP)
    box.wait_ready()
    box.kill(signal.SIGKILL)
    assert box.wait().raw == signal.SIGKILL


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_block_leaves_nothing(error):
    box = Container(f"test-{os.getpid()}-raise")

    def interrupted():
        with box:
            box.start(["sh", "-c", "sleep 3600 & sleep 3600"])
            box.wait_ready()
            box.exec(["sleep", "3600"])
            raise error

    with pytest.raises(error):
        interrupted()
    assert not Path(f"/proc/{box.init_pid}").exists()
    assert not box.cgroup.path.exists()


def test_a_missing_program_is_one_clear_error(box):
    box.start(["no-such-program"])
    with pytest.raises(RunError, match=r"ended before it was ready \(exit 127\): .*no-such-program: not found"):
        box.wait_ready()


def test_what_was_awaited_is_in_the_error(box):
    box.start(SLEEP)
    box.wait_ready()
    with pytest.raises(RunError, match=r"waited 0.05 s for the output 'hello' in container"):
        box.wait_ready(b"hello", timeout_s=0.05)
    with pytest.raises(RunError, match=r"waited 0.01 s for the end of PID 1"):
        box.wait(0.01)


def test_a_name_that_is_taken_is_refused_and_the_other_lives(box):
    box.start(SLEEP)
    box.wait_ready()
    with pytest.raises(RunError, match="exists already"), Container(box.name) as other:
        other.start(SLEEP)
    assert not box.has_exited()


def test_a_cgroup_takes_its_processes_with_it():
    cgroup = LabCgroup(f"test-{os.getpid()}-left")
    cgroup.create()
    program = subprocess.Popen(["sh", "-c", 'echo 0 >"$0/cgroup.procs"; exec sleep 3600', str(cgroup.path)])
    with program:
        wait_for(cgroup.pids, "the process to enter the cgroup")
        cgroup.remove()
    assert program.returncode == -signal.SIGKILL
    assert not cgroup.path.exists()


RUN = textwrap.dedent("""
    from sigtrace.lab.scenario import run
    from sigtrace.lab.scenarios import SCENARIOS
    from sigtrace.errors import HostError
    try:
        ok = all(run(SCENARIOS[name], 0.05).as_expected for name in ("exec-form", "kill-from-inside", "shell-form"))
    except HostError as error:
        ok = str(error)
    open(3, "w").write(str(ok))
""")


def in_shell(line, program=RUN):
    """What RUN says when a shell starts it in a way of its own; descriptor 3 is where it writes."""
    reader, writer = os.pipe()
    command = f"exec 3>&{writer} {writer}>&-; {line}"
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", program],
        pass_fds=[writer], cwd=REPOSITORY, check=False, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader) as said:
        return said.read() or done.stderr


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('"$@" <&-', id="stdin closed"),
        pytest.param('"$@" <&- >&- 2>&-', id="all closed"),
        pytest.param('nohup "$@" </dev/null >/dev/null 2>&1 & wait', id="in the background under nohup"),
        pytest.param('setsid -w "$@"', id="no terminal"),
        pytest.param('trap "" TERM INT CHLD; "$@"', id="signals ignored"),
    ],
)
def test_it_works_however_it_is_started(line):
    assert in_shell(line) == "True"


def test_without_a_writable_hierarchy_the_next_step_is_named(box, monkeypatch, tmp_path):
    monkeypatch.setattr("sigtrace.lab.cgroup.FOLDER", "cgroup.procs/x")
    with pytest.raises(HostError, match=r"cannot make the cgroup .*mounted writable"):
        box.start(SLEEP)


def test_without_dash_the_package_is_named(box, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    tool.cache_clear()
    with pytest.raises(HostError, match="needs dash, which is not installed: install the package dash"):
        box.start(SLEEP)
    tool.cache_clear()


def test_another_user_is_told_to_be_root():
    # Become nobody only after the imports: the interpreter or the checkout may lie where nobody may look.
    become = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    program = RUN.replace("\ntry:", f"\n{become}\ntry:")
    assert in_shell('"$@"', program) == "the lab makes containers, which needs root: run it with sudo"


def test_root_without_cap_sys_admin_is_told_so():
    said = in_shell('setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin -- "$@"')
    assert "Operation not permitted: the lab needs CAP_SYS_ADMIN" in said


def test_containers_can_be_made_in_parallel():
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: run(SCENARIOS["exec-form"], grace_s=10), range(40)))
    assert all(result.as_expected for result in results)
    assert len({result.cgroup_id for result in results}) == 40


def test_fifty_containers_one_after_the_other():
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        assert run(SCENARIOS["exec-form"]).as_expected
        times.append((time.perf_counter() - begin) * 1000)
    times.sort()
    print(f"\na container from nothing to nothing: median {times[25]:.1f} ms, slowest {times[-1]:.1f} ms")
