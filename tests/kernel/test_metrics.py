"""Metrics of real containers: the counts are exactly what was sent, whoever looks and whenever."""

import os
import signal
import sys

import pytest

from sigtrace.capture import Capture, run_in_background
from sigtrace.lab.container import Container
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.metrics import DROPPED, DURATION, EXITS, KILLS, SHUTDOWNS, SIGNALS, ZOMBIE_AGE, ZOMBIES
from sigtrace.model.signals import name
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp.exporter import Exporter
from sigtrace.sinks.otlp.metrics import MetricMessages
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sources import counters
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions
from tests.kernel.ground import SLEEP, cgroups_of
from tests.receivers.servers import HttpReceiver
from tests.receivers.strict import attributes_of
from tests.unit.sinks.metrics.world import series

WORDS = ("delivered", "ignored", "already_pending", "overflow", "lose_info")


@pytest.fixture(scope="module")
def reference(bpf_host):
    """Counts for itself; nobody reads its rings, so that it keeps the keys of removed cgroups."""
    source = BpfSource(BpfOptions(counts=1 << 15))
    source.open()
    yield source
    source.close()


@pytest.fixture(scope="module")
def watched(reference):
    """A capture in the background, and the metrics of it. It asks ten times as often as others for what is removed."""
    metrics = Metrics()
    with (
        pytest.MonkeyPatch.context() as patch,
        Capture("bpf", BpfOptions(zombie_after_s=0.2), [metrics]) as capture,
    ):
        patch.setattr(counters, "_INTERVAL_NS", counters._INTERVAL_NS // 10)
        metrics.attach(counts=capture.counts, given=capture.given_back, workload_of=capture.workload_of)
        finish = run_in_background(capture)
        try:
            yield capture, metrics
        finally:
            finish()


@pytest.fixture(autouse=True)
def _no_cgroup_left(watched):
    yield
    assert cgroups_of(f"test-{os.getpid()}") == []


@pytest.fixture
def box():
    with Container(f"test-{os.getpid()}-metrics") as container:
        yield container


def of(collected, cgroup, metric):
    """Values by attributes of one container; None if there is none."""
    for one in collected.containers:
        if one.workload and one.workload.cgroup_id == cgroup:
            return {p.values: p.value for f in one.families if f.metric is metric for p in f.points}
    return None


def counted(source, cgroup):
    """What a source counted, as the metrics say it."""
    counts, signals, exits = source.counts(), {}, {}
    for (owner, signo, result), count in counts.signals.items():
        if owner == cgroup:
            signals[name(signo), WORDS[result]] = count
    for (owner, raw), count in counts.exits.items():
        if owner == cgroup:
            status = WaitStatus(raw)
            key = (name(status.signal) if status.signal else str(status.code),)
            exits[key] = exits.get(key, 0) + count
    return signals, exits


def ours(collected, container):
    """Of the agent's counters what is this container's and not 0: (metric, attributes) → count."""
    told = {}
    for metric in (SHUTDOWNS, KILLS, DROPPED):
        for (_, whose, *rest), count in series(collected, metric).items():
            if whose == container and count:
                told[metric.name.removeprefix("sigtrace."), *rest] = count
    return told


def test_the_counts_of_a_container_are_what_was_sent(watched, reference, box, wait_until):
    _, metrics = watched
    box.start(SLEEP)
    box.wait_ready()
    wait_until(lambda: of(metrics.collect(), box.cgroup_id, SIGNALS) is not None, what="the container to be known")
    for _ in range(5):
        box.kill(signal.SIGTERM)  # PID 1 without a handler: dropped
    for _ in range(7):
        box.kill(signal.SIGWINCH)
    collected = metrics.collect()
    signals = of(collected, box.cgroup_id, SIGNALS)
    assert signals["SIGTERM", "ignored"] == 5
    assert signals["SIGWINCH", "ignored"] == 7
    assert (signals, of(collected, box.cgroup_id, EXITS)) == counted(reference, box.cgroup_id)
    for code in (3, 3, 4):
        assert box.exec(["sh", "-c", f"exit {code}"]).wait() == code
    box.stop(0)
    wait_until(lambda: counted(reference, box.cgroup_id)[1].get(("SIGKILL",)))
    collected = metrics.collect()
    exits = of(collected, box.cgroup_id, EXITS)
    assert (exits["3",], exits["4",], exits["SIGKILL",]) == (2, 1, 1)
    assert (of(collected, box.cgroup_id, SIGNALS), exits) == counted(reference, box.cgroup_id)


def test_a_container_that_was_gone_before_anyone_looked_is_told_exactly(watched, reference, wait_until):
    capture, metrics = watched
    with Container(f"test-{os.getpid()}-gone") as box:
        box.start(["sh", "-c", "kill -USR1 $$; i=0; while [ $i -lt 30 ]; do sh -c 'exit 3'; i=$((i+1)); done; exit 5"])
        assert box.wait().code == 5
        cgroup = box.cgroup_id

    def given_back():
        counts = capture.counts()
        return not any(key[0] == cgroup for key in (*counts.signals, *counts.exits))

    wait_until(given_back, timeout=40, what="the counters of the removed cgroup to be given back")
    collected = metrics.collect()
    exits = of(collected, cgroup, EXITS)
    assert (exits["3",], exits["5",]) == (30, 1)
    assert (of(collected, cgroup, SIGNALS), exits) == counted(reference, cgroup)
    (one,) = [one for one in collected.containers if one.workload and one.workload.cgroup_id == cgroup]
    assert one.first_wall_ns < one.gone_wall_ns <= collected.wall_ns


def test_totals_never_fall_while_a_container_works_and_goes(watched, reference, wait_until):
    capture, metrics = watched
    seen = []

    def look():
        exits = of(metrics.collect(), cgroup, EXITS)
        seen.append(exits.get(("3",), 0) if exits else 0)
        return seen[-1]

    with Container(f"test-{os.getpid()}-falls") as box:
        box.start(["sh", "-c", "i=0; while [ $i -lt 50 ]; do sh -c 'exit 3'; i=$((i+1)); done"])
        cgroup = box.cgroup_id
        while not box.has_exited():
            look()
    wait_until(lambda: look() == 50 and not any(key[0] == cgroup for key in capture.counts().exits), timeout=40)
    assert seen == sorted(seen)
    assert of(metrics.collect(), cgroup, EXITS) == counted(reference, cgroup)[1]


def test_an_escalated_stop_goes_from_0_to_1(watched, wait_until):
    _, metrics = watched
    container = f"test-{os.getpid()}-escalated"
    with Container(container) as living:
        living.start(SLEEP)
        living.wait_ready()
        key = (None, container, "escalated", "dropped")
        wait_until(lambda: series(metrics.collect(), SHUTDOWNS).get(key) == 0, what="a series at 0")
        living.stop(0.3)
        wait_until(lambda: series(metrics.collect(), SHUTDOWNS)[key] == 1, what="the shutdown to be counted")
    collected = metrics.collect()
    assert ours(collected, container) == {
        ("container.shutdowns", "escalated", "dropped"): 1,
        ("process.kills", "grace-expired"): 1,
        ("signal.dropped", "SIGTERM", "no-handler"): 1,
    }
    duration = series(collected, DURATION)[None, container, "escalated"]
    assert duration.count == 1
    assert 0.3 <= duration.total < 30


@pytest.mark.parametrize("scenario", ["exec-form", "shell-form", "operator", "main-first", "exit-status"])
def test_each_scenario_is_one_shutdown_of_its_outcome(watched, wait_until, scenario):
    _, metrics = watched
    expect = SCENARIOS[scenario].expect
    container = f"test-{os.getpid()}-{scenario}"
    run(SCENARIOS[scenario], container=container)

    def shutdowns():
        found = ours(metrics.collect(), container)
        return {key[1]: n for key, n in found.items() if key[0] == "container.shutdowns"}

    wait_until(shutdowns, what="the shutdown to be counted")
    assert shutdowns() == {expect.outcome: 1}


def test_zombies_are_counted_while_they_are_there(watched, box, wait_until):
    _, metrics = watched
    program = (
        "import os, signal\n"
        "pids = []\n"
        "for _ in range(7):\n"
        "    pid = os.fork()\n"
        "    if not pid: os._exit(0)\n"
        "    pids.append(pid)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: [os.waitpid(pid, 0) for pid in pids[:4]])\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    box.start([sys.executable, "-c", program])
    box.wait_ready(b"ready")

    def told(metric):
        return (of(metrics.collect(), box.cgroup_id, metric) or {}).get(())

    wait_until(lambda: told(ZOMBIES) == 7, what="seven zombies")
    assert told(ZOMBIE_AGE) >= 0.2
    box.kill(signal.SIGUSR1)
    wait_until(lambda: told(ZOMBIES) == 3, what="three zombies")
    box.stop(0)
    wait_until(lambda: told(ZOMBIES) <= 1, what="none but PID 1, which the lab keeps until it is closed")
    box.close()
    wait_until(lambda: told(ZOMBIES) is None, what="no zombies of a container that is gone")


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_a_strict_receiver_is_told_exactly_what_was_sent(watched, reference, wait_until, temporality):
    """Over HTTP, every 0.2 s, of a container that works, is stopped badly and goes."""
    _, metrics = watched
    name_of_it = f"test-{os.getpid()}-{temporality}"
    with HttpReceiver() as receiver:
        environ = {
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality,
        }
        settings = OtlpSettings.from_environment(receiver.url, environ=environ)
        exporter = Exporter(settings, tell=lambda _: None)
        try:
            exporter.collect_metrics(MetricMessages(metrics.collect, settings, "node"))

            def told(metric, key, whose=None):
                """The sum of deltas, or the last total."""
                values = [
                    point.as_int
                    for resource, message in list(receiver.checker.metrics)
                    if message.name == metric.name and resource.get("container.name") == whose
                    for point in message.sum.data_points
                    if key.items() <= attributes_of(point.attributes).items()
                ]
                return sum(values) if temporality == "delta" else max(values, default=0)

            with Container(name_of_it) as box:
                box.start(SLEEP)
                box.wait_ready()
                for _ in range(5):
                    box.kill(signal.SIGWINCH)
                wait_until(lambda: told(SIGNALS, {"signal.name": "SIGWINCH"}, name_of_it) == 5)
                for _ in range(3):
                    box.kill(signal.SIGWINCH)
                box.stop(0.2)
                cgroup = box.cgroup_id
            wait_until(lambda: told(EXITS, {"exit.status": "SIGKILL"}, name_of_it) == 1)
            agents = {"k8s.container.name": name_of_it}
            wait_until(lambda: told(SHUTDOWNS, agents | {"outcome": "escalated", "cause": "dropped"}) == 1)
            assert told(SIGNALS, {"signal.name": "SIGWINCH"}, name_of_it) == 8
            signals, exits = counted(reference, cgroup)
            for (signo, result), count in signals.items():
                key = {"signal.name": signo, "signal.result": result}
                assert told(SIGNALS, key, name_of_it) == count
            for (status,), count in exits.items():
                assert told(EXITS, {"exit.status": status}, name_of_it) == count
            assert told(SHUTDOWNS, agents) == 1
        finally:
            exporter.close(3)
        tally = exporter.ledger()["data_points"]
        assert tally.made == tally.exported
        assert receiver.checker.finish() == []
