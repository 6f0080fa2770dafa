"""What capturing needs is CAP_BPF and CAP_PERFMON and no more; where something is missing one line says what."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SIGTRACE = [sys.executable, "-m", "sigtrace.cli.main"]
#: It captures like a command does, and prints what it could.
CAPTURE = """
import json, os, signal, subprocess
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions

source = BpfSource(BpfOptions(follow=(os.getpid(),), children=True))
source.open()
snapshot = source.snapshot()
child = subprocess.Popen(["sleep", "infinity"])
child.terminate()
child.wait()
events = []
while not any(e.kind == "reap" for e in events):
    events += [e for e in source.read(0.1).events if e.task and e.task.pid == child.pid]
capabilities = next(l for l in open("/proc/self/status") if l.startswith("CapEff")).split()[1]
print(json.dumps({
    "capabilities": int(capabilities, 16),
    "uid": os.getuid(),
    "known": sorted(e.task.pid for e in snapshot if e.task.pid in (2, os.getpid())),
    "kinds": sorted({str(e.kind) for e in events}),
    "lost": source.ledger()["missed"],
}))
source.close()
"""
BPF, PERFMON = 1 << 39, 1 << 38

#: Without it auto comes to ptrace.
BPF_ALONE = ("--backend", "bpf")


@pytest.fixture(autouse=True)
def _host(bpf_host):
    for tool in ("setpriv", "unshare"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}: install the package util-linux")


def test_auto_says_why_it_came_to_ptrace():
    done = execute(*with_capabilities(), *SIGTRACE, "trace", "true")
    assert done.returncode == 0
    assert "bpf is refused: no CAP_BPF and CAP_PERFMON" in done.stderr
    assert "ready backend=ptrace" in done.stderr


def execute(*command):
    return subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30)


def with_capabilities(*names):
    """As uid 0 with exactly these. Before 5.11 maps count against the memlock limit: raised if possible."""
    chosen = ",".join(("-all", *(f"+{name}" for name in names)))
    raised = ["sh", "-c", 'ulimit -l unlimited 2>/dev/null; exec "$@"', "sh"]
    return [*raised, "setpriv", f"--bounding-set={chosen}", f"--inh-caps={chosen}", "--"]


def refusal(*command):
    """The one line on stderr of a command that could not begin, exit status 3."""
    done = execute(*command)
    assert done.returncode == 3, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("sigtrace: ")
    return line


def test_with_cap_bpf_and_cap_perfmon_alone_it_loads_attaches_iterates_and_sees():
    done = execute(*with_capabilities("bpf", "perfmon"), sys.executable, "-c", CAPTURE)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert (got["capabilities"], got["uid"]) == (BPF | PERFMON, 0)
    assert len(got["known"]) == 2
    assert set(got["kinds"]) == {"exec", "exit", "reap", "signal_deliver", "signal_generate"}
    assert got["lost"] == 0


def test_with_these_two_a_command_is_ready_and_ends_with_0():
    done = execute(*with_capabilities("bpf", "perfmon"), *SIGTRACE, "watch", "--duration", "0.1", "-o", "json")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("sigtrace: ready backend=bpf")


def test_without_cap_perfmon_the_line_names_it():
    line = refusal(*with_capabilities("bpf"), *SIGTRACE, "trace", *BPF_ALONE, "--duration", "1")
    assert "no CAP_PERFMON:" in line
    assert "securityContext.capabilities.add: [BPF, PERFMON]" in line


def test_without_cap_bpf_the_line_names_it():
    assert "no CAP_BPF:" in refusal(*with_capabilities("perfmon"), *SIGTRACE, "watch", *BPF_ALONE)


def test_root_without_any_capability_is_told_which():
    line = refusal(*with_capabilities(), *SIGTRACE, "trace", *BPF_ALONE, "true")
    assert "no CAP_BPF and CAP_PERFMON:" in line


@pytest.mark.parametrize("command", [["watch", *BPF_ALONE], ["trace", *BPF_ALONE, "true"], ["demo"]])
def test_another_user_is_told_what_to_do(command):
    # It becomes nobody only after the imports: the interpreter or the checkout may lie where nobody may look.
    become = (
        "import sys, os; from sigtrace.cli import main, watch, trace, demo; "
        "from sigtrace import commands, demonstration; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main.main(sys.argv[1:]))"
    )
    line = refusal(sys.executable, "-c", become, *command)
    assert "CAP_BPF" in line
    assert "sudo" in line


def test_in_a_foreign_pid_namespace_the_line_says_hostpid():
    line = refusal("unshare", "--pid", "--fork", "--mount-proc", *SIGTRACE, "watch", *BPF_ALONE)
    assert "hostPID" in line
    assert "--pid=host" in line


def test_under_a_seccomp_filter_that_denies_bpf_the_line_says_so(program):
    line = refusal(program, "without-bpf", *SIGTRACE, "watch", *BPF_ALONE)
    assert "seccomp" in line
    assert "Unconfined" in line


def test_doctor_says_the_same_without_failing_as_another_user():
    doctor = execute("setpriv", "--bounding-set=-all,+bpf", "--inh-caps=-all,+bpf", "--", *SIGTRACE, "doctor")
    assert "Traceback" not in doctor.stderr
    assert "CAP_PERFMON" in doctor.stdout


def test_a_refused_command_leaves_nothing_behind(program):
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    refusal(program, "without-bpf", *SIGTRACE, "trace", *BPF_ALONE, "--", "sleep", "infinity")
    assert Path(f"/proc/self/task/{os.getpid()}/children").read_text() == children
