"""Which process is a container's main process."""

import pytest

from sigtrace.attribution import mains as module
from sigtrace.attribution.mains import Mains, is_stage
from sigtrace.model.event import Event, Kind, Task

BOX, OTHER = 7, 8


def task(pid, comm="app", argv=("app",), start=1, ns_pid=None):
    return Task(pid, start, comm, ns_pid=pid if ns_pid is None else ns_pid, argv=argv)


def seen(kind, one, *, init=False, entered=True, zombie=False):
    return Event(0, 0, kind, one, ns_init=init, container_init=init, cgroup_entered=entered, zombie=zombie)


INIT = seen(Kind.EXEC, task(10, ns_pid=1), init=True)
FIRST = seen(Kind.EXEC, task(20))
PROBE = seen(Kind.EXEC, task(30, "sh", ("sh", "-c", "true")))
CHILD = seen(Kind.SIGNAL_GENERATE, task(21), entered=False)


def told(*events, container=BOX):
    mains = Mains()
    return [mains.is_main(event, container) for event in events]


# ---- who it is


@pytest.mark.parametrize("kind", [Kind.EXEC, Kind.TASK, Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT])
def test_the_first_init_of_a_pid_namespace_is_whatever_is_seen_of_it_first(kind):
    assert told(seen(kind, task(10, ns_pid=1), init=True)) == [True]


@pytest.mark.parametrize("kind", [Kind.EXEC, Kind.TASK])
def test_without_one_the_first_that_entered_and_executes_there_is(kind):
    assert told(seen(kind, task(20)), CHILD) == [True, False]


@pytest.mark.parametrize("kind", [Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT, Kind.REAP])
def test_who_is_only_signalled_or_ends_has_not_entered(kind):
    assert told(seen(kind, task(20))) == [False]


def test_who_was_born_there_is_not():
    assert told(seen(Kind.EXEC, task(20), entered=False), seen(Kind.TASK, task(20), entered=False)) == [False, False]


def test_who_enters_later_is_not():
    assert told(INIT, PROBE) == [True, False]
    assert told(FIRST, PROBE) == [True, False]


def test_a_second_init_in_the_same_cgroup_is_not():
    assert told(INIT, seen(Kind.EXEC, task(11, ns_pid=1), init=True), INIT) == [True, False, True]


def test_it_stays_itself_through_exec_and_is_known_by_pid_and_start():
    again = seen(Kind.EXEC, task(20, "other", ("other",)))
    reused = seen(Kind.SIGNAL_GENERATE, task(20, start=99), entered=False)
    assert told(FIRST, again, reused) == [True, True, False]


def test_an_init_that_is_seen_late_takes_over_from_a_probe_that_was_seen_first():
    assert told(PROBE, INIT, PROBE) == [True, True, False]


def test_a_zombie_is_not():
    assert told(
        seen(Kind.TASK, task(20), zombie=True), seen(Kind.TASK, task(10, ns_pid=1), init=True, zombie=True)
    ) == [
        False,
        False,
    ]


def test_what_has_no_task_is_nobody():
    assert told(Event(0, 0, Kind.LOST)) == [False]


def test_containers_have_a_main_process_each():
    mains = Mains()
    assert mains.is_main(INIT, BOX)
    assert mains.is_main(FIRST, OTHER)
    assert not mains.is_main(PROBE, OTHER)
    assert mains.is_main(INIT, BOX)


# ---- the runtime's own stages


@pytest.mark.parametrize(
    "one",
    [
        task(1, "runc:[0:PARENT]"),
        task(1, "runc:[1:CHILD]"),
        task(1, "runc:[2:INIT]"),
        task(1, "runc", ("runc", "init")),
        task(1, "exe", ("/proc/self/exe", "init")),
        task(1, "6", ("/usr/sbin/runc", "init")),
        task(1, "crun"),
    ],
)
def test_a_runtime_that_has_not_become_the_program_yet_is_a_stage(one):
    assert is_stage(one)
    assert told(seen(Kind.EXEC, one), seen(Kind.EXEC, task(1))) == [False, True]


@pytest.mark.parametrize(
    "one",
    [
        task(1, "init", ("/sbin/init",)),
        task(1, "systemd", ("systemd", "init")),
        task(1, "app", None),
        task(1, "app", ()),
        task(1, "runcible", ("runcible", "init")),
        task(1, "runc", ("runc", "run", "box")),
    ],
)
def test_a_program_is_no_stage(one):
    assert not is_stage(one)


# ---- its end


@pytest.mark.parametrize("main", [INIT, FIRST])
def test_after_its_end_nobody_who_is_there_or_enters_is(main):
    exited = seen(Kind.EXIT, main.task, init=main.container_init)
    assert told(main, exited, PROBE, CHILD) == [True, True, False, False]


def test_after_its_end_a_new_init_in_the_same_cgroup_is():
    again = seen(Kind.EXEC, task(10, start=50, ns_pid=1), init=True)
    assert told(INIT, seen(Kind.EXIT, INIT.task, init=True), again) == [True, True, True]


def test_an_init_that_was_there_at_its_end_is_not():
    ended = Event(90, 90, Kind.EXIT, INIT.task, ns_init=True, container_init=True)
    entered = seen(Kind.EXIT, task(40, start=50, ns_pid=1), init=True)
    again = seen(Kind.EXEC, task(10, start=95, ns_pid=1), init=True)
    assert told(INIT, ended, entered, entered, again) == [True, True, False, False, True]


def test_an_end_without_a_beginning_is_told_once():
    exited = seen(Kind.EXIT, INIT.task, init=True)
    assert told(exited, PROBE) == [True, False]


def test_a_cgroup_that_is_used_again_begins_anew():
    mains = Mains()
    mains.is_main(FIRST, BOX)
    mains.forget(BOX)
    mains.forget(BOX)
    assert mains.is_main(PROBE, BOX)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX", 100)
    mains = Mains()
    for n in range(1000):
        assert mains.is_main(INIT, n)
    assert len(mains._mains) == 100
