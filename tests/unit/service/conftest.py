"""A service on a socket of its own, and the verdicts of the lab's recordings to put into it."""

import functools
import io
import time

import pytest

from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Certainty, Finding, SenderRole, Shutdown
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Workload, WorkloadKind
from sigtrace.recorder import run
from sigtrace.service.protocol import PROTOCOL, Hello
from sigtrace.service.server import Server
from sigtrace.service.store import Store
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sources.replay import open_recording
from tests.recordings import FOLDER

NOW_NS = 1_700_000_000_000_000_000
BOX = Workload(WorkloadKind.CONTAINER, 7, "/box", container_name="web", pod="api-7d9f", namespace="default")
INIT = Task(100, 5, "sh", ns_pid=1, pidns=9, argv=("sh", "-c", "gunicorn -w 1 --password=hunter2"))


def finding(n=0, **fields):
    wall_ns = NOW_NS + n
    given = {
        "code": "signal-dropped", "cause": "shell-form", "severity": Severity.ERROR, "certainty": Certainty.OBSERVED,
        "time_ns": n, "wall_ns": wall_ns, "workload": BOX, "subject": INIT, "message": f"number {n}", "advice": "exec",
        "signo": 15, "evidence": (Event(n, wall_ns, Kind.SIGNAL_GENERATE, INIT, signo=15),),
        "sender_role": SenderRole.RUNTIME,
    }  # fmt: skip
    return Finding(**given | fields)


def shutdown(n=0, **fields):
    given = {
        "outcome": "escalated", "cause": "dropped", "time_ns": n, "wall_ns": NOW_NS + n, "workload": BOX,
        "main": INIT, "wait_status": WaitStatus(9), "stop_signo": 15, "grace_s": 2.0, "findings": ("signal-dropped",),
    }  # fmt: skip
    return Shutdown(**given | fields)


@functools.cache
def recorded():
    """Every verdict of every recording."""
    tally = Tally(keep=True)
    for path in sorted(FOLDER.glob("*.sigtrace")):
        with open_recording(str(path)) as recording:
            run(recording, [Filtered(tally, WorkloadFilter())])
    assert len(tally.verdicts) > 100
    return tuple(tally.verdicts)


class Service:
    """A server that runs, and what it told its log."""

    def __init__(self, path, folder=None, **how):
        self.path, self.said = str(path), []
        self.store = Store(folder and str(folder), self.said.append, **how.pop("room", {}))
        self.store.open(time.time_ns())
        how.setdefault("status", lambda status: status)
        self.server = Server(
            self.path, self.store, Hello("1.2", PROTOCOL, 42, "node", "boot"), tell=self.said.append, **how
        )
        self.server.start()

    def offer(self, *verdicts):
        for verdict in verdicts:
            self.server.offer(verdict)

    def close(self):
        self.server.close()


@pytest.fixture
def serve(tmp_path):
    """Starts services at tmp_path/agent.sock; ends them all."""
    started = []

    def start(folder=None, **how):
        service = Service(tmp_path / "agent.sock", folder, **how)
        started.append(service)
        return service

    yield start
    for service in started:
        service.close()


@pytest.fixture
def text():
    return io.StringIO()
