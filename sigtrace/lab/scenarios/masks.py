"""Stop signals that arrive, and that PID 1 ignores, blocks or cannot take."""

from __future__ import annotations

import signal

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import GOOD_SERVER, READY, SERVER, WAITS, ends, escalated
from sigtrace.lab.scene import freeze, halt, trace

_READY = "app.py: at work"
_BLOCKS = """\
import signal, time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("app.py: at work", flush=True)
"""
_BLOCKED = _BLOCKS + "while True:\n    time.sleep(3600)\n"
_LATE = f"""\
{_BLOCKS}
while signal.SIGTERM not in signal.sigpending():
    time.sleep(0.005)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM}})
while True:
    time.sleep(3600)
"""

SCENARIOS = (
    Scenario(
        name="nohup",
        title="started with SIGTERM ignored, as nohup does with SIGHUP: the program inherits that and never hears it",
        person=WAITS,
        argv=("sh", "-c", f"trap '' TERM; echo '{READY}'; exec sleep infinity"),
        ready=READY,
        expect=escalated("ignored", "signal-ignored/sig-ign"),
    ),
    Scenario(
        name="blocked",
        title="PID 1 blocks SIGTERM and never looks: it stays pending",
        person=WAITS,
        argv=("python3", "app.py"),
        files={"app.py": _BLOCKED},
        ready=_READY,
        expect=escalated("pending", "signal-pending/blocked"),
    ),
    Scenario(
        name="stopped",
        title="PID 1 was stopped with SIGSTOP: its handler would run only after SIGCONT",
        person=WAITS,
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        act=halt,
        expect=ends(
            "escalated/pending",
            137,
            "signal-pending/stopped",
            "killed/grace-expired",
            sent=(signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL),
        ),
    ),
    Scenario(
        name="frozen",
        title="the container is frozen, as docker pause does: its handler would run only after the thaw",
        person=WAITS,
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        act=freeze,
        v2=True,
        expect=escalated("pending", "signal-pending/frozen"),
    ),
    Scenario(
        name="traced",
        title="a debugger holds PID 1: its handler would run only once it lets go",
        person=WAITS,
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        act=trace,
        also_needs=("ptrace",),
        expect=escalated("pending", "signal-pending/traced"),
    ),
    Scenario(
        name="late-drop",
        title="PID 1 unblocks SIGTERM without a handler for it: the kernel drops it late",
        person=WAITS,
        argv=("python3", "app.py"),
        files={"app.py": _LATE},
        ready=_READY,
        expect=escalated("dropped", "signal-dropped/late-drop"),
    ),
)
