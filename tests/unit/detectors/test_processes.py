"""Who lives in which PID namespace."""

import dataclasses

from sigtrace.detectors.chain import Chain
from sigtrace.detectors.processes import _MAX, Processes
from sigtrace.model import signals
from tests.unit.detectors.events import (
    DROPPED,
    HANDLED,
    MS,
    PROGRAM,
    SHELL_FORM,
    Container,
    S,
    exited,
    killed_by,
    story,
)

BOX = Container()
INIT = Container(argv=PROGRAM).init


def fed(*observations):
    processes = Processes()
    for observation in observations:
        processes.feed(observation.event)
    return processes


def test_argv_is_remembered_for_events_that_do_not_have_it():
    processes = fed(BOX.exec(1, INIT), BOX.term(2))
    assert processes.known(BOX.init).argv == PROGRAM
    assert processes.known(Container(2).init) == Container(2).init


def test_a_new_program_replaces_the_old_ones_argv():
    renamed = dataclasses.replace(INIT, comm="app", argv=None)
    assert fed(BOX.exec(1, INIT), BOX.exec(2, renamed)).known(renamed).argv is None
    again = dataclasses.replace(INIT, argv=("/usr/bin/app", "--other"))
    assert fed(BOX.exec(1, INIT), BOX.exec(2, again)).known(BOX.init).argv == ("/usr/bin/app", "--other")


def test_the_others_are_those_of_the_namespace_but_the_init_oldest_first():
    one, two = BOX.child(1), BOX.child(2)
    elsewhere = Container(2).child(1)
    processes = fed(BOX.exec(1, INIT), BOX.exec(2, two), BOX.exec(3, one), BOX.exec(4, elsewhere))
    assert processes.others(INIT) == [one, two]


def test_who_exits_or_is_a_zombie_is_gone():
    one, two = BOX.child(1), BOX.child(2)
    processes = fed(BOX.exec(1, one), BOX.exec(2, two), BOX.exit(3, exited(0), one))
    assert processes.others(INIT) == [two]
    processes.feed(dataclasses.replace(BOX.snapshot(4, two)[0].event, zombie=True))
    assert processes.others(INIT) == []
    assert not processes._tasks
    assert not processes._members


def test_a_namespace_number_that_is_used_again_is_a_new_namespace():
    old = Container(1, pidns=5)
    new = dataclasses.replace(Container(2, pidns=5).init, start_ns=5000)
    processes = fed(old.exec(1, old.init), old.exec(2, old.child(comm="stale")), old.exec(3, new))
    assert processes.others(new) == []


def test_the_init_is_known_by_its_key_and_not_by_its_pid_alone():
    old, new = INIT, dataclasses.replace(INIT, start_ns=99, argv=None)
    assert fed(BOX.exec(1, old)).known(new).argv is None


def test_threads_of_the_host_are_not_kept():
    assert not fed(BOX.exec(1, dataclasses.replace(INIT, pidns=0)))._tasks


def test_what_is_remembered_is_bounded():
    processes = Processes()
    for n in range(_MAX + 1000):
        processes.feed(BOX.exec(n, dataclasses.replace(INIT, pid=n, start_ns=n, pidns=n // 3 + 1, ns_pid=2)).event)
    assert len(processes._tasks) == _MAX
    assert sum(map(len, processes._members.values())) == _MAX


def test_a_snapshot_may_tell_a_child_before_its_init():
    child = BOX.child()
    assert fed(*BOX.snapshot(1, child, INIT)).others(INIT) == [child]


def test_the_snapshot_of_a_stop_corrects_who_is_still_there():
    probe = BOX.child(1, "pgrep")
    init, worker = Container(argv=SHELL_FORM).init, BOX.child(2, "gunicorn")
    shutdown, (dropped, *_) = story(
        BOX.exec(S, init),
        BOX.exec(2 * S, probe, parent_outside=True, cgroup_entered=True),  # its exit 0 is never told
        BOX.term(60 * S, **DROPPED),
        BOX.snapshot(60 * S + MS, init, worker),
        BOX.kill(61 * S),
        BOX.exit(61 * S + 1, killed_by(signals.SIGKILL)),
        BOX.exit(61 * S + 2, killed_by(signals.SIGKILL), worker),
    )
    assert "gunicorn (pid 3) was never told" in dropped.message
    assert [p.task.comm for p in shutdown.processes] == ["init", "gunicorn"]


def test_two_containers_that_follow_each_other_in_one_namespace_number_have_a_story_each():
    old, new = Container(1, pidns=5), Container(2, pidns=5)
    chain = Chain()
    steps = [
        old.term(S, **HANDLED),
        *old.snapshot(S + 1, old.init, old.child()),  # whose exit is lost
        old.exit(S + 10 * MS, exited(0)),
        new.exec(S + 20 * MS, new.init),
        new.term(S + 30 * MS, **HANDLED),
        *new.snapshot(S + 31 * MS, new.init, new.child()),
        new.exit(S + 50 * MS, exited(0)),
        new.exit(S + 51 * MS, killed_by(9), new.child()),
    ]
    told = [v for step in steps for v in chain.feed(step)] + list(chain.tick(60 * S))
    assert [(v.main.pid, [p.task.pid for p in v.processes]) for v in told] == [(100, [100, 101]), (200, [200, 201])]
