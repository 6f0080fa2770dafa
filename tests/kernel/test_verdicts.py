"""Every scenario of the lab: the findings that it must show, no other, and the outcome; and a replay says the same."""

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel.bench import Bench, none_wrong

ROOT = Path(__file__).parents[2]
#: What those are called that are stopped one after the other.
ALONE = f"verdict-{os.getpid()}-"


def possible():
    """Those that this machine can run; tests/vm runs the others on kernels that have what they need."""
    return [name for name, scenario in SCENARIOS.items() if not unmet(scenario.needs)]


@pytest.fixture(scope="module")
def bench(bpf_host):
    with Bench() as bench:
        yield bench
        lost = {name: n for name, n in bench.capture.lost().items() if n and not name.startswith("recorded")}
        told = Counter(one.workload.container_name for one in bench.shutdowns(ALONE))
        assert not lost
        assert set(told.values()) <= {1}, "a shutdown was told twice"


@pytest.mark.parametrize("name", possible())
def test_a_scenario_is_told_right(bench, name):
    assert not bench.stop_one(name, ALONE + name)


def test_what_cannot_run_here_says_why():
    for name in set(SCENARIOS) - set(possible()):
        assert name == "oom-group", f"{name}: {unmet(SCENARIOS[name].needs)}"


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [("trap 'exit 143' TERM", ("graceful", None)), (":", ("terminated", "no-handler"))],
)
def test_a_command_from_outside_stops_the_program_behind_a_shell(bench, ends, outcome):
    """A preStop hook's `kill $(pidof app)`: the shell in front passes on how it ended, and had itself heard nothing."""
    app = f"{ends}; echo up; while :; do sleep 0.02; done"
    with Container(f"{ALONE}behind-{outcome[0]}") as box:
        box.start(["sh", "-c", 'sh -c "$0"; exit $?', app])
        box.wait_ready(b"up\n", asleep=False)
        assert box.exec(["sh", "-c", "kill 2"]).wait() == 0
        assert box.wait().code == 143
        shutdown, findings = bench.verdicts.wait_for_shutdown(box.cgroup_id)
    assert (shutdown.outcome, shutdown.cause, findings) == (*outcome, [])
    assert shutdown.evidence[0].task.ns_pid == 2


def all_at_once(bench, label, workers):
    with ThreadPoolExecutor(workers) as pool:
        names = sorted(possible(), key=lambda name: name != "stop-unanswered")  # which takes six seconds
        wrong = list(pool.map(bench.stop_one, names, [f"{label}-{os.getpid()}-{name}" for name in names]))
    none_wrong(wrong)
    assert len(bench.shutdowns(f"{label}-{os.getpid()}-")) == len(possible())


def test_all_of_them_at_once(bench):
    all_at_once(bench, "together", 12)


@pytest.mark.prove
def test_ten_runs_of_all_on_a_loaded_machine(bpf_host):
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for turn in range(10):
            with Bench() as bench:
                all_at_once(bench, f"turn{turn}", 4)
    finally:
        for one in load:
            one.kill()
            one.wait()
