"""The backend ptrace where yama restricts ptrace. In a guest only: ptrace_scope 3 stays until the machine restarts.

python -m tests.vm.run --kernel 6.1 -- .venv/bin/python -m pytest -m vm tests/vm/test_yama.py
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
pytestmark = pytest.mark.skipif(
    "SIGTRACE_VM" not in os.environ or not SCOPE.exists(), reason="changes a sysctl for good: run it in a guest"
)
SIGTRACE = (sys.executable, "-m", "sigtrace.cli.main")
TRACE = (*SIGTRACE, "trace", "--backend", "ptrace")
#: Emulated, Python starts in seconds.
PATIENCE_S = 60
ROOT, USER = (), ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
WHO = pytest.mark.parametrize("who", [pytest.param(ROOT, id="root"), pytest.param(USER, id="user")])
COMMAND = ("sh", "-c", "trap : USR1; kill -USR1 $$; sh -c 'kill -TERM $$'; exit 5")


@pytest.fixture(scope="module", autouse=True)
def _modules():
    """As on a node without headers: the guest's own modules are a link into root's home."""
    with tempfile.TemporaryDirectory(dir="/run") as empty:
        Path(empty).chmod(0o755)
        subprocess.run(["mount", "--bind", empty, "/lib/modules"], check=True)
        yield
        subprocess.run(["umount", "/lib/modules"], check=True)


def execute(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def traced(who, *, until):
    """What is told of a process that is no descendant of sigtrace's and gets SIGTERM once a line says ``until``.

    stdout and stderr, which says ``ready`` or why not.
    """
    with subprocess.Popen([*who, "sleep", "infinity"]) as program:
        with subprocess.Popen(
            [*who, *TRACE, "-p", str(program.pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as trace:
            watchdog = threading.Timer(PATIENCE_S, trace.kill)
            watchdog.start()
            said = []
            for line in trace.stderr:
                said.append(line)
                if until in line:
                    break
            program.terminate()
            told = []
            for line in trace.stdout:
                told.append(line)
                if f"sleep[{program.pid}] exits" in line:
                    break
            trace.send_signal(signal.SIGINT)
            rest = trace.communicate()
            watchdog.cancel()
        program.kill()
    return "".join(told) + rest[0], "".join(said) + rest[1]


@WHO
@pytest.mark.parametrize("scope", [0, 1, 2])
def test_a_command_of_ones_own_is_traced_unless_only_root_may(scope, who):
    SCOPE.write_text(str(scope))
    done = execute(*who, *TRACE, "--", *COMMAND)
    if (scope, who) == (2, USER):
        assert done.returncode == 3
        assert "yama: kernel.yama.ptrace_scope is 2, and CAP_SYS_PTRACE is missing" in done.stderr
        assert "set kernel.yama.ptrace_scope to 0 or 1" in done.stderr
        return
    assert done.returncode == 5, done.stderr
    assert "SIGUSR1 taken up by sh" in done.stdout
    # A child is traced from its birth: yama is not asked about it.
    assert "exits: exit 143 = 128 + SIGTERM" in done.stdout


@WHO
def test_ones_own_process_is_traced_without_restrictions(who):
    SCOPE.write_text("0")
    told, said = traced(who, until="ready")
    assert "SIGTERM taken up by sleep" in told, said


def test_a_process_that_is_no_descendant_is_traced_by_root_alone():
    SCOPE.write_text("1")
    told, said = traced(ROOT, until="ready")
    assert "SIGTERM taken up by sleep" in told, said
    told, said = traced(USER, until="cannot trace")
    assert "taken up" not in told
    assert "kernel.yama.ptrace_scope is 1, and it is no descendant of ours" in said


def test_doctor_says_what_a_plain_user_may_not_and_how_to_change_it():
    SCOPE.write_text("2")
    done = execute(*USER, *SIGTRACE, "doctor")
    assert "kernel.yama.ptrace_scope is 2, and CAP_SYS_PTRACE is missing" in " ".join(done.stdout.split())


@WHO
def test_where_nobody_may_trace_root_is_told_so_too(who):
    SCOPE.write_text("3")
    done = execute(*who, *TRACE, "--", *COMMAND)
    assert done.returncode == 3
    assert "kernel.yama.ptrace_scope is 3: nobody may trace until this machine is started again" in done.stderr
