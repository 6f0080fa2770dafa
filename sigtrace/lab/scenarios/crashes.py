"""Crashes: behind a supervisor, and of the main process itself."""

from __future__ import annotations

import os
import signal

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import FAULTS, PYTHON_READY, STOPS, WAITS, app, ends, escalated, graceful
from sigtrace.lab.scene import wait_for_end

_RUNS = "runs it"

# Two workers; six deaths, each replaced, then all is well.
_PREFORK = """\
def fail():
    time.sleep(0.02)
    {fail}


for _ in range(2):
    start(fail)
for deaths in range(1, 7):
    ended()
    start(fail if deaths <= 4 else work)
"""
_SEGV = app(FAULTS + _PREFORK.format(fail="crash()"))
_EXIT = app(_PREFORK.format(fail="os._exit(3)"))
_MASKED = "crash-masked/supervisor-restarts"
_SIX_FAULTS = {"a worker ended with -11": 6}

_FAULT = {"app.py": FAULTS + "crash()\n"}
# What glibc executes when SIGABRT changes nothing: hlt on x86-64, brk on arm64 (sysdeps/*/abort-instr.h).
_ABORTED = 128 + (signal.SIGTRAP if os.uname().machine == "aarch64" else signal.SIGSEGV)
_NO_CORE = "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"

PREFORK = Scenario(
    name="prefork",
    title="workers die of SIGSEGV and PID 1 replaces each: the container never restarts, so nobody notices",
    person=STOPS,
    argv=("python3", "app.py"),
    files=_SEGV,
    ready=PYTHON_READY,
    expect=graceful(_MASKED, said=_SIX_FAULTS),
)

_SUPERVISORS = (
    PREFORK,
    Scenario(
        name="prefork-sh",
        title="a shell form around a supervisor that hides crashes: two faults in one",
        person=WAITS,
        argv=("sh", "-c", "python3 app.py; true"),
        files=_SEGV,
        ready=PYTHON_READY,
        expect=escalated("dropped", _MASKED, "signal-dropped/shell-form"),
    ),
    Scenario(
        name="prefork-script",
        title="an entrypoint script without exec around a supervisor that hides crashes",
        person=WAITS,
        argv=("./entrypoint.sh",),
        files={"entrypoint.sh": "#!/bin/sh\npython3 app.py\n", **_SEGV},
        ready=PYTHON_READY,
        expect=escalated("dropped", _MASKED, "signal-dropped/script-without-exec"),
    ),
    Scenario(
        name="prefork-tini",
        title="the supervisor that hides crashes is tini's child",
        person=STOPS,
        argv=("tini", "--", "python3", "app.py"),
        files=_SEGV,
        ready=PYTHON_READY,
        expect=graceful(_MASKED, said=_SIX_FAULTS),
    ),
    Scenario(
        name="prefork-exit",
        title="workers exit with 3 and PID 1 replaces each",
        person=STOPS,
        argv=("python3", "app.py"),
        files=_EXIT,
        ready=PYTHON_READY,
        expect=graceful(_MASKED, said={"a worker ended with 3": 6}),
    ),
    Scenario(
        name="worker-crash",
        title="a worker dies of SIGSEGV, and nobody replaces it",
        person=STOPS,
        argv=("python3", "app.py"),
        files=app(FAULTS + "start(crash)\nended()\n"),
        ready=PYTHON_READY,
        expect=graceful("crashed/fatal-signal", said={"a worker ended with -11": 1}),
    ),
)

_MAINS = (
    Scenario(
        name="segfault",
        title="PID 1 dies of SIGSEGV: from a real fault nothing protects it",
        person=_RUNS,
        argv=("python3", "app.py"),
        files=_FAULT,
        ready=None,
        act=wait_for_end,
        expect=ends("crashed/fatal-signal", 139, "crashed/fatal-signal"),
    ),
    Scenario(
        name="abort",
        title="PID 1 calls abort(): the kernel drops SIGABRT twice, then a fault ends it: 139 (arm64: 133), not 134",
        person=_RUNS,
        argv=("python3", "app.py"),
        files={"app.py": _NO_CORE + "os.abort()\n"},
        ready=None,
        act=wait_for_end,
        expect=ends("crashed/abort-as-pid1", _ABORTED, "crashed/abort-as-pid1"),
    ),
    Scenario(
        name="exit-status",
        title="PID 1 fails by itself, with exit 3",
        person=_RUNS,
        argv=("./job.sh",),
        files={"job.sh": "#!/bin/sh\necho 'job: no database'\nexit 3\n"},
        ready=None,
        act=wait_for_end,
        expect=ends("crashed/exit-status", 3, "crashed/exit-status"),
    ),
    Scenario(
        name="relayed",
        title="a shell's child dies of SIGSEGV and the shell exits with 139: it was not PID 1 that crashed",
        person=_RUNS,
        argv=("sh", "-c", "python3 app.py; exit $?"),
        files=_FAULT,
        ready=None,
        act=wait_for_end,
        expect=ends("crashed/relayed", 139, "crashed/relayed", relayed=True),
    ),
)

SCENARIOS = _SUPERVISORS + _MAINS
