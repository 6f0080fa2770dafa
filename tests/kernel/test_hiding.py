"""A container that storms cannot hide its own stop, nor another's (design: In the kernel, the limiter)."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from tests.kernel.bench import Bench, none_wrong

#: mode → why its stop escalates
MODES = {"queue": "dropped", "kill": "dropped", "timers": "slow", "exec": "dropped", "fork": "dropped"}


#: One of each kind of evidence.
BESIDE = (
    "shell-form", "exec-form", "slow-handler", "kill-from-inside", "script", "main-first", "kept-waiting", "relayed",
    "by-parent", "oom-child", "host-pid", "pre-stop", "tini-plain",
)  # fmt: skip


@pytest.fixture(scope="module")
def hider(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    path = tmp_path_factory.mktemp("hider") / "hider"
    subprocess.run([compiler, "-O1", "-Wall", "-o", path, Path(__file__).with_name("hider.c"), "-lrt"], check=True)
    return path


def storming(hider, mode):
    box = Container(f"hider-{mode}-{os.getpid()}")
    box.start([str(hider), mode])
    box.wait_ready(b"hider: ready", asleep=False)
    return box


def until_limited(bench, timeout_s=10):
    """The storm has used up a budget: from here on something would be missing."""
    deadline = time.monotonic() + timeout_s
    while not any(n for name, n in bench.capture.lost().items() if name.startswith("limited")):
        assert time.monotonic() < deadline, "this is no storm"
        time.sleep(0.01)


@pytest.mark.parametrize("mode", MODES)
def test_a_storm_hides_nothing_of_its_own_stop(bpf_host, hider, mode):
    with Bench() as bench:
        with storming(hider, mode) as box:
            until_limited(bench)
            stopped = box.stop(0.3)
            shutdown, findings = bench.verdicts.wait_for_shutdown(box.cgroup_id)
        lost = bench.capture.lost()
    assert stopped.wait_status.signal == 9
    assert (shutdown.outcome, shutdown.cause) == ("escalated", MODES[mode])
    assert shutdown.wait_status == stopped.wait_status
    assert 0.25 < shutdown.grace_s < 5
    assert ("killed", "grace-expired") in {(f.code, f.cause) for f in findings}
    assert lost["ring_life"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_storm_hides_nothing_of_another_containers_stop(bpf_host, hider, mode):
    with Bench() as bench, storming(hider, mode), ThreadPoolExecutor(4) as pool:
        until_limited(bench)
        names = [f"beside-{mode}-{os.getpid()}-{i}" for i in range(2 * len(BESIDE))]
        wrong = list(pool.map(bench.stop_one, BESIDE * 2, names))
    none_wrong(wrong)


def test_a_signal_just_before_the_end_is_still_told(bpf_host):
    """The records of the last milliseconds are read after the programs are detached, their snapshot included."""
    with Container(f"last-{os.getpid()}") as box:
        with Bench() as bench:
            box.start(["sleep", "infinity"])
            box.wait_ready()
            box.kill(15)
        codes = {v.code for v in bench.verdicts.of(box.cgroup_id)}
    assert codes == {"signal-dropped"}
