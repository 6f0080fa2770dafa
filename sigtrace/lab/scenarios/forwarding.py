"""PID 1 hears the stop signal, and the others do or don't."""

from __future__ import annotations

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import GOOD_SERVER, PYTHON_READY, READY, STOPS, WAITS, app, ends, escalated, graceful

# The last worker says that it is ready; PID 1 has its trap before there is any.
_MAIN_FIRST = """\
#!/bin/sh
trap 'echo "main: bye"; exit 0' TERM
app-server quiet.conf &
app-server app.conf &
wait
"""
_KEPT_WAITING = """\
#!/bin/sh
trap 'echo "main: waiting for the worker"; wait' TERM
app-server app.conf &
wait
"""
_WORKERS = {**GOOD_SERVER, "quiet.conf": "exec 3<>requests\nread -r end <&3\n"}

SCENARIOS = (
    Scenario(
        name="main-first",
        title="PID 1 handles SIGTERM and leaves at once: its workers, never told, are torn down at work",
        person=STOPS,
        argv=("./main.sh",),
        files={"main.sh": _MAIN_FIRST, **_WORKERS},
        ready=READY,
        expect=ends(
            "incomplete/main-exited-first", 0, "signal-not-forwarded/main-exited-first", said={"app-server: bye": 0}
        ),
    ),
    Scenario(
        name="kept-waiting",
        title="PID 1 handles SIGTERM and waits for a worker that it never told",
        person=WAITS,
        argv=("./main.sh",),
        files={"main.sh": _KEPT_WAITING, **GOOD_SERVER},
        ready=READY,
        expect=escalated("not-forwarded", "signal-not-forwarded/main-kept-waiting"),
    ),
    Scenario(
        name="supervisor",
        title="PID 1 passes SIGTERM on to two workers and waits for them",
        person=STOPS,
        argv=("python3", "app.py"),
        files=app("start()\nstart()\n"),
        ready=PYTHON_READY,
        expect=graceful(),
    ),
)
