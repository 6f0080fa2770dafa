"""An audit's prediction and the real stop agree: the signal is sent after it, and the kernel says what came of it."""

import dataclasses
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sigtrace.audit.rows import Reaps
from sigtrace.auditor import Auditor
from sigtrace.errors import HostError
from sigtrace.lab import scenario as lab
from sigtrace.lab.container import Container
from sigtrace.lab.folder import Folder
from sigtrace.lab.needs import unmet
from sigtrace.lab.process import state_of
from sigtrace.lab.scenario import PidNamespace
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Result
from tests.kernel.ground import status_of
from tests.kernel.targets import READY

REPOSITORY = Path(__file__).parents[2]
TERM, KILL = signal.SIGTERM, signal.SIGKILL
LASTING_S = 0.05
#: Of these nothing runs that could be looked at: they end before anybody could ask.
RUNNING = [name for name, scenario in SCENARIOS.items() if scenario.ready is not None]

_IDLE = "print('ready', flush=True)\nwhile True:\n    time.sleep(3600)\n"
_HEAD = "import ctypes, os, signal, struct, threading, time\nTERM = {signal.SIGTERM}\n"
_THREAD = (
    _HEAD
    + """
def wait():
    while True:
        print("took", int(signal.sigwait(TERM)), flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, TERM)
threading.Thread(target=wait).start()
"""
    + _IDLE
)
_SIGNALFD = (
    _HEAD
    + """
signal.pthread_sigmask(signal.SIG_BLOCK, TERM)
fd = ctypes.CDLL(None).signalfd(-1, struct.pack("<Q128x", 1 << 14), os.O_CLOEXEC)
print("ready", flush=True)
while True:
    print("took", struct.unpack_from("<I", os.read(fd, 128))[0], flush=True)
"""
)


@pytest.fixture(scope="module")
def auditor(bpf_host):
    with Auditor() as opened:
        yield opened


@pytest.fixture
def box():
    with Container(f"audit-{os.getpid()}") as container:
        yield container


@pytest.fixture
def python(box):
    """Starts a program in Python as PID 1, ready."""
    with Folder({}) as folder:

        def start(program):
            (folder / "app.py").write_text(program)
            box.start([os.path.realpath(sys.executable), str(folder / "app.py")])
            box.wait_ready(READY)

        yield start
        box.close()


def audit_of(auditor, box, asked=0):
    (found,) = [a for a in auditor.audit(LASTING_S, asked=asked) if a.workload.cgroup_id == box.cgroup_id]
    assert found.main.pid == box.init_pid
    return found


def words(found):
    return f"{found.would_be}/{found.cause}"


def pends(pid, signo=TERM):
    said = status_of(pid)
    return signals.in_mask(int(said["SigPnd"][0], 16) | int(said["ShdPnd"][0], 16), signo)


# ---- one program each


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [
        ("pause", "dropped/no-handler"),
        ("handler", "handled/handler"),
        ("ignore", "ignored/sig-ign"),
        ("block", "pending/blocked"),
        ("block-ignore", "pending/blocked"),
        ("sigwait", "taken/sigwait"),
        ("sigtimedwait", "taken/sigwait"),
        ("signalfd", "taken/signalfd"),
        ("thread-handler", "handled/handler"),
    ],
)
def test_pid_1_meets_sigterm_as_predicted(auditor, box, program, wait_until, mode, verdict):
    box.start([str(program), mode])
    box.wait_ready(READY)
    assert words(audit_of(auditor, box)) == verdict
    box.kill(TERM)
    would_be = verdict.partition("/")[0]
    if would_be in {"handled", "taken"}:
        wait_until(lambda: b"took 15\n" in box.output, what="the program to say that it took SIGTERM")
    assert pends(box.init_pid) == (would_be == "pending")
    assert not box.has_exited()


@pytest.mark.parametrize(("text", "cause"), [(_THREAD, "sigwait"), (_SIGNALFD, "signalfd")])
def test_what_python_fetches_itself_is_taken_and_never_called_deaf(auditor, box, python, wait_until, text, cause):
    python(text)
    found = audit_of(auditor, box)
    assert (words(found), found.severity) == (f"taken/{cause}", None)
    box.kill(TERM)
    wait_until(lambda: b"took 15\n" in box.output, what="python to take SIGTERM")


_BESIDE = (
    _HEAD
    + """
def beside():
    signal.pthread_sigmask(signal.SIG_BLOCK, TERM)
    while True:
        signal.sigwait({waited})
threading.Thread(target=beside, daemon=True).start()
"""
    + _IDLE
)


@pytest.mark.parametrize("waited", ["TERM", "{signal.SIGUSR1}"])
def test_a_thread_in_sigwait_does_not_help_an_init_whose_leader_does_not_block(auditor, box, python, waited):
    python(_BESIDE.replace("{waited}", waited))
    assert words(audit_of(auditor, box)) == "dropped/no-handler"
    box.kill(TERM)
    assert not pends(box.init_pid)
    assert not box.has_exited()


def test_what_only_the_leader_blocks_is_up_to_the_kernel(auditor, box, program):
    """Which of the two it does is in test_delivery.py."""
    box.start([str(program), "thread-default"])
    box.wait_ready(READY)
    assert words(audit_of(auditor, box)) == "unknown/another-thread"


@pytest.mark.parametrize(("mode", "verdict"), [("pause", "dropped/no-handler"), ("handler", "pending/stopped")])
def test_a_stopped_pid_1_drops_it_without_a_handler_and_keeps_it_with_one(
    auditor, box, program, wait_until, mode, verdict
):
    box.start([str(program), mode])
    box.wait_ready(READY)
    box.kill(signal.SIGSTOP)
    wait_until(lambda: state_of(box.init_pid) == "T", what="PID 1 to stop")
    assert words(audit_of(auditor, box)) == verdict
    box.kill(TERM)
    assert pends(box.init_pid) == (mode == "handler")


def test_another_signal_can_be_asked_about(auditor, box, program):
    box.start([str(program), "handler"])
    box.wait_ready(READY)
    assert words(audit_of(auditor, box, asked=signal.SIGQUIT)) == "dropped/no-handler"
    box.kill(signal.SIGQUIT)
    assert not pends(box.init_pid, signal.SIGQUIT)
    assert not box.has_exited()


@pytest.mark.parametrize(("mode", "reaps", "zombies"), [("child", Reaps.NO, 1), ("child-ignored", Reaps.YES, 0)])
def test_zombies_show_that_pid_1_does_not_reap(auditor, box, program, wait_until, mode, reaps, zombies):
    box.start([str(program), mode, "exit-now", "0"])
    box.wait_ready(READY)
    wait_until(lambda: len(box.zombies()) == zombies, what="the child to end")
    found = audit_of(auditor, box)
    assert (found.reaps, found.zombie_count) == (reaps, zombies)
    assert [debt.parent.pid for debt in found.zombies] == [box.init_pid] * zombies


def test_tini_is_never_called_deaf_however_often_one_looks(auditor, box):
    box.start(["tini", "--", "sleep", "infinity"])
    box.wait_ready()
    for _ in range(20):
        found = audit_of(auditor, box)
        assert (words(found), found.reaps, found.severity) == ("taken/sigwait", Reaps.YES, None)


# ---- the lab's scenarios

#: Causes of drops that are not the stop signal's, or not of the kind that can be seen before it is sent.
NOT_FORESEEN = {"from-inside", "late-drop"}


def outcome(watch, key, signo, since_ns):
    """What the kernel did with the first stop signal since then; a scenario has ended before this is asked."""
    watch.drain()
    exits = watch.first(key, "exit")
    (sent, *_) = [e for e in watch.generated(key, signo) if e.time_ns >= since_ns]
    taken_up = [e for e in watch.delivered(key, signo) if sent.time_ns <= e.time_ns]
    if sent.result is Result.IGNORED:
        return "ignored" if sent.disposition is Disposition.IGNORE else "dropped"
    if any(e.disposition is Disposition.HANDLER for e in taken_up):
        return "handled"
    if sent.waited:
        return "taken"
    return "default" if exits.wait_status.signal == signo else "pending"


@pytest.mark.parametrize("name", RUNNING)
def test_a_prediction_and_the_real_stop_of_a_scenario_agree(auditor, watch, name):
    scenario = SCENARIOS[name]
    if reason := unmet(scenario.needs):
        with pytest.raises(HostError, match=re.escape(reason)):
            lab.run(scenario)
        return
    expect, found = scenario.expect, []
    # Where somebody else ends the container it is stopped here in their place.
    ended_by_others = expect.outcome == "killed" or expect.cause == "pre-stop"

    def act(scene):
        if not ended_by_others:
            scenario.act(scene)
        found.append((audit_of(auditor, scene.box, scenario.signo), lab.now_ns()))

    if ended_by_others:
        expect = dataclasses.replace(expect, sent=(scenario.signo, KILL))
    own = scenario.pid_namespace is PidNamespace.OWN
    # Without an init in it only its name shows that a cgroup is a container's.
    container = f"audit-{os.getpid()}-{name}" if own else f"docker-{secrets.token_hex(32)}"
    lab.run(
        dataclasses.replace(scenario, act=act, expect=expect),
        grace_s=2 if ended_by_others else lab.GRACE_S,
        container=container,
        zombie_after_s=0.1,
        unanswered_after_s=0.1,
    )
    ((audited, at_ns),) = found
    if audited.would_be == "unknown":
        assert (name, audited.cause) == ("traced", "traced")
    else:
        assert audited.would_be == outcome(watch, audited.main.key, scenario.signo, at_ns)
    causes = {cause for code, cause in expect.findings if code == "signal-dropped" and cause not in NOT_FORESEEN}
    if audited.would_be == "dropped" and not ended_by_others:
        assert causes == {audited.cause}
    assert audited.is_init == own
    owed = any(code == "zombie-unreaped" for code, _ in expect.findings)
    assert bool(audited.zombies) == owed
    if ("zombie-unreaped", "pid1-does-not-reap") in expect.findings:
        assert audited.reaps is Reaps.NO


# ---- the command


def execute(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sigtrace.cli.main", "audit", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def test_the_command_tells_a_record_and_fails_where_it_is_asked_to(box):
    box.start(["sleep", "infinity"])
    box.wait_ready()
    done = execute("-o", "json", "--fail-on", "error", box.name)
    assert (done.returncode, done.stderr) == (1, "")
    record = json.loads(done.stdout)
    assert (record["type"], record["would_be"], record["cause"]) == ("audit", "dropped", "no-handler")
    assert (record["task"]["pid"], record["workload"]["container_name"]) == (box.init_pid, box.name)
    assert record["masks"]["caught"] == status_of(box.init_pid)["SigCgt"][0]


def test_the_command_tells_a_person_in_80_columns(box):
    box.start(["sh", "-c", "sleep 3600; true"])
    box.wait_ready()
    done = execute(box.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "shell form: sh is PID 1" in done.stdout
    assert "sleep is its child" in " ".join(done.stdout.split())


def test_without_a_container_that_is_meant_it_says_so_and_ends_with_0():
    done = execute("--pod", f"audit-{os.getpid()}-nobody", "--fail-on", "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"(no container is running|none of the \d+ running containers is meant)\n", done.stdout)
