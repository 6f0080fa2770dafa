"""What several groups of scenarios share: servers, and a short way to write expectations."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from sigtrace.lab.scenario import Expectation

if TYPE_CHECKING:
    from collections.abc import Mapping

STOPS = "stops the container"
WAITS = "stops the container and waits until the grace period is over"

READY = "app-server: listening on :8080"
SERVER = ("app-server", "app.conf")

# A server that is one process and waits in read(2), where a shell notices a signal at once (in wait(1) it would need a
# child). The queue (a fifo) is open for writing too, so the read never ends by itself.
_SERVER = f"""\
exec 3<>requests
trap '{{do}}' {{on}}
echo '{READY}'
while read -r request <&3; do echo "app-server: $request"; done
"""
GOOD_SERVER = {"app.conf": _SERVER.format(on="TERM", do='echo "app-server: bye"; exit 0')}
QUIT_SERVER = {"app.conf": _SERVER.format(on="QUIT", do='echo "app-server: bye"; exit 0')}
SLOW_SERVER = {
    "app.conf": _SERVER.format(on="TERM", do='echo "app-server: a client is still connected"; read -r end <&3')
}

# What a server in Python begins with. Its workers inherit the handler, but Python forgets in a new child what came
# before, so that each says when it is past that. And a signal that comes just before a sleep is noticed after it.
PYTHON = """\
import os, signal, time

main, workers = os.getpid(), []


def leave(*_):
    if os.getpid() == main:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        for pid in workers:
            os.waitpid(pid, 0)
    os._exit(0)


def work():
    while True:
        time.sleep(0.1)


def start(do=work):
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(there, b"!")
        do()
        os._exit(0)
    os.read(here, 1)
    os.close(here)
    os.close(there)
    workers.append(pid)
    return pid


def ended():
    pid, status = os.wait()
    workers.remove(pid)
    print("a worker ended with", os.waitstatus_to_exitcode(status), flush=True)


signal.signal(signal.SIGTERM, leave)
"""
PYTHON_READY = "app.py: at work"
PYTHON_SERVES = f"print('{PYTHON_READY}', flush=True)\nwork()\n"

# A real fault, as a C extension makes one; nobody wants its core.
FAULTS = """\
import ctypes, resource


def crash():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


"""


def app(program: str) -> dict[str, str]:
    """The file app.py: a server in Python that does ``program`` and then is at work until it is told to stop."""
    return {"app.py": PYTHON + program + PYTHON_SERVES}


def ends(
    outcome: str,
    code: int,
    *findings: str,
    relayed: bool = False,
    sent: tuple[int, ...] | None = None,
    seen: Mapping[str, int] | None = None,
    said: Mapping[str, int] | None = None,
) -> Expectation:
    """``outcome``: with its cause after a slash; ``findings``: code/cause. Escalated: SIGTERM and SIGKILL are sent.

    Without ``sent`` PID 1 gets SIGTERM where the outcome needs one, SIGKILL where it escalates, and else nothing.
    """
    name, _, cause = outcome.partition("/")
    if sent is None:
        sent = (signal.SIGTERM,) if name in {"escalated", "graceful", "terminated", "incomplete"} else ()
        sent += (signal.SIGKILL,) * (name in {"escalated", "killed"})
    pairs = frozenset((code, cause) for code, _, cause in (finding.partition("/") for finding in findings))
    return Expectation(pairs, name, cause or None, code, relayed=relayed, sent=sent, seen=seen or {}, said=said or {})


def graceful(
    *findings: str, seen: Mapping[str, int] | None = None, said: Mapping[str, int] | None = None
) -> Expectation:
    """It handles SIGTERM and exits with 0."""
    return ends("graceful", 0, *findings, seen=seen, said=said)


def escalated(cause: str, *findings: str, seen: Mapping[str, int] | None = None) -> Expectation:
    """SIGKILL ends it, because of ``cause``, when the grace is over."""
    return ends(f"escalated/{cause}", 137, *findings, "killed/grace-expired", seen=seen)
