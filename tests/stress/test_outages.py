"""The reader stands still in a storm, the collector dies in the middle: what is told is right, what is lost is counted.

A runtime whose socket dies and comes back is in tests/containers/test_verdicts.py and test_cri_names.py; what a queue
does without a collector in tests/receivers/test_outage.py.
"""

import os
import signal
import time

import pytest

from sigtrace.capture import Capture
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.event import Kind, Loss
from sigtrace.sources.options import BpfOptions
from tests.kernel.test_agent import agent, folder, name  # noqa: F401
from tests.receivers.servers import HttpReceiver
from tests.stress.storming import HOLD, Books, Storm, shutdowns_at

PATIENCE_S = 60
STOPPED = ("shell-form", "exec-form", "no-handler", "slow-handler", "tini-plain", "segfault")


def check_stood_still(program, seconds):
    """Nobody reads for a while, and for more than the ring holds: 24,966 records of 168 bytes in 4 MiB.

    Of this process and what it starts alone, so that no other's storm is in the books.
    """
    books = Books()
    options = BpfOptions(follow=(os.getpid(),), children=True, signal_mask=1 << (signal.SIGTERM - 1))
    with Capture("bpf", options, [books]) as capture:
        capture.feed.step(0)
        with Storm(program, "told") as storm:
            end = time.monotonic() + seconds
            while storm.total < 50_000 or time.monotonic() < end:
                time.sleep(0.05)
            storm.calm(HOLD)  # nobody exits: there is nothing but signals in the full ring
            sent, home = storm.total, storm.box.cgroup_id
            capture.finish()
            ledger = capture.lost()
    told = [books.by_cgroup[home, kind, signal.SIGTERM] for kind in (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER)]
    print(f"{sent:,} sent: {told} told, {books.lost}")
    assert sum(told)
    assert books.lost[Loss.RING_FULL] == ledger["ring_event"] + ledger["ring_life"] > 0
    # Each was generated and delivered.
    assert sum(told) + ledger["ring_event"] + books.lost[Loss.QUEUE_FULL] == 2 * sent


def test_a_reader_that_stood_still_in_a_storm_says_what_it_missed(bpf_host, storm):
    check_stood_still(storm, 0)


@pytest.mark.prove
def test_a_reader_that_stood_still_for_ten_seconds_in_a_storm_says_what_it_missed(bpf_host, storm):
    check_stood_still(storm, 10)


def check_suspended_agent(agent, name, wait_until, seconds):  # noqa: F811
    one = agent()
    one.kill(signal.SIGSTOP)
    begin = time.monotonic()
    stopped = {}
    while len(stopped) < 2 * len(STOPPED) or time.monotonic() < begin + seconds:
        scenario = STOPPED[len(stopped) % len(STOPPED)]
        container = f"{name}-{len(stopped)}"
        run_scenario(SCENARIOS[scenario], container=container, grace_s=0.2)
        stopped[container] = scenario
    one.kill(signal.SIGCONT)
    last = list(stopped)[-1]
    wait_until(lambda: one.of(last, "shutdown"), timeout=PATIENCE_S, what="the last one's story")
    one.kill(signal.SIGTERM)
    assert one.wait(PATIENCE_S) == 0
    told = {c: [(r["outcome"], r["cause"]) for r in one.of(c, "shutdown")] for c in stopped}
    expect = {c: SCENARIOS[s].expect for c, s in stopped.items()}
    lost = [(r["cause"], r["count"]) for r in one.records if r.get("code") == "events-lost"]
    assert (told, lost) == ({c: [(e.outcome, e.cause)] for c, e in expect.items()}, [])


@pytest.mark.prove
def test_an_agent_that_stands_still_for_ten_seconds_tells_all_that_stopped(agent, name, wait_until):  # noqa: F811
    check_suspended_agent(agent, name, wait_until, 10)


def test_a_collector_that_dies_and_comes_back_gets_every_story_once(agent, name, wait_until):  # noqa: F811
    stories = {}
    with HttpReceiver() as receiver:
        one = agent("--otlp-endpoint", receiver.url)
        for number in range(18):
            if number == 6:
                receiver.stop()
            if number == 12:
                receiver.start()
            scenario = STOPPED[number % len(STOPPED)]
            run_scenario(SCENARIOS[scenario], container=f"{name}-{number}", grace_s=0.1)
            stories[f"{name}-{number}"] = SCENARIOS[scenario].expect
        wait_until(
            lambda: stories.keys() <= set(shutdowns_at(receiver)), timeout=PATIENCE_S, what="all at the collector"
        )
        one.kill(signal.SIGTERM)
        assert one.wait(PATIENCE_S) == 0
        problems = receiver.checker.finish()
        roots = shutdowns_at(receiver)
    assert {c: [(r["outcome"], r["cause"]) for r in one.of(c, "shutdown")] for c in stories} == {
        c: [(e.outcome, e.cause)] for c, e in stories.items()
    }
    assert problems == []
    assert {c: roots[c] for c in stories} == dict.fromkeys(stories, 1)
    assert not one.said("spans were dropped")
