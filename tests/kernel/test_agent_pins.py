"""An agent that is replaced, or killed, while its programs stay pinned: nothing is lost, nothing is told twice."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.lab.cgroup import LabCgroup
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.sources.pins import leftovers, unpin
from tests.kernel.test_agent import PATIENCE_S, Agent, agent, ask, folder, name  # noqa: F401 - fixtures

KILL, TERM = signal.SIGKILL, signal.SIGTERM
BPFFS = Path("/sys/fs/bpf")
STOPS = 30
LONG_S = 3.0


@pytest.fixture
def pins(bpf_host):
    if not os.path.ismount(BPFFS):
        subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], check=True)
    path = str(BPFFS / f"sigtrace-agent-{os.getpid()}")
    # As kubepods.slice does, the folder above stays: a path whose upper part is gone can't be known any more.
    holder = LabCgroup(f"pins-{os.getpid()}")
    holder.create()
    yield path
    holder.remove()
    unpin(path)


def told(agents, prefix):
    """Shutdowns by container, over all agents' standard output."""
    found = {}
    for one in agents:
        for record in list(one.records):
            box = (record["workload"] or {}).get("container_name") or ""
            if record["type"] == "shutdown" and box.startswith(prefix):
                found.setdefault(box, []).append((record["outcome"], record["cause"]))
    return found


def counted(one, box):
    """Its SIGTERMs by the kernel's count."""
    lines = [
        line for line in one.get("/metrics")[1].splitlines() if line.startswith("sigtrace_signal_generated_total{")
    ]
    mine = [line for line in lines if f'container="{box}"' in line and 'signal_name="SIGTERM"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


def test_shutdowns_that_began_before_a_kill_are_told_after_it_and_none_twice(pins, agent, name, wait_until, ask):  # noqa: F811
    first = agent("--pin", pins)
    with ThreadPoolExecutor(10) as pool:
        stops = [
            pool.submit(run_scenario, SCENARIOS["shell-form"], container=f"{name}-{i}", grace_s=LONG_S)
            for i in range(STOPS)
        ]
        # The first have been asked to stop, and their grace period runs; others have not begun.
        wait_until(lambda: any(r["type"] == "finding" for r in first.records), timeout=PATIENCE_S)
        first.kill(KILL)
        first.wait(PATIENCE_S)
        second = agent("--pin", pins)
        assert "pins=resumed" in second.ready
        for stop in stops:
            stop.result()
    wait_until(lambda: len(told([first, second], name)) == STOPS, timeout=PATIENCE_S)
    assert told([first, second], name) == {f"{name}-{i}": [("escalated", "dropped")] for i in range(STOPS)}
    code, out, err = ask("why", name + "-0")
    assert code == 0
    assert "no agent ran" not in out + err  # the kernel did


def test_what_ended_while_no_agent_ran_is_told_by_the_next(pins, agent, name, wait_until):  # noqa: F811
    first = agent("--pin", pins)
    first.kill(TERM)
    assert first.wait(PATIENCE_S) == 0
    run_scenario(SCENARIOS["shell-form"], container=name)
    second = agent("--pin", pins)
    wait_until(lambda: told([second], name), timeout=PATIENCE_S)
    assert told([second], name) == {name: [("escalated", "dropped")]}


def test_counters_go_on(pins, agent, name, wait_until):  # noqa: F811
    first = agent("--pin", pins)
    first.kill(KILL)
    first.wait(PATIENCE_S)
    run_scenario(SCENARIOS["shell-form"], container=name)
    second = agent("--pin", pins)
    wait_until(lambda: counted(second, name) == 1, timeout=PATIENCE_S)


def test_replace_hands_over_and_tells_no_gap(pins, agent, name, ask, wait_until):  # noqa: F811
    agent("--pin", pins)
    second = agent("--pin", pins, "--replace")
    assert "pins=resumed" in second.ready
    assert not second.said("nothing was seen")
    run_scenario(SCENARIOS["exec-form"], container=name)
    wait_until(lambda: told([second], name), timeout=PATIENCE_S)


def test_without_pins_the_gap_is_told(agent):  # noqa: F811
    first = agent()
    first.kill(KILL)
    first.wait(PATIENCE_S)
    assert agent().said("nothing was seen")


def test_unpin_removes_all_and_not_under_an_agent(pins, agent, ask):  # noqa: F811
    one = agent("--pin", pins)
    code, _, err = ask("agent", "--pin", pins, "--unpin")
    assert code == 3
    assert "another agent reads" in err
    one.kill(TERM)
    one.wait(PATIENCE_S)
    assert leftovers(pins)
    code, out, _ = ask("agent", "--pin", pins, "--unpin")
    assert (code, out.split()[0]) == (0, "removed")
    assert not leftovers(pins)
    assert ask("agent", "--pin", pins, "--unpin")[1].startswith("removed 0")


def test_an_agent_that_cannot_have_the_pins_ends_and_does_not_come_to_another_backend(pins, agent, ask):  # noqa: F811
    agent("--pin", pins)
    elsewhere = ["env", f"SIGTRACE_SOCKET={pins.replace('/sys/fs/bpf', '/tmp')}/agent.sock"]
    code, _, err = ask("agent", "--pin", pins, "--http", "off", "--state", "off", prefix=elsewhere)
    assert code == 3
    assert "another agent reads" in err
    code, _, err = ask("agent", "--pin", "/tmp/nowhere", "--http", "off", "--state", "off", prefix=elsewhere)
    assert code == 3
    assert "in no bpffs" in err
