"""All detectors together: any sequence of events, many containers, bounded memory."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.model import codes, signals
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Masks, Result, Task
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.model.record import verdict_record
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from tests.unit.detectors.events import DROPPED, HANDLED, MS, SHELL_FORM, Container, S, exited, killed_by

KILLED = killed_by(signals.SIGKILL)
FEW = st.integers(1, 3)
TASKS = st.builds(
    Task,
    pid=FEW,
    start_ns=FEW,
    comm=st.sampled_from(["runc", "sh", "app"]),
    tid=FEW,
    ns_pid=FEW,
    pidns=st.integers(0, 2),
    cgroup_id=FEW,
    parent_pid=FEW,
    parent_start_ns=FEW,
    argv=st.none() | st.sampled_from([(), ("",), SHELL_FORM, ("sh",), ("sh", "/run.sh")]),
)
EVENTS = st.builds(
    Event,
    time_ns=st.just(0),
    wall_ns=st.just(0),
    kind=st.sampled_from(Kind),
    task=st.none() | TASKS,
    sender=st.none() | TASKS,
    signo=st.sampled_from([0, 9, 15, 17, 37, 64, 255]),
    result=st.none() | st.sampled_from(Result),
    disposition=st.none() | st.sampled_from(Disposition),
    info=st.none() | st.sampled_from(Info),
    wait_status=st.none() | st.builds(WaitStatus, st.sampled_from([0, 256, 9, 15, 11, 0x8B])),
    masks=st.just(Masks()),
    loss=st.none() | st.sampled_from(Loss),
    count=st.integers(0, 1000),
    **{f.name: st.booleans() for f in dataclasses.fields(Event) if f.type == "bool"},
)
WORKLOADS = st.none() | st.builds(
    Workload, st.sampled_from(WorkloadKind), FEW, grace_limit_s=st.sampled_from([None, 0.1, 30.0])
)


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.builds(Observation, EVENTS, WORKLOADS, WORKLOADS)), max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_sequence_of_events_raises_and_every_verdict_is_a_record_of_the_catalogue(steps):
    chain, now, verdicts = Chain(), 0, []
    for gap, observation in steps:
        now += gap
        event = dataclasses.replace(observation.event, time_ns=now, wall_ns=now)
        verdicts += list(chain.feed(dataclasses.replace(observation, event=event)))
        verdicts += list(chain.tick(now))
    verdicts += list(chain.tick(now + 1000 * S))
    for verdict in verdicts:
        assert verdict_record(verdict)
        if isinstance(verdict, Finding):
            codes.find(verdict.code, verdict.cause)
        else:
            assert verdict.workload.is_container
    assert chain.deadline() is None


def ending(box, how, at):
    """One container's life, in one of several ways; a distinct time for each event."""
    init, child = dataclasses.replace(box.init, argv=SHELL_FORM), box.child(comm="gunicorn")
    torn_down = [box.teardown(at + 301 * MS, child), box.exit(at + 302 * MS, KILLED, child)]
    snapshot = [*box.snapshot(at + MS, init), *box.snapshot(at + 2 * MS, child)]
    return {
        "dropped": [
            box.term(at, **DROPPED),
            *snapshot,
            box.kill(at + 299 * MS),
            box.exit(at + 300 * MS, KILLED),
            *torn_down,
        ],
        "graceful": [box.term(at, **HANDLED), *snapshot, box.exit(at + 50 * MS, exited(0)), *torn_down],
        "slow": [box.term(at, **HANDLED), box.kill(at + 200 * MS), box.exit(at + 210 * MS, KILLED)],
        "oom": [box.kill(at, None), box.oom(at + 50_000), box.exit(at + 5 * MS, KILLED)],
        "killed": [*snapshot, box.kill(at + 5 * MS), box.exit(at + 300 * MS, KILLED), *torn_down],
        "inside": [box.kill(at, sender=child, **DROPPED), box.exit(at + 900 * MS, exited(0))],
        "crashed": [box.exit(at, killed_by(signals.SIGSEGV))],
        "exited": [box.exit(at, exited(0))],
    }[how]


HOWS = ["dropped", "graceful", "slow", "oom", "killed", "inside", "crashed", "exited"]


def verdicts_of(observations):
    """By container, with a tick every 10 ms of time, as the pipeline has them whatever happens."""
    chain, told = Chain(), {}

    def keep(verdicts):
        for verdict in verdicts:
            told.setdefault(verdict.workload.cgroup_id, []).append(verdict)

    tick = 0
    for observation in sorted(observations, key=lambda o: o.event.time_ns):
        while tick < observation.event.time_ns:
            keep(chain.tick(tick))
            tick += 10 * MS
        keep(chain.feed(observation))
    for _ in range(500):
        keep(chain.tick(tick))
        tick += 10 * MS
    return told


@given(st.lists(st.tuples(st.sampled_from(HOWS), st.integers(0, 400)), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_containers_that_stop_at_once_have_the_verdicts_that_each_would_have_alone(plan):
    lives = [ending(Container(n), how, at * MS + n * 1000) for n, (how, at) in enumerate(plan, 1)]
    alone = {}
    for life in lives:
        alone |= verdicts_of(life)
    assert verdicts_of([o for life in lives for o in life]) == alone
    shutdowns = [v for verdicts in alone.values() for v in verdicts if isinstance(v, Shutdown)]
    assert len(shutdowns) == len(plan)


@pytest.mark.parametrize(
    ("how", "outcome", "findings"),
    [
        ("dropped", "escalated", ["signal-dropped/shell-form", "killed/grace-expired"]),
        ("graceful", "graceful", []),
        ("slow", "escalated", ["killed/grace-expired"]),
        ("oom", "oom", ["killed/oom"]),
        ("killed", "killed", ["killed/no-stop-signal"]),
        ("inside", "exited", ["signal-dropped/from-inside"]),
        ("crashed", "crashed", []),
        ("exited", "exited", []),
    ],
)
def test_each_way_to_end_has_its_verdicts_and_the_story_comes_last(how, outcome, findings):
    (told,) = verdicts_of(ending(Container(), how, S)).values()
    *before, shutdown = told
    assert [f"{f.code}/{f.cause}" for f in before] == findings
    assert shutdown.outcome == outcome
    assert list(shutdown.findings) == [f.split("/")[0] for f in findings]


def weight(*things):
    """How many objects containers of containers hold, a hundred levels deep at most."""
    seen, todo, count = set(), list(things), 0
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, str | int | float | type | Event | Workload):
            continue
        seen.add(id(one))
        count += 1
        if isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            todo += one
        elif hasattr(one, "__dict__"):
            todo += vars(one).values()
    return count


@pytest.mark.parametrize("containers", [10_000, pytest.param(100_000, marks=pytest.mark.prove)])
def test_any_number_of_containers_leaves_nothing_behind(containers):
    chain, shutdowns = Chain(), 0
    sizes = []
    for n in range(1, containers + 1):
        at = n * 10 * S
        life = ending(Container(n, pidns=4026532000 + n % 7), HOWS[n % len(HOWS)], at)
        for observation in life:
            shutdowns += sum(isinstance(v, Shutdown) for v in chain.feed(observation))
        shutdowns += sum(isinstance(v, Shutdown) for v in chain.tick(at + 9 * S))
        if n % (containers // 10) == 0:
            sizes.append(weight(chain))
    assert shutdowns == containers
    assert max(sizes) < sizes[0] + 1000, sizes


def test_containers_whose_exit_was_lost_do_not_pile_up():
    chain = Chain()
    sizes = {}
    for n in range(1, 11_001):
        box, at = Container(n), n * 100 * S
        for observation in (box.term(at, **DROPPED), box.exit(at + 1, exited(0), box.child()), box.kill(at + 2)):
            list(chain.feed(observation))
        list(chain.tick(at + S))
        sizes[n] = (len(chain._shutdowns._codes), len(chain._shutdowns._gone), len(chain._shutdowns._signalled))
    assert sizes[11_000] == sizes[10_500]
