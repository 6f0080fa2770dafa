"""The wall clock is set while containers stop: a verdict is the same, and no time in it runs backwards.

The clock is that of the agent alone (clock.c), for a machine's belongs to everybody on it. In a virtual machine it can
be the real one, which is set right again at the end:

    python -m tests.vm.run --kernel 6.1 -- \\
        env SIGTRACE_SET_CLOCK=1 .venv/bin/python -m pytest -q tests/stress/test_clock.py
"""

import mmap
import os
import signal
import struct
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel import test_agent
from tests.kernel.test_agent import DEAF, agent, ask, folder, name  # noqa: F401
from tests.receivers.servers import HttpReceiver
from tests.stress.storming import shutdowns_at

HOUR, DAY = 3600, 86400
REAL = os.environ.get("SIGTRACE_SET_CLOCK") == "1"
#: In an emulated machine an agent takes a minute to start.
PATIENCE_S = 300 if REAL else 60


class Clock:
    """The agent's wall clock, or the machine's."""

    def __init__(self, tmp_path):
        self.set_by = 0
        self._begin = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.prefix = ()
        if REAL:
            return
        library, step = tmp_path / "clock.so", tmp_path / "step"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
        step.write_bytes(bytes(8))
        with step.open("r+b") as file:
            self._step = mmap.mmap(file.fileno(), 8)
        self.prefix = ("env", f"LD_PRELOAD={library}", f"CLOCK_STEP={step}")

    def set(self, seconds):
        """So far from the true time."""
        self.set_by = seconds
        if REAL:
            true_ns = self._begin + time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            time.clock_settime_ns(time.CLOCK_REALTIME, true_ns + seconds * 10**9)
        else:
            struct.pack_into("<q", self._step, 0, seconds)

    def off_by(self, record):
        """Seconds from the true time to a record's, roughly."""
        true_s = (self._begin + time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9
        return datetime.fromisoformat(record["time"][:19]).replace(tzinfo=UTC).timestamp() - true_s


@pytest.fixture(autouse=True)
def patient_with_agents(monkeypatch):
    monkeypatch.setattr(test_agent, "PATIENCE_S", PATIENCE_S)


@pytest.fixture
def clock(tmp_path):
    one = Clock(tmp_path)
    yield one
    one.set(0)


def until_noticed(one, clock, prefix, wait_until):
    """The agent looks at the clock every ten seconds: short containers show it."""
    number = 0

    def noticed():
        nonlocal number
        number += 1
        short = f"{prefix}-{number}"
        run_scenario(SCENARIOS["exec-form"], container=short)
        wait_until(lambda: one.of(short, "shutdown"), timeout=PATIENCE_S)
        (record,) = one.of(short, "shutdown")
        assert (record["outcome"], record["cause"]) == ("graceful", None)
        return abs(clock.off_by(record) - clock.set_by) < HOUR / 2

    wait_until(noticed, timeout=PATIENCE_S, what="the agent to notice that the clock was set")
    return number


def check_step(agent, ask, clock, name, wait_until, seconds):  # noqa: F811
    with HttpReceiver() as receiver:
        one = agent("--otlp-endpoint", receiver.url, prefix=clock.prefix)
        run_scenario(SCENARIOS["shell-form"], container=f"{name}-before")
        wait_until(lambda: one.of(f"{name}-before", "shutdown"), timeout=PATIENCE_S)
        with Container(name) as box:
            box.start(DEAF)
            box.wait_ready(b"up\n")
            asked = box.kill(signal.SIGTERM).time_ns
            clock.set(seconds)
            until_noticed(one, clock, f"{name}-short", wait_until)
            killed = box.kill(signal.SIGKILL).time_ns
            box.wait()
            wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
        (shutdown,) = one.of(name, "shutdown")
        assert (shutdown["outcome"], shutdown["cause"]) == ("escalated", "dropped")
        assert abs(shutdown["grace_s"] - (killed - asked) / 1e9) < 0.5
        assert shutdown["duration_s"] >= shutdown["grace_s"] - 0.5
        assert abs(clock.off_by(shutdown) - seconds) < HOUR / 2
        _, told, _ = ask("why", "--since", "1h", prefix=clock.prefix)
        assert name in told
        assert f"{name}-before" in told or seconds > 0  # what is a day old now was told with the time of then
        assert f"{name}-before" in ask("why", prefix=clock.prefix)[1]
        boxes = {name, f"{name}-before"}
        wait_until(
            lambda: boxes <= set(shutdowns_at(receiver)), timeout=PATIENCE_S, what="the stories at the collector"
        )
        one.kill(signal.SIGTERM)
        assert one.wait(PATIENCE_S) == 0
        assert not one.said("Traceback")
        assert {box: shutdowns_at(receiver)[box] for box in boxes} == dict.fromkeys(boxes, 1)
    assert receiver.checker.finish() == [], "a span or a series runs backwards"


def test_a_clock_that_is_set_back_changes_no_verdict(agent, ask, clock, name, wait_until):  # noqa: F811
    check_step(agent, ask, clock, name, wait_until, -DAY)


@pytest.mark.prove
@pytest.mark.parametrize("seconds", [DAY, -2 * HOUR, 60])
def test_a_clock_that_is_set_changes_no_verdict(agent, ask, clock, name, wait_until, seconds):  # noqa: F811
    check_step(agent, ask, clock, name, wait_until, seconds)
