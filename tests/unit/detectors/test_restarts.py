"""Containers that follow each other: in one cgroup, or in one number of a PID namespace."""

from sigtrace.detectors.chain import Chain
from sigtrace.model.finding import Shutdown
from tests.unit.detectors.events import (
    BASH,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    SEGFAULT,
    Container,
    S,
    exited,
    run,
    verdict,
)

BOX = Container()


def test_a_container_that_is_started_again_in_its_cgroup_has_a_story_each_time():
    again = Container(life=1)
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **DROPPED), BOX.kill(2 * S), BOX.exit(2 * S + MS, KILLED)]
    steps += [again.exec(2 * S + 5 * MS, again.init), again.exit(9 * S, exited(0))]
    told = [v for v in run(Chain(), *steps, until=99 * S) if isinstance(v, Shutdown)]
    assert [(v.outcome, v.main.key) for v in told] == [("escalated", BOX.init.key), ("exited", again.init.key)]
    assert (told[1].stop_signo, told[1].findings) == (0, ())


def test_so_has_one_whose_new_main_process_is_first_seen_when_it_is_signalled():
    again = Container(life=1)
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **DROPPED), BOX.kill(2 * S), BOX.exit(2 * S + MS, KILLED)]
    steps += [again.term(9 * S, **HANDLED), again.kill(19 * S), again.exit(19 * S + MS, KILLED)]
    told = [v for v in run(Chain(), *steps, until=99 * S) if isinstance(v, Shutdown)]
    assert [(v.cause, v.grace_s) for v in told] == [("dropped", 1.0), ("slow", 10.0)]


def test_so_has_one_whose_predecessors_end_was_lost():
    again = Container(life=1)
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **DROPPED), BOX.kill(2 * S), again.exec(3 * S, again.init)]
    assert verdict(steps, again.exit(9 * S, exited(1))) == ("crashed", "exit-status")
    assert verdict(steps, again.exit(9 * S, exited(0))) == ("exited", None)


def test_the_kill_of_a_predecessor_whose_end_was_lost_is_not_its_own():
    again = Container(life=1)
    steps = [BOX.exec(1, BOX.init), BOX.term(S, **DROPPED), BOX.kill(2 * S), again.exec(3 * S, again.init)]
    assert verdict(steps, again.kill(9 * S, BASH), again.exit(9 * S + MS, KILLED)) == ("killed", "manual")


def test_so_has_one_whose_successor_ends_while_the_first_is_still_torn_down():
    again = Container(life=1)
    steps = [BOX.exec(1, BOX.init), BOX.exec(2, BOX.child()), BOX.exit(S, SEGFAULT)]
    steps += [again.exec(S + 5 * MS, again.init), again.exit(S + 8 * MS, exited(0))]
    told = [v for v in run(Chain(), *steps, until=99 * S) if isinstance(v, Shutdown)]
    assert [(v.outcome, v.main.key) for v in told] == [("crashed", BOX.init.key), ("exited", again.init.key)]


def test_two_containers_that_follow_each_other_in_one_namespace_number_have_a_story_each():
    old, new = Container(1, pidns=5), Container(2, pidns=5)
    steps = [
        old.term(S, **HANDLED),
        old.snapshot(S + 1, old.init, old.child()),  # whose exit is lost
        old.exit(S + 10 * MS, exited(0)),
        new.exec(S + 20 * MS, new.init),
        new.term(S + 30 * MS, **HANDLED),
        new.snapshot(S + 31 * MS, new.init, new.child()),
        new.exit(S + 50 * MS, exited(0)),
        new.exit(S + 51 * MS, KILLED, new.child()),
    ]
    told = [v for v in run(Chain(), *steps, until=60 * S) if isinstance(v, Shutdown)]
    by_main = {v.main.pid: [p.task.pid for p in v.processes] for v in told}
    assert by_main == {100: [100, 101], 200: [200, 201]}
