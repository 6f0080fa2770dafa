"""SIGKILL, and who sent it."""

from __future__ import annotations

import signal

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import (
    GOOD_SERVER,
    PYTHON_READY,
    READY,
    SERVER,
    SLOW_SERVER,
    STOPS,
    app,
    ends,
    graceful,
)
from sigtrace.lab.scene import kill_by, kill_by_cgroup, leave_unanswered, time_out, wait_for_end

# gunicorn's way with a worker that has not answered for too long: SIGABRT, which this one swallows, then SIGKILL.
_BY_PARENT = """\
def hang():
    signal.signal(signal.SIGABRT, lambda *_: None)
    os.write(out, b"!")
    work()


back, out = os.pipe()
hung = start(hang)
os.read(back, 1)
os.kill(hung, signal.SIGABRT)
time.sleep(0.05)
os.kill(hung, signal.SIGKILL)
ended()
start()
"""
_BY_CHILD = app("start(lambda: os.kill(main, signal.SIGKILL))\n")
_BY_PEER = """\
victim = start()
start(lambda: os.kill(victim, signal.SIGKILL))
ended()
ended()
"""
_WITH_WORKER = {"app.conf": "(read -r end <requests) &\n" + GOOD_SERVER["app.conf"]}


def _kills_pid_1(name: str, title: str, person: str, comm: str, cause: str) -> Scenario:
    return Scenario(
        name=name,
        title=title,
        person=person,
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        act=kill_by(comm),
        expect=ends(f"killed/{cause}", 137, f"killed/{cause}"),
    )


BY_PARENT = Scenario(
    name="by-parent",
    title="Perhaps out of memory? No: PID 1 killed its hung worker, SIGABRT first, and started another",
    person=STOPS,
    argv=("python3", "app.py"),
    files=app(_BY_PARENT),
    ready=PYTHON_READY,
    expect=graceful("killed/by-parent", said={"a worker ended with -9": 1}),
)

SCENARIOS = (
    BY_PARENT,
    Scenario(
        name="by-child",
        title="a child kills its parent, and tini relays that: exit 137 without any SIGKILL to PID 1",
        person="runs it",
        argv=("tini", "--", "python3", "app.py"),
        files=_BY_CHILD,
        ready=None,
        act=wait_for_end,
        expect=ends("crashed/relayed", 137, "killed/by-child", "crashed/relayed", relayed=True),
    ),
    Scenario(
        name="by-peer",
        title="one worker kills another, and PID 1 goes on",
        person=STOPS,
        argv=("python3", "app.py"),
        files=app(_BY_PEER),
        ready=PYTHON_READY,
        expect=graceful("killed/by-peer", said={"a worker ended with -9": 1, "a worker ended with 0": 1}),
    ),
    _kills_pid_1(
        "operator", "137 was not memory: a shell on the host killed PID 1", "kills it by hand", "sh", "manual"
    ),
    _kills_pid_1(
        "no-stop-signal",
        "a runtime kills at once, as docker kill does",
        "kills the container",
        "runc",
        "no-stop-signal",
    ),
    _kills_pid_1("unit-stop", "systemd kills what is left of a unit", "stops the unit", "systemd", "unit-stop"),
    Scenario(
        name="cgroup-kill",
        title="a shell on the host writes 1 to cgroup.kill: all inside die at once",
        person="kills the cgroup",
        argv=SERVER,
        files=_WITH_WORKER,
        ready=READY,
        act=kill_by_cgroup,
        v2=True,
        also_needs=("cgroup.kill",),
        expect=ends("killed/manual", 137, "killed/manual"),
    ),
    Scenario(
        name="exec-timeout",
        title="a probe takes too long and the runtime kills it; the container goes on",
        person="lets a probe time out, then stops the container",
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        act=time_out("sleep", "infinity"),
        expect=graceful("killed/exec-timeout", seen={"exec": 137}),
    ),
    Scenario(
        name="grace-shortened",
        title="30 s of grace were configured, SIGKILL came long before",
        person="stops the container with a grace period of its own",
        argv=SERVER,
        files=SLOW_SERVER,
        ready=READY,
        grace_limit_s=30.0,
        expect=ends(
            "escalated/grace-shortened",
            137,
            "killed/grace-shortened",
        ),
    ),
    Scenario(
        name="stop-unanswered",
        title="a stop signal is dropped and nothing follows it; much later somebody kills the container by hand",
        person="asks it to stop, and kills it in the end",
        argv=("sleep", "infinity"),
        act=leave_unanswered,
        expect=ends(
            "killed/manual",
            137,
            "signal-dropped/no-handler",
            "stop-unanswered/dropped",
            "killed/manual",
            sent=(signal.SIGTERM, signal.SIGKILL),
        ),
    ),
)
