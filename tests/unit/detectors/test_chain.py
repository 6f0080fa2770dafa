"""All detectors together: any sequence of events, many containers, bounded memory."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.model import codes
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Masks, Result, Task
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.model.record import verdict_record
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, OomScope, Workload, WorkloadKind
from sigtrace.pipeline import Pipeline
from tests.unit.detectors.events import (
    DROPPED,
    HANDLED,
    SHELL_FORM,
    Container,
    S,
    Told,
    exited,
    named,
    run,
)
from tests.unit.detectors.lives import LIVES, LONGEST, whole

# ---- one container


@pytest.mark.parametrize("name", LIVES)
def test_each_way_to_end_has_its_verdicts_and_its_one_story(name):
    _, findings, outcome = LIVES[name]
    told = run(Chain(), whole(name, Container(), S), until=LONGEST + S)
    (shutdown,) = [v for v in told if isinstance(v, Shutdown)]
    assert named(v for v in told if isinstance(v, Finding)) == findings
    assert f"{shutdown.outcome}/{shutdown.cause}" == outcome
    codes_of = list(dict.fromkeys(f.split("/")[0] for f in findings))
    assert list(shutdown.findings) == codes_of


@pytest.mark.parametrize("name", LIVES)
@pytest.mark.parametrize("kind", [k for k in WorkloadKind if k is not WorkloadKind.CONTAINER])
def test_what_is_no_container_makes_no_verdict(name, kind):
    assert not run(Chain(), whole(name, Container(kind=kind), S), until=LONGEST + S)


@pytest.mark.parametrize("name", LIVES)
def test_losses_among_them_change_no_verdict(name):
    steps = whole(name, Container(), S)
    alone = run(Chain(), steps, until=LONGEST + S)
    losses = [Observation(Event(o.event.time_ns, 0, Kind.LOST, loss=Loss.RING_FULL, count=1)) for o in steps]
    both = [one for pair in zip(steps, losses, strict=True) for one in pair]
    told = run(Chain(), both, until=LONGEST + S)
    assert [v for v in told if not (isinstance(v, Finding) and v.code == "events-lost")] == alone


# ---- any sequence

FEW = st.integers(0, 3)
NUMBERS = st.one_of(FEW, FEW, FEW, st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64 - 1]))
WORDS = st.sampled_from(["", "runc", "sh", "app", "nginx", "kubelet", "systemd", "runc:[2:INIT]", "\N{SNOWMAN}" * 300])
ARGV = st.none() | st.sampled_from([(), ("",), SHELL_FORM, ("sh",), ("sh", "/run.sh"), ("bash", "-o"), ("x",) * 500])
TASKS = st.builds(
    Task,
    pid=NUMBERS,
    start_ns=NUMBERS,
    comm=WORDS,
    tid=NUMBERS,
    ns_pid=NUMBERS,
    pidns=FEW,
    uid=st.none() | NUMBERS,
    cgroup_id=FEW,
    parent_pid=NUMBERS,
    parent_start_ns=NUMBERS,
    parent_cgroup_id=FEW,
    argv=ARGV,
    ancestry=st.sampled_from([(), ("containerd-shim",), ("",) * 6]),
)
MASKS = st.builds(Masks, **{f.name: st.sampled_from([0, 1 << 14, 2**64 - 1]) for f in dataclasses.fields(Masks)})
EVENTS = st.builds(
    Event,
    time_ns=st.just(0),
    wall_ns=st.just(0),
    kind=st.sampled_from(Kind),
    task=st.none() | TASKS,
    sender=st.none() | TASKS,
    signo=st.sampled_from([0, 2, 3, 6, 9, 9, 11, 15, 15, 17, 37, 64, 255]),
    result=st.none() | st.sampled_from(Result),
    disposition=st.none() | st.sampled_from(Disposition),
    si_code=st.none() | st.integers(-(2**31), 2**31 - 1),
    info=st.none() | st.sampled_from(Info),
    blocked=st.none() | st.booleans(),
    wait_status=st.none() | st.builds(WaitStatus, st.sampled_from([0, 256, 9, 15, 11, 0x8B, 137 << 8, 2**31, -1])),
    parent=st.none() | TASKS,
    masks=st.none() | MASKS,
    exit_ns=NUMBERS,
    oom_levels=st.none() | st.integers(-1, 300),
    argv_len=NUMBERS,
    cgroup_id=NUMBERS,
    loss=st.none() | st.sampled_from(Loss),
    count=st.sampled_from([0, 1, 1000, 2**64]),
    **{f.name: st.booleans() for f in dataclasses.fields(Event) if f.type == "bool"},
)
WORKLOADS = st.none() | st.builds(
    Workload,
    st.sampled_from([WorkloadKind.CONTAINER] * 4 + list(WorkloadKind)),
    FEW,
    grace_limit_s=st.sampled_from([None, 0.0, 0.1, 30.0, 1e9]),
    stop_signal=st.sampled_from([None, 0, 1, 15, 64]),
    pids_max=st.sampled_from([None, 0, 1, 100]),
)
OBSERVATIONS = st.builds(
    Observation, EVENTS, WORKLOADS, WORKLOADS, main=st.booleans(), oom_scope=st.none() | st.sampled_from(OomScope)
)
#: Mostly forward, and now and then back: a late event is passed on as it comes.
GAPS = st.one_of(st.integers(0, 3 * S), st.sampled_from([0, 1, 61 * S, 700 * S]), st.integers(-S, -1))


@given(st.lists(st.tuples(GAPS, OBSERVATIONS), max_size=40))
@settings(max_examples=250, deadline=None)
def test_no_sequence_of_events_raises_and_every_verdict_is_a_record_of_the_catalogue(steps):
    chain, now, verdicts = Chain(), 10 * S, []
    for gap, observation in steps:
        now = max(0, now + gap)
        event = dataclasses.replace(observation.event, time_ns=now, wall_ns=now)
        verdicts += chain.feed(dataclasses.replace(observation, event=event))
        for _ in range(1000):
            due = chain.deadline()
            if due is None or due > now:
                break
            verdicts += chain.tick(due)
            after = chain.deadline()
            assert after is None or after > due, "a timer that is set to ring at once rings for ever"
        else:
            pytest.fail("ticks without an end")
    verdicts += chain.tick(now + 2000 * S)
    verdicts += chain.end(now + 2000 * S)
    for verdict in verdicts:
        assert verdict_record(verdict)
        if isinstance(verdict, Finding):
            codes.find(verdict.code, verdict.cause)
            assert verdict.code == "events-lost" or verdict.workload.is_container
        else:
            outcome = codes.OUTCOMES[verdict.outcome]
            assert verdict.cause in outcome.causes or (verdict.cause is None and outcome.may_be_null)
            assert verdict.workload.is_container


@given(st.lists(st.tuples(st.integers(0, 3 * S), OBSERVATIONS), max_size=30), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_with_nothing_more_to_come_every_timer_ends_in_time(steps, rounds):
    chain, now = Chain(), 0
    for gap, observation in steps:
        now += gap
        list(chain.feed(dataclasses.replace(observation, event=dataclasses.replace(observation.event, time_ns=now))))
        list(chain.tick(now))
    # A grace limit that a runtime tells may be years: that timer alone may stay.
    for n in range(1, rounds + 700):
        list(chain.tick(now + n * 3 * S))
    assert (chain.deadline() or 2**63) > now + 10**8 * S


# ---- many containers


def by_container(verdicts):
    told = {}
    for verdict in verdicts:
        told.setdefault(verdict.workload.cgroup_id, []).append(verdict)
    return told


PLANS = st.lists(st.tuples(st.sampled_from(list(LIVES)), st.integers(0, 4000)), min_size=1, max_size=8)


@given(PLANS)
@settings(max_examples=100, deadline=None)
def test_containers_that_live_at_once_have_the_verdicts_that_each_would_have_alone(plan):
    lives = [whole(name, Container(n), S + at * MS_AND_A_BIT + n) for n, (name, at) in enumerate(plan, 1)]
    alone = {}
    for life in lives:
        alone |= by_container(run(Chain(), life, until=2 * LONGEST))
    together = sorted((o for life in lives for o in life), key=lambda o: o.event.time_ns)
    assert by_container(run(Chain(), together, until=2 * LONGEST)) == alone


#: So that no two containers' events have one time.
MS_AND_A_BIT = 1_000_037


def weight(*things):
    """How many objects containers of containers hold."""
    seen, todo = set(), list(things)
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, str | int | float | type | Event | Workload | Observation):
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            todo += one
        elif hasattr(one, "__dict__"):
            todo += vars(one).values()
        elif hasattr(one, "__slots__"):
            todo += [getattr(one, name) for name in one.__slots__ if hasattr(one, name)]
        elif hasattr(one, "__iter__"):
            todo += list(one)
    return len(seen)


NAMES = list(LIVES)


@pytest.fixture
def small_tables(monkeypatch):
    """Where nothing ends, tables are full before they stop to grow: let that be soon."""
    for name in ("containers._MAX", "unanswered._MAX", "shutdown._FOUND_MAX", "fold.OPEN_MAX", "dropped.OPEN_MAX"):
        monkeypatch.setattr(f"sigtrace.detectors.{name}", 100)


@pytest.mark.parametrize("containers", [3_000, pytest.param(20_000, marks=pytest.mark.prove)])
def test_any_number_of_containers_leaves_nothing_behind(containers, small_tables):
    chain, told, sizes = Chain(), Told(), []
    pipeline = Pipeline(chain, [told])
    for n in range(1, containers + 1):
        life = whole(NAMES[n % len(NAMES)], Container(n, pidns=4026532000 + n % 7), n * 700 * S)
        for observation in life:
            pipeline.feed(observation)
        if n % (containers // 10) == 0:
            sizes.append(weight(chain))
    pipeline.advance((containers + 2) * 700 * S)
    assert sum(isinstance(v, Shutdown) for v in told.verdicts) == containers
    assert max(sizes) < 1.1 * sizes[len(sizes) // 2], sizes


def test_containers_whose_exits_are_lost_do_not_pile_up(small_tables):
    chain, sizes = Chain(), []
    pipeline = Pipeline(chain, [Told()])
    for n in range(1, 3001):
        box, at = Container(n), n * 700 * S
        for observation in (
            *box.snapshot(at, box.init, box.child()),
            box.term(at + 1, **DROPPED),
            box.term(at + 2, blocked=True),
            box.exit(at + 3, exited(0), box.child()),
            box.kill(at + 4, None),
            box.oom(at + 5),
        ):
            pipeline.feed(observation)
        if n % 300 == 0:
            sizes.append(weight(chain))
    assert max(sizes) < 1.1 * sizes[len(sizes) // 2], sizes


def test_a_story_that_waits_for_the_teardown_is_told_at_the_end_but_not_where_a_successor_goes_on():
    box = Container()
    steps = [box.exec(1, box.init), box.term(S, **HANDLED), box.snapshot(S + 1, box.init, box.child())]
    steps += [box.exit(2 * S, exited(0))]
    ended, handed = Chain(), Chain()
    run(ended, *steps, until=2 * S + 1)
    run(handed, *steps, until=2 * S + 1)
    assert [v.outcome for v in ended.end(2 * S + 2) if isinstance(v, Shutdown)] == ["graceful"]
    assert not list(handed.end(2 * S + 2, handed_over=True))
