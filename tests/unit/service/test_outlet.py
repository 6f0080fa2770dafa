"""What goes out changes in one step, loses nothing, and hides what it must; and what the agent says about itself."""

import itertools
import json
import threading

from sigtrace.model.event import Event, Kind, Loss, Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.workload import Observation
from sigtrace.service.health import STUCK_S, Health
from sigtrace.service.log import Log
from sigtrace.service.outlet import Outlet
from sigtrace.sinks.chosen import Tally
from tests.unit.service.conftest import BOX, INIT, finding


class Seen(Tally):
    def __init__(self):
        super().__init__(keep=True)
        self.events = []

    def observation(self, observation):
        self.events.append(observation)


def test_verdicts_are_redacted_unless_that_is_off():
    sink = Seen()
    outlet = Outlet([sink], WorkloadFilter(), redact=True)
    outlet.verdict(finding())
    outlet.change(redact=False)
    outlet.verdict(finding())
    assert "hunter2" not in repr(sink.verdicts[0])
    assert sink.verdicts[1] == finding()


def test_command_lines_of_events_are_redacted():
    sink = Seen()
    Outlet([sink], WorkloadFilter(), redact=True).observation(Observation(Event(1, 1, Kind.EXEC, INIT), BOX))
    assert sink.events[0].event.task.argv == ("sh", "-c", "gunicorn -w 1 …")


def test_others_than_those_that_are_meant_are_left_out_and_losses_never():
    sink = Seen()
    outlet = Outlet([sink], WorkloadFilter(pod="another"), redact=True)
    outlet.verdict(finding())
    outlet.verdict(finding(workload=None))
    outlet.observation(Observation(Event(1, 1, Kind.EXEC, Task(1, 1)), BOX))
    for count in (2, 3):
        outlet.observation(Observation(Event(1, 1, Kind.LOST, loss=Loss.RING_FULL, count=count)))
    assert [v.workload for v in sink.verdicts] == [None]
    assert [o.event.kind for o in sink.events] == [Kind.LOST, Kind.LOST]
    assert outlet.lost == {"ring-full": 5}


def test_while_sinks_are_replaced_each_verdict_goes_to_exactly_one():
    sinks = [Seen() for _ in range(200)]
    outlet = Outlet([sinks[0]], WorkloadFilter(), redact=False)
    go, told = threading.Event(), itertools.count()

    def storm():
        go.wait(10)
        while outlet.change().__len__() and not done.is_set():
            outlet.verdict(finding(next(told)))

    done = threading.Event()
    thread = threading.Thread(target=storm)
    thread.start()
    go.set()
    for old, new in itertools.pairwise(sinks):
        assert outlet.change(sinks=(new,)) == (old,)
    done.set()
    thread.join()
    seen = [v.time_ns for sink in sinks for v in sink.verdicts]
    assert seen == list(range(next(told)))


# ---- health


def test_it_is_healthy_while_the_pipeline_takes_its_steps():
    now = [0.0]
    health = Health(lambda: now[0])
    now[0] += 5 * STUCK_S
    assert health.healthy() is None  # it is beginning
    health.ready.set()
    health.beat()
    for _ in range(5):
        now[0] += STUCK_S
        assert health.healthy() is None
        health.beat()
    now[0] += STUCK_S + 1
    assert health.healthy() == "the pipeline has been stuck for 11 s"


def test_it_is_not_healthy_once_a_part_of_it_has_ended():
    health = Health()
    health.parts["service"] = lambda: False
    assert health.healthy() == "the service has ended"
    health.ending.set()
    assert health.healthy() is None  # it is meant to
    health.failure = RuntimeError("no ring")
    assert health.healthy() == "the pipeline has ended: no ring"


def test_it_is_ready_between_its_beginning_and_its_end():
    health = Health()
    assert "may be missed" in health.is_ready()
    health.ready.set()
    assert health.is_ready() is None
    health.ending.set()
    assert health.is_ready() == "it is ending"


# ---- the log


def test_a_line_for_a_person(capsys):
    Log()("ready", backend="bpf", path="a b", nothing="", number=3, lost={"ring-full": 2})
    Log().warning("mind \x1b[31m this")
    assert capsys.readouterr().err.splitlines() == [
        'sigtrace: ready backend=bpf path="a b" nothing="" number=3 lost={"ring-full":2}',
        "sigtrace: warning: mind \\x1b[31m this",
    ]


def test_a_line_for_a_program(capsys):
    Log("json")("ready", backend="bpf", at=1)
    record = json.loads(capsys.readouterr().err)
    assert record.pop("time").endswith("Z")
    assert record == {"type": "log", "level": "info", "message": "ready", "backend": "bpf", "at": 1}
