"""preStop hooks that run in the container."""

from __future__ import annotations

import signal

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import QUIT_SERVER, READY, SERVER, SLOW_SERVER, ends
from sigtrace.lab.scene import stop_by_hook, use_up

SCENARIOS = (
    Scenario(
        name="pre-stop",
        title="a preStop hook (kill -QUIT 1) lets the server leave: no stop signal is needed any more",
        person="deletes the pod",
        argv=SERVER,
        files=QUIT_SERVER,
        ready=READY,
        act=stop_by_hook("kill -QUIT 1; sleep 0.05"),
        expect=ends("graceful/pre-stop", 0, sent=()),
    ),
    Scenario(
        name="pre-stop-overran",
        title="a preStop hook is still at work when SIGTERM comes: the server got only what was left of the grace",
        person="deletes the pod and waits until the grace period is over",
        argv=SERVER,
        files=SLOW_SERVER,
        ready=READY,
        # Long enough that a SIGKILL a second late is still no full grace period (killers: half a second early counts).
        act=use_up(2.0, "sleep", "infinity"),
        grace_limit_s=2.5,
        expect=ends(
            "escalated/pre-stop-overran",
            137,
            "killed/pre-stop-overran",
            sent=(signal.SIGTERM, signal.SIGKILL),
        ),
    ),
)
