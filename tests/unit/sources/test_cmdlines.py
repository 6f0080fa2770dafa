"""argv of processes that may keep whoever reads it waiting for ever."""

import threading

import pytest

from sigtrace.model.event import Event, Kind, Task
from sigtrace.sources import cmdlines as module
from sigtrace.sources.cmdlines import Cmdlines

STUCK = 1000


@pytest.fixture
def free(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.02)
    event = threading.Event()
    yield event
    event.set()


def reader(free, asked):
    def read(task, length):
        asked.append(task.pid)
        if task.pid >= STUCK:
            free.wait()
        return (f"p{task.pid}", str(length))

    return Cmdlines(read)


def tasks(*pids):
    return [(Task(pid, 1), 7) for pid in pids]


def test_each_process_has_its_argv():
    cmdlines = Cmdlines(lambda task, _: (f"p{task.pid}",) if task.pid != 2 else None)
    events = [Event(0, 0, Kind.TASK, Task(pid, 1), argv_len=7) for pid in (1, 2, 3)]
    assert [e.task.argv for e in cmdlines.complete(events)] == [("p1",), None, ("p3",)]
    assert cmdlines.complete([]) == []


def test_who_keeps_the_reader_waiting_goes_without_and_is_not_asked_again(free):
    asked = []
    cmdlines = reader(free, asked)
    assert cmdlines.of(tasks(1, STUCK, 2)) == {(1, 1): ("p1", "7"), (2, 1): ("p2", "7")}
    assert cmdlines.of(tasks(1, STUCK)) == {(1, 1): ("p1", "7")}
    assert asked == [1, STUCK, 2, 1]
    assert cmdlines.refused == 1


def test_few_threads_are_left_behind_and_then_no_argv_is_read_until_one_is_back(free):
    asked = []
    cmdlines = reader(free, asked)
    assert cmdlines.of(tasks(*range(STUCK, STUCK + 100), 1)) == {}
    assert len(asked) == module._STUCK_MAX
    assert cmdlines.of(tasks(1)) == {}
    stuck = list(cmdlines._stuck)
    free.set()
    for reading in stuck:
        reading.join(10)
    assert asked == list(range(STUCK, STUCK + module._STUCK_MAX))  # none of them read on
    assert cmdlines.of(tasks(1)) == {(1, 1): ("p1", "7")}
