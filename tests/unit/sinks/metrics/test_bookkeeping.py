"""What is counted, of whom, and for how long."""

import threading
import time

import pytest

from sigtrace.model.codes import CODES, OUTCOMES, UNKNOWN
from sigtrace.model.event import Kind, Loss
from sigtrace.model.metrics import (
    CPU_TIME,
    CRASHES,
    DROPPED,
    DURATION,
    EXITS,
    EXPORTED,
    KILLS,
    LOST,
    MEMORY,
    SHUTDOWNS,
    SIGNALS,
    ZOMBIE_AGE,
    ZOMBIES,
    Distribution,
)
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sinks.metrics import tracked
from sigtrace.sources.base import Counts
from tests.unit.sinks.metrics.world import WALL, S, World, container, of, overflow, series

TERM, KILL, CHLD, SEGV = 15, 9, 17, 11


@pytest.fixture
def world():
    return World()


def test_the_kernels_counts_are_the_containers(world):
    web = world.start(container(10))
    world.signals = {(10, TERM, 1): 2, (10, CHLD, 0): 5, (3, TERM, 0): 9}
    world.exits = {(10, 0): 4, (10, 1 << 8): 1, (10, 0x80 | SEGV): 2, (10, SEGV): 1, (3, 0): 7}
    collected = world.collect()
    assert of(collected, web, SIGNALS) == {("SIGTERM", "ignored"): 2, ("SIGCHLD", "delivered"): 5}
    assert of(collected, web, EXITS) == {("0",): 4, ("1",): 1, ("SIGSEGV",): 3}
    assert len(collected.containers) == 1


def test_sub_cgroups_are_the_containers_also_if_nothing_was_told_of_them(world):
    web = world.start(container(10))
    world.event(Kind.EXEC, web, cgroup=11)
    world.event(Kind.CGROUP_MKDIR, cgroup=12, cgroup_parent_id=11)
    world.workloads[13] = web  # made before sigtrace was there
    world.signals = {(10 + n, TERM, 0): 10**n for n in range(4)}
    assert of(world.collect(), web, SIGNALS) == {("SIGTERM", "delivered"): 1111}


def test_what_a_removed_sub_cgroup_had_counted_stays_with_its_container(world):
    web = world.start(container(10))
    world.event(Kind.CGROUP_MKDIR, cgroup=11, cgroup_parent_id=10)
    world.signals, world.exits = {(11, TERM, 0): 3}, {(11, 0): 4}
    assert of(world.collect(), web, SIGNALS) == {("SIGTERM", "delivered"): 3}
    world.event(Kind.CGROUP_RMDIR, web, cgroup=11)
    world.give_back(11)
    collected = world.collect()
    assert of(collected, web, SIGNALS) == {("SIGTERM", "delivered"): 3}
    assert of(collected, web, EXITS) == {("0",): 4}
    assert of(world.collect(3600), web, EXITS) == {("0",): 4}


def test_a_container_that_is_gone_before_anyone_looked_is_told_with_all_its_counts(world):
    job = world.start(container(10))
    world.signals, world.exits = {(10, TERM, 0): 3}, {(10, 0): 1}
    world.remove(job)
    world.give_back(10)
    collected = world.collect()
    (one,) = collected.containers
    assert one.gone_wall_ns is not None
    assert one.first_wall_ns < one.gone_wall_ns < WALL + world.now
    assert of(collected, job, SIGNALS) == {("SIGTERM", "delivered"): 3}
    assert of(collected, job, EXITS) == {("0",): 1}
    assert of(collected, job, ZOMBIES) == {}


def test_the_dead_stay_for_five_minutes(world):
    job = world.start(container(10))
    world.exits = {(10, 0): 1}
    world.remove(job)
    world.give_back(10)
    assert of(world.collect(), job, EXITS) == {("0",): 1}
    assert of(world.collect(298), job, EXITS) == {("0",): 1}
    assert world.collect(2).containers == ()


def test_totals_never_fall_while_counts_move_from_the_kernel_to_the_gone(world):
    web = world.start(container(10))
    world.signals = {(10, TERM, 0): 3}
    seen = [of(world.collect(), web, SIGNALS)]
    world.remove(web)
    seen.append(of(world.collect(), web, SIGNALS))
    world.give_back(10)
    seen.append(of(world.collect(), web, SIGNALS))
    world.signals = {(10, TERM, 0): 1}  # to a zombie of it
    seen.append(of(world.collect(), web, SIGNALS))
    assert [value["SIGTERM", "delivered"] for value in seen] == [3, 3, 3, 4]


def test_what_is_gone_is_not_made_anew_for_each_collection(world):
    web, job = world.start(container(10)), world.start(container(11))
    world.signals = {(10, TERM, 0): 3, (11, TERM, 0): 1}
    world.remove(job)
    world.give_back(11)
    first, second = ({one.workload: one.families for one in world.collect().containers} for _ in range(2))
    assert second[job] is first[job]
    assert second[web] is not first[web]
    world.signals[11, TERM, 0] = 4  # to a zombie of it
    assert of(world.collect(), job, SIGNALS) == {("SIGTERM", "delivered"): 5}
    world.give_back(11)
    assert of(world.collect(), job, SIGNALS) == {("SIGTERM", "delivered"): 5}


def test_a_successor_goes_on_with_what_its_namesakes_had_when_they_are_forgotten(world):
    first = world.start(container(10))
    world.exits = {(10, 0): 5}
    world.remove(first)
    world.give_back(10)
    second = world.start(container(11))
    world.exits[11, 0] = 2
    collected = world.collect()
    assert (of(collected, first, EXITS), of(collected, second, EXITS)) == ({("0",): 5}, {("0",): 2})
    assert collected.carried == ()
    collected = world.collect(301)
    assert (of(collected, first, EXITS), of(collected, second, EXITS)) == (None, {("0",): 2})
    (carried,) = collected.carried
    assert carried.identity == ("shop", "api-1", "web")
    assert {p.values: p.value for f in carried.families for p in f.points} == {("0",): 5}
    world.remove(second)
    world.give_back(11)
    assert world.collect(302).carried == ()


def test_what_is_forgotten_while_nobody_asks_is_not_kept_whole(world):
    there = world.start(container(10))
    for n in range(11, 30):
        world.exits = {(n, 0): 5}
        world.remove(world.start(container(n, name="job" if n % 2 else "web")))
        world.give_back(n)
    world.metrics.pass_time((world.now + 400) * 10**9)
    assert world.metrics._containers._forgotten == []
    (carried,) = world.collect(401).carried
    assert carried.identity == ("shop", "api-1", there.container_name)
    assert {p.values: p.value for f in carried.families for p in f.points} == {("0",): 5 * 9}


def test_a_successor_that_comes_when_its_namesake_is_forgotten_goes_on_with_its_totals(world):
    """CrashLoopBackOff waits for 300 s, as long as those that are gone are told."""
    first = world.start(container(10))
    world.exits = {(10, 0): 5}
    world.remove(first)
    world.give_back(10)
    world.collect(290)
    for _ in range(3):
        world.now += 10 * S
        world.metrics.pass_time(world.now)
    world.start(container(11))
    (carried,) = world.collect(1).carried
    assert {p.values: p.value for f in carried.families for p in f.points} == {("0",): 5}


def test_cgroups_before_a_restart_are_bounded(world, monkeypatch):
    monkeypatch.setattr(tracked, "_RESTARTS_MAX", 10)
    for n in range(100):
        web = world.start(container(10 + n, container_id="c" * 64))
        world.remove(web)
        world.collect(1)
    (one,) = world.metrics._containers
    assert len(one.cgroups) == len(world.metrics._containers._owners) <= 10 + 31


def test_a_container_that_was_restarted_in_another_cgroup_goes_on_counting(world):
    first = world.start(container(10))
    world.exits = {(10, 0): 5}
    began = world.collect().containers[0].first_wall_ns
    world.remove(first)
    second = world.start(container(11, container_id=first.container_id))
    world.exits[11, 0] = 2
    collected = world.collect()
    (one,) = collected.containers
    assert (one.workload.cgroup_id, one.gone_wall_ns, one.first_wall_ns) == (11, None, began)
    assert of(collected, second, EXITS) == {("0",): 7}
    world.event(Kind.REAP, first)  # late
    world.give_back(10)
    assert of(world.collect(), second, EXITS) == {("0",): 7}
    world.remove(second)
    world.event(Kind.REAP, first)
    assert world.collect().containers[0].gone_wall_ns is not None
    world.give_back(11)
    assert of(world.collect(), second, EXITS) == {("0",): 7}
    assert world.collect(301).containers == ()
    third = world.start(container(12, container_id=first.container_id))
    world.exits[12, 0] = 1
    assert of(world.collect(), third, EXITS) == {("0",): 1}


def test_a_container_counts_since_its_cgroup_was_made_and_one_that_was_there_since_the_start(world):
    made = world.now
    web = world.start(container(10))
    old = container(11)
    world.event(Kind.TASK, old)
    first = {one.workload.cgroup_id: one.first_wall_ns for one in world.collect().containers}
    assert first == {10: WALL + made + 1000, 11: world.metrics.start_wall_ns}
    assert web.cgroup_id in first


def test_names_that_come_late_are_taken_from_who_knows_them_then(world):
    nameless = container(10, name=None, pod=None, namespace=None, asked=False)
    world.start(nameless)
    (one,) = world.collect(5).containers
    assert one.workload.container_name is None
    world.workloads[10] = container(10)
    (one,) = world.collect().containers
    assert one.workload.title == "shop/api-1 · web"


def test_what_may_still_turn_out_to_be_a_sandbox_is_not_told_for_three_seconds(world):
    nameless = container(10, name=None, pod=None, namespace=None, asked=False)
    world.start(nameless)
    assert world.collect(2).containers == ()
    assert series(world.collect(0.5), SHUTDOWNS) == {}
    assert len(world.collect(1).containers) == 1


def test_a_sandbox_makes_nothing(world):
    pause = Workload(WorkloadKind.SANDBOX, 10, "/pods/10", container_id="p" * 64, asked=True)
    world.start(pause)
    world.signals = {(10, TERM, 0): 3}
    world.workloads[10] = pause
    world.finding(pause, "killed", "no-stop-signal")
    collected = world.collect(10)
    assert collected.containers == ()
    assert series(collected, KILLS) == {}


def test_what_turns_out_to_be_a_sandbox_is_forgotten(world):
    world.start(container(10, name=None, pod=None, asked=False))
    assert len(world.collect(5).containers) == 1
    world.workloads[10] = Workload(WorkloadKind.SANDBOX, 10, "/pods/10", container_id="p" * 64, asked=True)
    assert world.collect().containers == ()
    world.start(container(11, name=None, pod=None, asked=False))
    world.event(Kind.EXEC, Workload(WorkloadKind.SANDBOX, 11, "/pods/11", container_id="p" * 64, asked=True))
    assert world.collect(5).containers == ()


def test_units_and_the_host_make_nothing(world):
    world.event(Kind.EXEC, Workload(WorkloadKind.UNIT, 5, "/system.slice/cron.service"))
    world.event(Kind.EXEC)
    world.signals = {(5, TERM, 0): 1, (1, TERM, 0): 1}
    assert world.collect().containers == ()


def test_zombies_are_counted_until_they_are_reaped_and_the_oldest_has_its_age(world):
    web = world.start(container(10))
    since = world.now
    for pid, exit_s in ((20, 10), (21, 5), (22, 30)):
        world.event(Kind.TASK, web, pid=pid, zombie=True, exit_ns=since - exit_s * S)
    world.event(Kind.TASK, web, pid=21, zombie=True, exit_ns=since - 5 * S)  # again, with another parent
    collected = world.collect(1)
    assert of(collected, web, ZOMBIES) == {(): 3}
    assert of(collected, web, ZOMBIE_AGE)[()] == pytest.approx(31, abs=0.001)
    world.event(Kind.REAP, web, pid=22)
    world.event(Kind.REAP, web, pid=99)
    collected = world.collect(1)
    assert of(collected, web, ZOMBIES) == {(): 2}
    assert of(collected, web, ZOMBIE_AGE)[()] == pytest.approx(12, abs=0.001)
    world.event(Kind.REAP, web, pid=20)
    world.event(Kind.REAP, web, pid=21)
    assert of(world.collect(), web, ZOMBIE_AGE) == {(): 0}


def test_a_zombie_is_one_containers_only(world):
    first, second = world.start(container(10)), world.start(container(11, pod="api-2"))
    world.event(Kind.TASK, first, pid=20, zombie=True)
    world.event(Kind.TASK, second, pid=20, zombie=True)
    collected = world.collect()
    assert (of(collected, first, ZOMBIES), of(collected, second, ZOMBIES)) == ({(): 0}, {(): 1})
    world.remove(second)
    world.event(Kind.REAP, first, pid=20)
    assert of(world.collect(), first, ZOMBIES) == {(): 0}


def test_a_zombie_that_was_there_before_us_is_as_old_as_we_know(world):
    web = world.start(container(10))
    world.event(Kind.TASK, web, pid=20, zombie=True)
    assert of(world.collect(8), web, ZOMBIE_AGE)[()] == pytest.approx(8, abs=0.001)


def test_every_outcome_and_cause_begins_with_0_when_a_container_is_first_seen(world):
    world.start(container(10))
    collected = world.collect()
    told = series(collected, SHUTDOWNS)
    assert set(told.values()) == {0}
    for outcome in OUTCOMES.values():
        trouble = [c for c in outcome.causes if not (outcome.may_be_null and c == UNKNOWN)]
        causes = [*trouble, *([None] if outcome.may_be_null else [])]
        assert {("shop", "web", outcome.name, cause) for cause in causes} <= set(told)
    assert {key[2] for key in series(collected, KILLS)} == set(CODES["killed"].causes)
    assert {key[3] for key in series(collected, DROPPED)} == set(CODES["signal-dropped"].causes)
    assert {key[2] for key in series(collected, DROPPED)} == {"SIGTERM"}
    assert series(collected, CRASHES) == {("shop", "web"): 0}
    world.start(container(11, stop_signal=3, name="nginx"))
    assert {key[1:3] for key in series(world.collect(), DROPPED)} == {("web", "SIGTERM"), ("nginx", "SIGQUIT")}


def test_a_shutdown_counts_by_outcome_and_cause_and_its_series_goes_on_from_its_0(world):
    web = world.start(container(10))
    (before,) = [f for f in world.collect().agent if f.metric is SHUTDOWNS]
    world.shutdown(web)
    world.shutdown(web)
    world.shutdown(web, "graceful", None, 0.05)
    world.remove(web)
    collected = world.collect(400)
    assert {k: v for k, v in series(collected, SHUTDOWNS).items() if v} == {
        ("shop", "web", "escalated", "dropped"): 2,
        ("shop", "web", "graceful", None): 1,
    }
    starts = {p.values: p.start_wall_ns for p in before.points}
    (after,) = [f for f in collected.agent if f.metric is SHUTDOWNS]
    assert all(starts[p.values] == p.start_wall_ns for p in after.points)
    assert len(after.points) == 2  # zeros are of those that live


def test_durations_fall_into_buckets_whose_bounds_are_inclusive(world):
    web = world.start(container(10))
    for duration_s in (0.0, 0.1, 0.100001, 30, 301, 5000):
        world.shutdown(web, duration_s=duration_s)
    world.shutdown(web, duration_s=None)
    (value,) = series(world.collect(), DURATION).values()
    assert value == Distribution((2, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2), pytest.approx(5331.200001))
    assert value.count == 6


def test_findings_are_counted_by_cause(world):
    web = world.start(container(10))
    world.finding(web, "signal-dropped", "shell-form", signo=TERM)
    world.finding(web, "killed", "by-parent", signo=KILL)
    world.finding(web, "crash-masked", "supervisor-restarts", count=3)
    world.finding(web, "signal-ignored", "sig-ign", signo=TERM)
    collected = world.collect()
    told = {m.name: {k: v for k, v in series(collected, m).items() if v} for m in (DROPPED, KILLS, CRASHES, SHUTDOWNS)}
    assert told == {
        DROPPED.name: {("shop", "web", "SIGTERM", "shell-form"): 1},
        KILLS.name: {("shop", "web", "by-parent"): 1},
        CRASHES.name: {("shop", "web"): 3},
        SHUTDOWNS.name: {},
    }


def test_a_container_without_names_goes_by_the_beginning_of_its_id(world):
    web = container(10, name=None, pod=None, namespace=None, asked=False, container_id="0123456789abcdef")
    world.start(web)
    world.shutdown(web)
    assert series(world.collect(5), SHUTDOWNS)[None, "0123456789ab", "escalated", "dropped"] == 1


def test_what_was_lost_is_counted_by_cause_and_begins_with_0(world):
    assert series(world.collect(), LOST) == {(loss.value,): 0 for loss in Loss}
    world.lose(Loss.RING_FULL, 3)
    world.lose(Loss.RING_FULL, 4)
    world.lose(Loss.QUEUE_FULL, 1)
    assert {k: v for k, v in series(world.collect(), LOST).items() if v} == {("ring-full",): 7, ("queue-full",): 1}


def test_what_was_exported_is_told_as_its_ledger_says(world):
    assert series(world.collect(), EXPORTED) == {}
    world.metrics.export_items = lambda: {("spans", "exported"): 5, ("spans", "dropped"): 1}
    assert series(world.collect(), EXPORTED) == {("spans", "exported"): 5, ("spans", "dropped"): 1}


def test_it_tells_of_itself(world):
    collected = world.collect()
    assert series(collected, CPU_TIME)[()] > 0
    assert 1 << 20 < series(collected, MEMORY)[()] < 1 << 36


def test_the_counts_of_names_beyond_the_limit_go_to_one_series_and_it_is_told_once():
    world = World(limit=5)
    webs = [world.start(container(10 + n, name=f"c{n}")) for n in range(5)]
    world.collect()
    for web in webs:
        world.shutdown(web)
        world.shutdown(web, "graceful", None)
    collected = world.collect()
    assert len([v for v in series(collected, SHUTDOWNS).values() if v]) == 5
    assert overflow(collected, SHUTDOWNS) == [5]
    assert [value.count for value in overflow(collected, DURATION)] == [5]
    assert sum(series(collected, SHUTDOWNS).values()) + 5 == 10
    assert world.metrics.take_overflow() == 10  # five shutdowns, and their durations
    assert world.metrics.take_overflow() == 0


def test_names_that_live_no_more_give_way_at_the_limit():
    world = World(limit=5)
    for n in range(50):
        job = world.start(container(100 + n, name=f"job-{n}"))
        world.collect()
        world.shutdown(job)
        world.remove(job)
        world.collect(1)
    assert world.metrics.take_overflow() == 0
    told = {key[1] for key, value in series(world.collect(), SHUTDOWNS).items() if value}
    assert told == {f"job-{n}" for n in range(45, 50)}


def test_a_series_that_gave_way_and_comes_again_has_a_new_start():
    world = World(limit=2)
    told = []
    for n, (name, outcomes) in enumerate((("a", ["oom"] * 3 + ["killed"]), ("b", ["oom"]), ("a", ["oom"]))):
        web = world.start(container(10 + n, name))
        world.collect()
        for outcome in outcomes:
            world.shutdown(web, outcome, "x")
        points = [p for f in world.collect().agent if f.metric is SHUTDOWNS for p in f.points]
        told += [(p.value, p.start_wall_ns) for p in points if p.values[1:3] == ("a", "oom") and p.value]
        world.remove(web)
        world.collect()
    (three, first), (one, last) = told
    assert (three, one) == (3, 1)
    assert last > first


def test_containers_beyond_the_limit_are_told_together():
    world = World(limit=3)
    webs = [world.start(container(10 + n, pod=f"p{n}")) for n in range(5)]
    for web in webs:
        world.event(Kind.EXEC, web)
    world.signals = {(10 + n, TERM, 0): 10**n for n in range(5)}
    collected = world.collect()
    assert len(collected.containers) == 4
    assert overflow(collected, SIGNALS) == [11000]
    assert world.metrics.take_overflow() == 2
    world.remove(webs[0])
    late = world.start(container(99, pod="late"))
    assert of(world.collect(), late, SIGNALS) == {}
    assert world.metrics.take_overflow() == 0


def test_a_flood_of_names_stays_bounded():
    world = World(limit=20)
    for n in range(3000):
        job = world.start(container(1000 + n, name=f"job-{n}", pod=f"pod-{n}"))
        world.shutdown(job)
        world.finding(job, "killed", "manual", first_s=n)
        if n % 3:
            world.remove(job)
        if n % 50 == 0:
            collected = world.collect()
    metrics = world.metrics
    assert len(collected.containers) <= 21
    assert all(len(t._series) <= 20 for t in metrics._tables.values())
    assert len(metrics._names) <= 3 * 20 + 50
    assert len(metrics._containers._all) <= 20
    shut = sum(series(collected, SHUTDOWNS).values()) + sum(overflow(collected, SHUTDOWNS))
    assert shut <= 3000


def test_without_a_capture_only_verdicts_are_counted():
    world = World()
    world.metrics.attach()
    web = world.start(container(10))
    world.shutdown(web)
    collected = world.collect()
    assert series(collected, SHUTDOWNS)["shop", "web", "escalated", "dropped"] == 1
    assert series(collected, SIGNALS) == {}


# ---- asked from another thread


def test_who_asks_gets_what_is_true_after_the_question(world, wait_until):
    web = world.start(container(10))
    world.collect()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(world.metrics.collect(10))) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: world.metrics.wanted)
    wait_until(lambda: len(world.metrics._news._waiters) == 20)
    world.signals = {(10, TERM, 0): 1}
    world.now += S
    world.metrics.pass_time(world.now)
    for thread in threads:
        thread.join(10)
    assert len({id(answer) for answer in answers}) == 1
    assert of(answers[0], web, SIGNALS) == {("SIGTERM", "delivered"): 1}


def test_who_asks_wakes_the_pipeline(world):
    """It may sleep for a second where nothing happens, and nobody else would come."""
    world.metrics.attach(wake=lambda: world.metrics.pass_time(5 * S))
    asked_ns = time.time_ns()
    assert world.metrics.collect(timeout_s=60).wall_ns >= asked_ns


def test_what_is_gone_is_swept_out_also_if_nobody_asks(world):
    for n in range(500):
        job = world.start(container(10 + n, pod=f"p{n}"))
        world.signals = {(10 + n, TERM, 0): 1}
        world.remove(job)
        world.give_back(10 + n)
        world.now += S
        world.metrics.pass_time(world.now)
    assert len(world.given.signals) <= 11
    assert len(world.metrics._containers._all) <= 312
    assert len(world.metrics._containers._owners) <= 312


def test_it_is_made_only_if_somebody_asks_and_ten_times_a_second_at_most(world):
    made = []
    world.metrics.attach(counts=lambda: made.append(1) or Counts())
    for step in range(100):
        world.metrics.pass_time(world.now + step * S)
    assert made == []
    for step in range(100):
        world.metrics.wanted = True
        world.metrics.pass_time(world.now + 200 * S + step * S // 100)
    assert len(made) == 10


def test_who_asks_is_answered_with_the_newest_if_the_pipeline_does_not_come_to_it(world):
    collected = world.collect()
    assert world.metrics.collect(0.01) is collected


def test_after_its_end_the_last_is_given_at_once(world):
    web = world.start(container(10))
    world.shutdown(web)
    world.metrics.close()
    collected = world.metrics.collect(60)
    assert series(collected, SHUTDOWNS)["shop", "web", "escalated", "dropped"] == 1
    assert world.metrics.collect(60) is collected


def test_it_is_a_sink_that_drops_nothing(world):
    world.metrics.observation(Observation(world.event(Kind.EXEC)))
    assert world.metrics.take_dropped() == 0


def test_what_a_fold_has_told_is_known_no_longer_than_its_container_can_tell_more(world):
    for n in range(10, 30):
        web = world.start(container(n))
        world.finding(web, "killed", "manual")
        world.remove(web)
        world.finding(web, "killed", "manual", count=3, closing=n % 2 == 0)
        world.finding(web, "killed", "by-parent")
    world.collect()
    assert len(world.metrics._repeats._told) == 30
    world.collect(121)
    assert not world.metrics._repeats._told


def test_a_container_that_makes_and_removes_cgroups_without_end_keeps_its_last_ones_alone(world, monkeypatch):
    monkeypatch.setattr(tracked, "_REMOVED_MAX", 100)
    web = world.start(container(10))
    for n in range(1000, 2000):
        world.event(Kind.CGROUP_MKDIR, cgroup=n, cgroup_parent_id=10)
        world.event(Kind.CGROUP_RMDIR, cgroup=n)
    (one,) = world.metrics._containers
    assert one.removed == set(range(1900, 2000))
    assert one.cgroups == {10, *one.removed} == set(world.metrics._containers._owners)
    world.signals = {(1999, TERM, 0): 3}
    world.give_back(1999)
    assert of(world.collect(), web, SIGNALS) == {("SIGTERM", "delivered"): 3}
    world.collect(31)
    assert set(world.metrics._containers._owners) == {10}
    assert of(world.collect(), web, SIGNALS) == {("SIGTERM", "delivered"): 3}
