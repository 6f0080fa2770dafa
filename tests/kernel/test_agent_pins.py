"""An agent that is replaced, or killed, while its programs stay pinned: nothing is lost, nothing is told twice."""
# ruff: noqa: F811 - the fixtures of another file

import contextlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sigtrace.lab.cgroup import LabCgroup
from sigtrace.lab.container import Container
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.sinks.marks import Way
from sigtrace.sources.pins import leftovers, unpin
from tests.kernel.test_agent import (  # noqa: F401 - fixtures
    PATIENCE_S,
    Agent,
    Collector,
    agent,
    ask,
    folder,
    name,
    stop_deaf,
)

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


def dropped(one, prefix):
    """Containers whose stop signal was told to be dropped."""
    names = {(r["workload"] or {}).get("container_name") or "" for r in list(one.records) if r["type"] == "finding"}
    return [box for box in names if box.startswith(prefix)]


def counted(one, box, signal_name="SIGTERM"):
    """Its signals of this name by the kernel's count."""
    lines = [
        line for line in one.get("/metrics")[1].splitlines() if line.startswith("sigtrace_signal_generated_total{")
    ]
    mine = [line for line in lines if f'container="{box}"' in line and f'signal_name="{signal_name}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


#: Signals to itself, tens of thousands a second.
STORM = ["sh", "-c", "trap '' USR1; echo up; while :; do kill -USR1 $$; done"]


@pytest.mark.parametrize("stops", [STOPS, pytest.param(100, marks=pytest.mark.prove)])
def test_shutdowns_that_began_before_a_kill_in_a_storm_are_told_after_it_and_none_twice(
    pins, agent, name, wait_until, ask, stops
):
    first = agent("--pin", pins)
    grace_s = LONG_S * stops / STOPS  # none is over before all have begun
    storm = f"storm-{name}"
    with Container(storm) as stormy, ThreadPoolExecutor(stops) as pool:
        stormy.start(STORM)
        stormy.wait_ready(b"up\n", asleep=False)
        wait_until(lambda: counted(first, storm, "SIGUSR1") > 0, timeout=PATIENCE_S)
        begun = [
            pool.submit(run_scenario, SCENARIOS["shell-form"], container=f"{name}-{i}", grace_s=grace_s)
            for i in range(stops)
        ]
        # Some have been asked to stop, and their grace period runs; others have not begun.
        wait_until(lambda: len(dropped(first, name)) > stops // 4, timeout=PATIENCE_S)
        before = counted(first, storm, "SIGUSR1")
        first.kill(KILL)
        first.wait(PATIENCE_S)
        second = agent("--pin", pins)
        assert "pins=resumed" in second.ready
        for stop in begun:
            stop.result()
        wait_until(lambda: counted(second, storm, "SIGUSR1") > before, timeout=PATIENCE_S)
        stormy.kill(KILL)
        stormy.wait()
    expected = {f"{name}-{i}": [("escalated", "dropped")] for i in range(stops)}
    with contextlib.suppress(pytest.fail.Exception):  # what differs, and what was lost, says more
        wait_until(lambda: len(told([first, second], name)) == stops, timeout=2 * PATIENCE_S)
    lost = {r["cause"] for r in list(second.records) if r.get("code") == "events-lost"}
    assert told([first, second], name) == expected, f"lost: {lost}"
    code, out, err = ask("why", name + "-0")
    assert code == 0
    assert "no agent ran" not in out + err  # the kernel did


def test_what_ended_while_no_agent_ran_is_told_by_the_next(pins, agent, name, wait_until):
    first = agent("--pin", pins)
    first.kill(TERM)
    assert first.wait(PATIENCE_S) == 0
    run_scenario(SCENARIOS["shell-form"], container=name)
    second = agent("--pin", pins)
    wait_until(lambda: told([second], name), timeout=PATIENCE_S)
    assert told([second], name) == {name: [("escalated", "dropped")]}


def test_counters_go_on(pins, agent, name, wait_until):
    first = agent("--pin", pins)
    first.kill(KILL)
    first.wait(PATIENCE_S)
    run_scenario(SCENARIOS["shell-form"], container=name)
    second = agent("--pin", pins)
    wait_until(lambda: counted(second, name) == 1, timeout=PATIENCE_S)


def test_replace_hands_over_and_tells_no_gap(pins, agent, name, ask, wait_until):
    agent("--pin", pins)
    second = agent("--pin", pins, "--replace")
    assert "pins=resumed" in second.ready
    assert not second.said("nothing was seen")
    run_scenario(SCENARIOS["exec-form"], container=name)
    wait_until(lambda: told([second], name), timeout=PATIENCE_S)


def shutdowns_sent(collector, prefix):
    """How many shutdowns of each container it has got: others on this machine end theirs meanwhile."""
    found = {}
    for body in list(collector.bodies):
        for one in ExportTraceServiceRequest.FromString(body).resource_spans:
            (box,) = [a.value.string_value for a in one.resource.attributes if a.key == "service.name"]
            roots = sum(span.name == "container.shutdown" for scope in one.scope_spans for span in scope.spans)
            if roots and box.startswith(prefix):
                found[box] = found.get(box, 0) + roots
    return found


def test_what_was_kept_but_not_exported_at_a_kill_goes_out_by_the_next_and_only_once(
    pins, agent, name, ask, wait_until
):
    with Collector() as collector:
        export = ("--pin", pins, "--otlp-endpoint", collector.url)
        soon = {"prefix": ("env", "OTEL_BSP_SCHEDULE_DELAY=100")}  # ms, instead of five seconds a story
        collector.away = True
        first = agent(*export, **soon)
        stop_deaf(name)
        wait_until(lambda: first.said("wait, it is tried again"), timeout=PATIENCE_S)
        assert name in ask("why", name)[1]
        first.kill(KILL)
        first.wait(PATIENCE_S)
        collector.away = False
        second = agent(*export, **soon)
        wait_until(lambda: name in shutdowns_sent(collector, name), timeout=PATIENCE_S)
        # Of the last request the answer may be lost with the agent: then it is sent again, with the same ids.
        for box in (f"{name}-2", f"{name}-last"):
            stop_deaf(box)
            wait_until(lambda box=box: box in shutdowns_sent(collector, name), timeout=PATIENCE_S)
        second.kill(KILL)
        second.wait(PATIENCE_S)
        third = agent(*export, **soon)
        stop_deaf(f"{name}-3")
        wait_until(lambda: f"{name}-3" in shutdowns_sent(collector, name), timeout=PATIENCE_S)
    sent = shutdowns_sent(collector, name)
    assert sent.pop(f"{name}-last") in {1, 2}
    assert sent == dict.fromkeys([name, f"{name}-2", f"{name}-3"], 1)
    assert {len(ends) for ends in told([first, second, third], name).values()} == {1}


def counted_shutdowns(one, box):
    lines = one.get("/metrics")[1].splitlines()
    mine = [line for line in lines if line.startswith("sigtrace_container_shutdowns_total{") and f'"{box}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


@pytest.mark.parametrize("scraped", [False, True])
def test_what_was_not_scraped_before_a_kill_is_counted_by_the_next_and_what_was_is_not(
    pins,
    agent,
    name,
    wait_until,
    scraped,
):
    first = agent("--pin", pins)
    stop_deaf(name)
    wait_until(lambda: first.of(name, "shutdown"), timeout=PATIENCE_S)
    if scraped:
        wait_until(lambda: counted_shutdowns(first, name) == 1, timeout=PATIENCE_S)
    first.kill(KILL)
    first.wait(PATIENCE_S)
    second = agent("--pin", pins)
    stop_deaf(f"{name}-2")
    wait_until(lambda: counted_shutdowns(second, f"{name}-2") == 1, timeout=PATIENCE_S)
    assert counted_shutdowns(second, name) == (0 if scraped else 1)


def is_marked(one, box):
    """Whether its shutdown is marked as told, which follows the line: who is killed between the two tells it twice."""
    lines = Path(one.folder, "told").read_text(encoding="ascii").splitlines()[1:]
    told = {key for key, way in map(str.split, lines) if int(way) & Way.TOLD}
    return any(record["trace_id"] in told for record in one.of(box, "shutdown"))


@pytest.mark.parametrize("signo", [KILL, TERM])
def test_with_no_state_nothing_is_told_twice_either(pins, agent, name, wait_until, signo):
    first = agent("--pin", pins, "--state", "off")
    stop_deaf(name)
    wait_until(lambda: is_marked(first, name), timeout=PATIENCE_S)
    first.kill(signo)
    first.wait(PATIENCE_S)
    second = agent("--pin", pins, "--state", "off")
    stop_deaf(f"{name}-2")
    wait_until(lambda: second.of(f"{name}-2", "shutdown"), timeout=PATIENCE_S)
    assert second.of(name) == []


def test_without_pins_the_gap_is_told(agent):
    first = agent()
    first.kill(KILL)
    first.wait(PATIENCE_S)
    assert agent().said("nothing was seen")


def test_unpin_removes_all_and_not_under_an_agent(pins, agent, ask):
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


def test_an_agent_that_cannot_have_the_pins_ends_and_does_not_come_to_another_backend(pins, agent, ask, tmp_path):
    agent("--pin", pins)
    elsewhere = ["env", f"SIGTRACE_SOCKET={tmp_path}/agent.sock"]
    code, _, err = ask("agent", "--pin", pins, "--http", "off", "--state", "off", prefix=elsewhere)
    assert code == 3
    assert "another agent reads" in err
    code, _, err = ask("agent", "--pin", "/tmp/nowhere", "--http", "off", "--state", "off", prefix=elsewhere)
    assert code == 3
    assert "in no bpffs" in err
