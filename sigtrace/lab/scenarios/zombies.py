"""Children that nobody waits for."""

from __future__ import annotations

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import PYTHON_READY, app, graceful
from sigtrace.lab.scene import leave_orphan, let_zombies_age

_LATER = "looks at the container some time later, then stops it"

# The parent forgets what it started: at its end it has nobody to wait for.
_NEVER_WAITS = """\
for _ in range(3):
    start(lambda: None)
workers.clear()
"""
_DOUBLE_FORK = """\
def daemonize():
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.001)
        os._exit(0)


os.waitpid(start(daemonize), 0)
workers.clear()
"""
_SUBREAPER = f"""\
import ctypes

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
{_DOUBLE_FORK}"""

EXEC_SLEEP = Scenario(
    name="exec-sleep",
    title="a probe leaves a process behind (sh -c 'sleep 0.1 & exit'): a zombie, for PID 1 does not reap it",
    person="lets a probe run, looks some time later, then stops the container",
    argv=("python3", "app.py"),
    files=app(""),
    ready=PYTHON_READY,
    act=leave_orphan,
    expect=graceful("zombie-unreaped/pid1-does-not-reap", seen={"zombies": 1}),
)

SCENARIOS = (
    Scenario(
        name="never-waits",
        title="a server under tini never waits for its three children: tini can't reap what has a parent",
        person=_LATER,
        argv=("tini", "--", "python3", "app.py"),
        files=app(_NEVER_WAITS),
        ready=PYTHON_READY,
        act=let_zombies_age(3),
        expect=graceful("zombie-unreaped/parent-never-waits", seen={"zombies": 3}),
    ),
    Scenario(
        name="double-fork",
        title="a daemon's double fork: PID 1 inherits the orphan and does not reap it",
        person=_LATER,
        argv=("python3", "app.py"),
        files=app(_DOUBLE_FORK),
        ready=PYTHON_READY,
        act=let_zombies_age(1),
        expect=graceful("zombie-unreaped/pid1-does-not-reap", seen={"zombies": 1}),
    ),
    EXEC_SLEEP,
    Scenario(
        name="subreaper",
        title="a subreaper under tini inherits an orphan and does not reap it",
        person=_LATER,
        argv=("tini", "--", "python3", "app.py"),
        files=app(_SUBREAPER),
        ready=PYTHON_READY,
        act=let_zombies_age(1),
        expect=graceful("zombie-unreaped/parent-never-waits", seen={"zombies": 1}),
    ),
)
