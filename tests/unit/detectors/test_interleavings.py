"""The same happens in other orders, as CPUs and their timing have it: the verdicts stay."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.finding import Shutdown
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    KILLED,
    MS,
    SCRIPT,
    SEGFAULT,
    Container,
    S,
    exited,
    flat,
    killed_by,
    lost,
    named,
    run,
    story,
)
from tests.unit.detectors.lives import LIVES, LONGEST, lanes, whole

#: Less than half of the least distance between cause and effect in two lanes.
JITTER_NS = 400_000


def summary(verdicts):
    """What a person is told, without its times."""
    shutdowns = [v for v in verdicts if isinstance(v, Shutdown)]
    stories = [(s.outcome, s.cause, {(p.task.key, p.ended) for p in s.processes}, set(s.findings)) for s in shutdowns]
    return sorted(named(v for v in verdicts if not isinstance(v, Shutdown))), stories


def moved(observation, by_ns):
    event = observation.event
    event = dataclasses.replace(event, time_ns=event.time_ns + by_ns, wall_ns=event.wall_ns + by_ns)
    return dataclasses.replace(observation, event=event)


@pytest.mark.parametrize("name", LIVES)
@given(jitter=st.lists(st.integers(-JITTER_NS, JITTER_NS), min_size=9, max_size=9))
@settings(max_examples=30, deadline=None)
def test_what_cpus_do_at_once_may_come_in_any_order(name, jitter):
    steps = [
        moved(o, by if n else 0)
        for n, (lane, by) in enumerate(zip(lanes(name, Container(), S), jitter, strict=False))
        for o in lane
    ]
    expected = summary(run(Chain(), whole(name, Container(), S), until=LONGEST + S))
    assert summary(run(Chain(), sorted(steps, key=lambda o: o.event.time_ns), until=LONGEST + S)) == expected


@given(st.lists(st.sampled_from(list(LIVES)), min_size=2, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_containers_that_do_everything_at_the_same_time_do_not_mix_up(names, random):
    lives = [whole(name, Container(n), S) for n, name in enumerate(names, 1)]
    alone = [run(Chain(), life, until=LONGEST + S) for life in lives]
    heads = [list(life) for life in lives]
    merged = []
    while any(heads):
        soonest = min(life[0].event.time_ns for life in heads if life)
        merged.append(random.choice([life for life in heads if life and life[0].event.time_ns == soonest]).pop(0))
    together = run(Chain(), merged, until=LONGEST + S)
    for n, expected in enumerate(alone, 1):
        assert [v for v in together if v.workload.cgroup_id == 1000 + n] == expected


BOX = Container()


ORDERS = [o for o in itertools.permutations(range(4)) if o.index(0) < o.index(2) and o.index(1) < o.index(3)]


def torn_down_in(order):
    workers = [BOX.child(k) for k in (1, 2)]
    torn = [
        BOX.teardown(0, workers[0]),
        BOX.teardown(0, workers[1]),
        BOX.exit(0, KILLED, workers[0]),
        BOX.exit(0, KILLED, workers[1]),
    ]
    return story(
        BOX.exec(1, dataclasses.replace(BOX.init, argv=SCRIPT)),
        BOX.term(S, **HANDLED),
        BOX.deliver(S + 1),
        BOX.snapshot(S + 20 * MS, BOX.init, *workers),
        BOX.exit(S + 50 * MS, exited(0)),
        [moved(torn[which], S + 51 * MS + k * 1000) for k, which in enumerate(order)],
    )


@pytest.mark.parametrize("order", ORDERS)
def test_the_teardown_of_two_workers_and_their_exits_in_any_order(order):
    shutdown, findings = torn_down_in(order)
    assert (shutdown.outcome, named(findings)) == ("incomplete", ["signal-not-forwarded/main-exited-first"])
    assert [p.ended.value for p in shutdown.processes] == ["handled", "torn-down", "torn-down"]


def test_the_order_of_their_exits_does_not_decide_who_is_named_first():
    assert len({torn_down_in(order)[1][0].message for order in ORDERS}) == 1


def test_a_supervisor_that_kills_its_workers_and_leaves_is_the_same_whoever_exits_first():
    """Gunicorn at the end of its graceful timeout."""
    worker = BOX.child()
    outcomes = set()
    for after in (-20_000, 20_000):
        end = [BOX.exit(3 * S + 100_000 + after, KILLED, worker), BOX.exit(3 * S + 100_000, exited(0))]
        shutdown, _ = story(
            BOX.exec(1, BOX.init),
            BOX.term(S, **HANDLED),
            BOX.deliver(S + 1),
            BOX.snapshot(S + 20 * MS, BOX.init, worker),
            BOX.term(S + 30 * MS, BOX.init, task=worker, **HANDLED),
            BOX.kill(3 * S, BOX.init, task=worker),
            sorted(end, key=lambda o: o.event.time_ns),
        )
        outcomes.add(shutdown.outcome)
    assert len(outcomes) == 1


def test_a_worker_that_leaves_by_itself_while_another_is_torn_down_was_not_torn_down():
    one, two = BOX.child(1), BOX.child(2)
    begin = [BOX.exec(1, BOX.init), BOX.term(S, **HANDLED), BOX.deliver(S + 1)]
    begin += [BOX.snapshot(S + 20 * MS, BOX.init, one, two), BOX.exit(S + 50 * MS, exited(0))]
    shutdown, _ = story(
        begin,
        BOX.exit(S + 50 * MS + 5, exited(0), one),
        BOX.teardown(S + 51 * MS, two),
        BOX.exit(S + 52 * MS, KILLED, two),
    )
    ended = {p.task.key: p.ended.value for p in shutdown.processes}
    assert (ended[one.key], ended[two.key]) == ("exited", "torn-down")


@pytest.mark.parametrize("early", [False, True])
def test_a_listing_may_come_before_or_after_the_delivery(early):
    """The iterator takes its time; what it shows is of any moment in it."""
    worker = BOX.child()
    listing, delivery = (
        BOX.snapshot(S + 20 * MS, BOX.init, worker),
        BOX.deliver(S + 19 * MS if not early else S + 21 * MS),
    )
    steps = [listing, delivery] if early else [delivery, listing]
    begin = [BOX.exec(1, dataclasses.replace(BOX.init, argv=SCRIPT)), BOX.term(S, **HANDLED)]
    shutdown, findings = story(begin, steps, BOX.kill(9 * S), BOX.exit(9 * S + MS, KILLED))
    assert shutdown.cause == "not-forwarded"
    assert "signal-not-forwarded/main-kept-waiting" in named(findings)


@pytest.mark.parametrize("gap", [-30_000, 30_000])
def test_the_exit_of_a_child_and_the_kill_of_its_parent_in_any_order(gap):
    """kill -9 of both: whose exit is first says nothing about who was killed."""
    child = BOX.child()
    steps = [
        BOX.kill(S, BASH, task=child),
        BOX.kill(S + MS, BASH),
        BOX.exit(S + MS + gap, KILLED, child),
        BOX.exit(S + 2 * MS, KILLED),
    ]
    steps.sort(key=lambda o: o.event.time_ns)
    shutdown, findings = story(BOX.exec(1, BOX.init), steps)
    assert (shutdown.outcome, shutdown.cause) == ("killed", "manual")
    assert named(findings) == ["killed/manual"]
    assert findings[0].signo == signals.SIGKILL


# ---- what happened long before


def hours_ago(box, at):
    """Names of what may happen in a container that lives on, each with its events."""
    worker, guest, main = box.child(20, "other"), box.guest(60, argv=("date",)), box.init
    return {
        "a thread dump that is passed on": [
            box.signal(at, signals.SIGQUIT, **HANDLED),
            box.deliver(at + 1, signals.SIGQUIT),
            box.signal(at + 2, signals.SIGQUIT, main, task=worker, **HANDLED),
        ],
        "a stop signal that was dropped": [box.term(at, **DROPPED)],
        "a stop signal that was handled": [box.term(at, **HANDLED), box.deliver(at + 1)],
        "a stop signal that was blocked": [box.term(at, **BLOCKED), box.deliver(at + S)],
        "a stop signal that PID 1 handled and raised again": [
            box.term(at, **HANDLED),
            box.deliver(at + 1),
            box.term(at + 2, main, **DROPPED),
        ],
        "a reload by a command": [
            box.exec(at, guest),
            box.signal(at + 1, signals.SIGHUP, guest, **HANDLED),
            box.exit(at + MS, exited(0), guest),
        ],
        "a command": [box.exec(at, guest), box.exit(at + MS, exited(1), guest)],
        "an OOM kill of a child": [
            box.kill(at, None, task=worker),
            box.oom(at + 1, worker, group=True),
            box.exit(at + 2, KILLED, worker),
        ],
        "a kill of a child": [box.kill(at, BASH, task=worker), box.exit(at + 2, KILLED, worker)],
        "a crash of a child": [box.exit(at, SEGFAULT, worker)],
        "a failure of a child while it was asked to stop": [
            box.term(at, **HANDLED),
            box.term(at + 1, main, task=worker, **BY_DEFAULT),
            box.exit(at + 2, killed_by(signals.SIGTERM), worker),
        ],
        "an abort that a handler took": [box.signal(at, signals.SIGABRT, main, **HANDLED)],
        "a worker that left unnoticed": [box.exec(at, worker)],
        "a listing": box.snapshot(at, main, worker),
        "a zombie": [box.zombie(at, worker, exit_ns=1), box.reap(at + S, worker)],
        "a kill from inside": [box.kill(at, worker, **DROPPED)],
        "losses": [lost(at, count=9)],
    }


BEFORE = list(hours_ago(Container(), 0))


@pytest.mark.parametrize(("before", "name"), list(itertools.product(BEFORE, LIVES)))
def test_what_happened_hours_before_has_no_part_in_the_end(name, before):
    box, at = Container(), 5 * 3600 * S
    start = box.exec(1, dataclasses.replace(box.init, argv=("app",)))

    def told(*steps):
        (shutdown,) = [v for v in run(Chain(), start, *steps, until=at + LONGEST + S) if isinstance(v, Shutdown)]
        # Findings are of all its life, and who was not seen to leave may be there still.
        ended = tuple(p for p in shutdown.processes if p.ended)
        return dataclasses.replace(shutdown, findings=(), processes=ended)

    expected = told(whole(name, box, at))
    assert told(flat(hours_ago(box, 3600 * S)[before]), whole(name, box, at)) == expected
