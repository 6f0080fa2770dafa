"""Small inits as PID 1."""

from __future__ import annotations

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import GOOD_SERVER, READY, SERVER, STOPS, ends, graceful
from sigtrace.lab.scene import until_reaped, until_runs

# The subshell leaves its background process to PID 1.
_LEAVES_ORPHANS = "for n in 1 2 3; do (sleep 0.05 &); done\n"

_WITH_SERVER = tuple(
    Scenario(
        name=init,
        title=f"{init} is PID 1 and passes SIGTERM on to a server that handles it",
        person=STOPS,
        argv=(init, "--", *SERVER),
        files=GOOD_SERVER,
        ready=READY,
        expect=graceful(),
    )
    for init in ("tini", "dumb-init")
)

_WITH_PLAIN = tuple(
    Scenario(
        name=f"{init}-plain",
        title=f"{init} and a program without a handler: in time, but nothing was cleaned up",
        person=STOPS,
        argv=(init, "--", "sleep", "infinity"),
        act=until_runs("sleep", "infinity"),
        expect=ends("terminated/no-handler", 143, relayed=True),
    )
    for init in ("tini", "dumb-init")
)

SCENARIOS = (
    _WITH_SERVER[0],
    _WITH_PLAIN[0],
    _WITH_SERVER[1],
    _WITH_PLAIN[1],
    Scenario(
        name="reaping",
        title="tini reaps the orphans that a server leaves behind: no zombies",
        person=STOPS,
        argv=("tini", "--", *SERVER),
        files={"app.conf": _LEAVES_ORPHANS + GOOD_SERVER["app.conf"]},
        ready=READY,
        act=until_reaped(1),
        expect=graceful(seen={"zombies": 0}),
    ),
)
