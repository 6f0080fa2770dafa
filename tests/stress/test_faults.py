"""What goes wrong around us: no crash, no wrong verdict, and every loss is counted."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.capture import Capture, run_in_background
from sigtrace.demonstration import Known, Verdicts
from sigtrace.detectors.base import Thresholds
from sigtrace.lab.cgroup import LabCgroup
from sigtrace.lab.scenario import UNANSWERED_AFTER_S
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.event import Kind, Loss
from sigtrace.sources.options import BpfOptions
from tests.kernel.bench import Bench

ROOT = Path(__file__).parents[2]
SIGTRACE = ROOT / ".venv/bin/sigtrace"
STOPPED = ("shell-form", "exec-form", "no-handler", "slow-handler", "tini-plain", "segfault")


#: Each of these becomes a record.
STORM = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: None)
while True:
    os.kill(os.getpid(), signal.SIGTERM)
"""


def line_of(watch, kind):
    """The next record of this type."""
    while line := watch.stdout.readline():
        record = json.loads(line)
        if record["type"] == kind:
            return record
    pytest.fail(f"no {kind}: sigtrace ended")


@pytest.fixture
def watch(bpf_host):
    """`sigtrace watch`, ready; a function that starts it with more arguments."""
    started = []

    def start(*prefix):
        argv = [*prefix, SIGTRACE, "watch", "--local", "-o", "json"]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        assert "ready" in started[-1].stderr.readline()
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def told_by(watch, containers):
    """What it says of these, after a clean end: {container: (outcome, cause)}, and how much it lost."""
    watch.send_signal(signal.SIGTERM)
    out, err = watch.communicate(timeout=20)
    assert watch.returncode == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    shutdowns = [r for r in records if r["type"] == "shutdown" and r["workload"]["container_name"] in containers]
    names = [r["workload"]["container_name"] for r in shutdowns]
    assert len(set(names)) == len(names), "told twice"
    lost = sum(r["count"] for r in records if r["type"] == "finding" and r["code"] == "events-lost")
    return {r["workload"]["container_name"]: (r["outcome"], r["cause"]) for r in shutdowns}, lost


def expected(name):
    return SCENARIOS[name].expect.outcome, SCENARIOS[name].expect.cause


def stop(name):
    result = run_scenario(SCENARIOS[name])
    return result.container, name


def churn(name, count):
    """Cgroups that come and go."""
    for i in range(count):
        cgroup = LabCgroup(f"churn-{name}-{i}")
        cgroup.create()
        cgroup.remove()


def test_an_agent_that_stands_still_for_a_while_has_missed_nothing(watch):
    sigtrace = watch()
    sigtrace.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        stopped = dict(pool.map(stop, [name for name in STOPPED for _ in range(4)]))
    sigtrace.send_signal(signal.SIGCONT)
    told, lost = told_by(sigtrace, stopped)
    assert told == {container: expected(name) for container, name in stopped.items()}
    assert not lost


def test_one_cpu_for_an_agent_and_everything_else_is_enough(watch):
    sigtrace = watch("taskset", "-c", "0")
    storm = [subprocess.Popen(["taskset", "-c", "0", "sh", "-c", "while :; do kill -URG $$; done"]) for _ in range(2)]
    try:
        stopped = dict(stop(name) for name in STOPPED)
        told, lost = told_by(sigtrace, stopped)
    finally:
        for one in storm:
            one.kill()
            one.wait()
    assert told == {container: expected(name) for container, name in stopped.items()}
    assert not lost


@pytest.mark.parametrize("small", ["events_bytes", "lives_bytes", "both"])
def test_rings_of_one_page_lose_events_say_so_and_tell_nothing_wrong(bpf_host, small):
    page = os.sysconf("SC_PAGE_SIZE")
    sizes = {name: page for name in ("events_bytes", "lives_bytes") if small in {name, "both"}}
    lost = Counter()
    verdicts, known = Verdicts(), Known()
    thresholds = Thresholds(unanswered_after_s=UNANSWERED_AFTER_S)
    options = BpfOptions(**sizes, events_per_s=1_000_000, lives_per_s=1_000_000, burst=1_000_000)
    wrong = []
    with Capture("bpf", options, [verdicts, Losses(lost)], thresholds=thresholds, names=known) as capture:
        capture.feed.step(0)
        finish = run_in_background(capture)
        kills = [sys.executable, "-c", STORM]
        with subprocess.Popen(kills, stderr=subprocess.DEVNULL) as storm, ThreadPoolExecutor(1) as pool:
            try:
                busy = pool.submit(churn, f"{os.getpid()}-{small}", 500)  # cgroups are told in the ring of lives
                for i, name in enumerate(STOPPED):
                    box = known.add(SCENARIOS[name], f"page-{os.getpid()}-{small}-{i}")
                    result = run_scenario(SCENARIOS[name], container=box, grace_s=0.2)
                    told = [v for v in verdicts.of(result.cgroup_id) if hasattr(v, "outcome")]
                    wrong += [(name, v.outcome) for v in told if v.outcome not in {expected(name)[0], "killed"}]
                busy.result()
            finally:
                storm.kill()
        finish()
        ledger = capture.lost()
    assert not wrong
    assert lost[Loss.RING_FULL], "nothing was lost: the storm was none"
    assert lost[Loss.RING_FULL] == ledger["ring_event"] + ledger["ring_life"]
    assert lost[Loss.KERNEL_MISSED] == ledger["missed"]


class Losses:
    """A sink that adds up what is told to be lost, by cause."""

    def __init__(self, lost):
        self._lost = lost

    def observation(self, observation):
        if observation.event.kind is Kind.LOST:
            self._lost[observation.event.loss] += observation.event.count

    def verdict(self, verdict): ...
    def pass_time(self, now_ns): ...
    def close(self): ...

    def take_dropped(self):
        return 0


def test_a_node_whose_cgroups_come_and_go_by_the_hundred_still_gets_its_verdicts(bpf_host):
    with Bench() as bench, ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(churn, f"{os.getpid()}-{thread}", 500) for thread in range(2)]
        wrong = [bench.stop_one(name, f"churned-{os.getpid()}-{name}", grace_s=0.2) for name in STOPPED]
        for one in busy:
            one.result()
        lost = {name: n for name, n in bench.capture.lost().items() if n and not name.startswith("recorded")}
    assert not [one for one in wrong if one]
    assert set(lost) <= {"limited_life"}  # of one cgroup's children, beyond 500 a second; a look at the tree finds them
