"""Shells between the runtime and the server."""

from __future__ import annotations

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import GOOD_SERVER, READY, WAITS, escalated

_ENTRYPOINT = """\
#!/bin/sh
echo "entrypoint: preparing"
app-server app.conf
"""

SHELL_FORM = Scenario(
    name="shell-form",
    title="ENTRYPOINT app-server app.conf: a shell is PID 1, and SIGTERM never reaches the server",
    person=WAITS,
    argv=("sh", "-c", "app-server app.conf"),
    files=GOOD_SERVER,
    ready=READY,
    expect=escalated("dropped", "signal-dropped/shell-form"),
)

SCRIPT = Scenario(
    name="script",
    title="an entrypoint script starts the server without exec: the script is PID 1 and drops SIGTERM",
    person=WAITS,
    argv=("./entrypoint.sh",),
    files={"entrypoint.sh": _ENTRYPOINT, **GOOD_SERVER},
    ready=READY,
    expect=escalated("dropped", "signal-dropped/script-without-exec"),
)

SCENARIOS = (
    SHELL_FORM,
    Scenario(
        name="shell-form-bash",
        title='["bash", "-c", "app-server app.conf | cat"]: bash executes a simple command, but stays for a pipeline',
        person=WAITS,
        argv=("bash", "-c", "app-server app.conf | cat"),
        files=GOOD_SERVER,
        ready=READY,
        expect=escalated("dropped", "signal-dropped/shell-form"),
    ),
    Scenario(
        name="shell-form-busybox",
        title="a shell form on Alpine: BusyBox executes the last command, and here that is not the server",
        person=WAITS,
        argv=("busybox", "sh", "-c", "app-server app.conf; true"),
        files=GOOD_SERVER,
        ready=READY,
        expect=escalated("dropped", "signal-dropped/shell-form"),
    ),
    SCRIPT,
)
