"""The OOM killer, and what exit codes make of it."""

from __future__ import annotations

from typing import Final

from sigtrace.lab.cgroups import MemoryLimit
from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import ends
from sigtrace.lab.scene import wait_for_end

_RUNS = "runs it with too little memory"
_LIMIT: Final = 48 << 20

_EAT = """\
def eat():
    blocks = []
    while True:
        blocks.append(b"x" * (1 << 20))


"""
_CHILD = """\
import os, sys

pid = os.fork()
if pid == 0:
    eat()
_, status = os.waitpid(pid, 0)
print("app.py: the worker ended with", os.waitstatus_to_exitcode(status))
sys.exit(1)
"""

OOM_CHILD = Scenario(
    name="oom-child",
    title="exit 1, and yet it was memory: the OOM killer took the worker, PID 1 failed by itself",
    person=_RUNS,
    argv=("python3", "app.py"),
    files={"app.py": _EAT + _CHILD},
    ready=None,
    act=wait_for_end,
    memory=MemoryLimit(_LIMIT),
    expect=ends(
        "crashed/exit-status",
        1,
        "killed/oom",
        "crashed/exit-status",
        seen={"oom_kills": 1},
        said={"the worker ended with -9": 1},
    ),
)

SCENARIOS = (
    Scenario(
        name="oom",
        title="PID 1 goes over its memory limit: the OOM killer takes it",
        person=_RUNS,
        argv=("python3", "app.py"),
        files={"app.py": _EAT + "eat()\n"},
        ready=None,
        act=wait_for_end,
        memory=MemoryLimit(_LIMIT),
        expect=ends("oom/main-process", 137, "killed/oom", seen={"oom_kills": 1}),
    ),
    OOM_CHILD,
    Scenario(
        name="oom-relayed",
        title="the OOM killer takes a shell's child and the shell exits with 137 by itself",
        person=_RUNS,
        argv=("sh", "-c", "python3 app.py; exit $?"),
        files={"app.py": _EAT + "eat()\n"},
        ready=None,
        act=wait_for_end,
        memory=MemoryLimit(_LIMIT),
        expect=ends("oom/relayed", 137, "killed/oom", relayed=True, seen={"oom_kills": 1}),
    ),
    Scenario(
        name="oom-group",
        title="memory.oom.group, the kubelet's default: one process over the limit takes all with it",
        person=_RUNS,
        argv=("python3", "app.py"),
        files={"app.py": _EAT + _CHILD},
        ready=None,
        act=wait_for_end,
        memory=MemoryLimit(_LIMIT, group=True),
        also_needs=("memory.oom.group",),
        expect=ends("oom/group", 137, "killed/oom", seen={"oom_group": 1}, said={"the worker ended": 0}),
    ),
)
