"""PID namespaces other than one a container: nested, shared, the host's."""

from __future__ import annotations

from sigtrace.lab.scenario import PidNamespace, Scenario
from sigtrace.lab.scenarios.common import GOOD_SERVER, PYTHON_READY, READY, SERVER, STOPS, app, ends, graceful

# As a browser's sandbox or bwrap: a namespace of its own inside the container's. unshare's shell stays outside of it
# and tells the pid of its first child, which is its init. That has no handler, and ends when told to by other means.
_NESTED = """\
import subprocess

queue = os.open("requests", os.O_RDWR)
script = "app-server sandbox.conf & echo $!; wait"
sandbox = subprocess.Popen(["unshare", "--pid", "sh", "-c", script], stdout=subprocess.PIPE)
lines = [sandbox.stdout.readline(), sandbox.stdout.readline()]  # the shell's and the sandbox's, in either order
os.kill(int(next(filter(bytes.isdigit, map(bytes.strip, lines)))), signal.SIGTERM)


def leave(*_):
    os.write(queue, b"bye\\n")
    sandbox.wait()
    os._exit(0)


signal.signal(signal.SIGTERM, leave)
"""
_SANDBOX = "exec 3<>requests\necho 'sandbox: at work'\nread -r end <&3\n"

SCENARIOS = (
    Scenario(
        name="nested",
        title="a sandbox inside the container has a PID 1 of its own: its SIGTERM is dropped, which is no great matter",
        person=STOPS,
        argv=("python3", "app.py"),
        files={**app(_NESTED), "sandbox.conf": _SANDBOX},
        ready=PYTHON_READY,
        also_needs=("unshare",),
        expect=graceful("signal-dropped/no-handler"),
    ),
    Scenario(
        name="host-pid",
        title="hostPID: the server is no PID 1, and handles SIGTERM",
        person=STOPS,
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        pid_namespace=PidNamespace.HOST,
        expect=graceful(),
    ),
    Scenario(
        name="host-pid-plain",
        title="hostPID: a program without a handler is no PID 1, so that SIGTERM ends it",
        person=STOPS,
        argv=("sleep", "infinity"),
        pid_namespace=PidNamespace.HOST,
        expect=ends("terminated/no-handler", 143),
    ),
    Scenario(
        name="shared-pid",
        title="shareProcessNamespace: pause is PID 1, and the server handles SIGTERM",
        person=STOPS,
        argv=SERVER,
        files=GOOD_SERVER,
        ready=READY,
        pid_namespace=PidNamespace.SHARED,
        expect=graceful(),
    ),
)
