"""What a scraper reads."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.model.event import Kind
from sigtrace.model.metrics import METRICS
from sigtrace.sinks.prometheus.exposition import (
    OPEN_METRICS,
    TEXT,
    Scrape,
    clean,
    escape,
    exposition,
    prometheus_name,
    wants_open_metrics,
)
from tests.unit.sinks.metrics.world import World, container
from tests.unit.sinks.prometheus.reader import labels_of, read, value

TERM = 15
WEB = {"namespace": "shop", "pod": "api-1", "container": "web"}
HOSTILE = ('"', "\\", "\n", "\r\x1b[31m", 'a"} 1\nevil 2', "\u202e", "é…", "\ud800", "x" * 5000, "{}=,", "\\n", "# EOF")
#: As Prometheus 2.42 sends it.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)

FORMATS = pytest.mark.parametrize("open_metrics", [False, True], ids=["text", "open metrics"])


def busy(name="web", **fields):
    """One container with everything."""
    world = World()
    web = world.start(container(10, name, **fields))
    world.collect()
    world.signals, world.exits = {(10, TERM, 1): 2, (10, 17, 0): 5}, {(10, 0): 4, (10, 9): 1}
    world.event(Kind.TASK, web, pid=20, zombie=True, exit_ns=world.now - 5_000_000_000)
    world.shutdown(web)
    world.shutdown(web, "graceful", None, 0.05)
    world.finding(web, "signal-dropped", "shell-form", signo=TERM)
    world.lose()
    return world


@FORMATS
def test_names_and_labels_are_those_of_the_contract(open_metrics):
    told = read(exposition(busy().collect(), {}, open_metrics=open_metrics), open_metrics=open_metrics)
    name = {"namespace": "shop", "container": "web"}
    for metric, labels, expected in (
        ("sigtrace_signal_generated_total", WEB | {"signal_name": "SIGTERM", "signal_result": "ignored"}, 2),
        ("sigtrace_process_exits_total", WEB | {"exit_status": "0"}, 4),
        ("sigtrace_process_exits_total", WEB | {"exit_status": "SIGKILL"}, 1),
        ("sigtrace_zombies", WEB, 1),
        ("sigtrace_signal_dropped_total", name | {"signal_name": "SIGTERM", "cause": "shell-form"}, 1),
        ("sigtrace_container_shutdowns_total", name | {"outcome": "escalated", "cause": "dropped"}, 1),
        ("sigtrace_container_shutdowns_total", name | {"outcome": "escalated", "cause": "slow"}, 0),
        ("sigtrace_container_shutdowns_total", name | {"outcome": "graceful"}, 1),
        ("sigtrace_container_shutdown_duration_seconds_bucket", name | {"outcome": "escalated", "le": "30.0"}, 0),
        ("sigtrace_container_shutdown_duration_seconds_bucket", name | {"outcome": "escalated", "le": "45.0"}, 1),
        ("sigtrace_container_shutdown_duration_seconds_bucket", name | {"outcome": "escalated", "le": "+Inf"}, 1),
        ("sigtrace_container_shutdown_duration_seconds_sum", name | {"outcome": "escalated"}, 30.2),
        ("sigtrace_container_shutdown_duration_seconds_count", name | {"outcome": "graceful"}, 1),
        ("sigtrace_process_kills_total", name | {"cause": "oom"}, 0),
        ("sigtrace_crash_masked_total", name, 0),
        ("sigtrace_event_lost_total", {"cause": "ring-full"}, 3),
    ):
        assert value(told, metric, **labels) == expected
    assert value(told, "sigtrace_zombie_age_seconds", **WEB) == pytest.approx(6, abs=0.1)
    assert set(told["sigtrace_container_info"].values()) == {1}
    ((labels, _),) = told["sigtrace_container_info"].items()
    assert dict(labels) == WEB | {"id": f"{10:064x}", "cgroup": "/pods/10"}
    assert not any("id" in dict(key) for name in told for key in told[name] if name != "sigtrace_container_info")


@FORMATS
def test_the_target_is_the_agent(open_metrics):
    info = {"service.name": "sigtrace", "k8s.node.name": "n1", "0x": "y", "__name__": "evil", "empty": ""}
    told = read(exposition(busy().collect(), info, open_metrics=open_metrics), open_metrics=open_metrics)
    ((labels, one),) = told["target_info"].items()
    assert one == 1
    assert dict(labels) == {"service_name": "sigtrace", "k8s_node_name": "n1", "key_0x": "y", "key___name__": "evil"}


def test_a_container_that_was_restarted_is_one_series_whose_total_only_grows():
    world = World()
    totals = []

    def look(after_s=1.0):
        told = read(exposition(world.collect(after_s), {}))
        totals.append(value(told, "sigtrace_process_exits_total", **WEB, exit_status="0"))
        return told

    for cgroup in (10, 11, 12):
        web = world.start(container(cgroup))
        world.exits[cgroup, 0] = 5
        look()
        world.remove(web)
        look()
        world.give_back(cgroup)
        look()
    web = world.start(container(13))
    world.exits[13, 0] = 1
    told = look()
    assert len(told["sigtrace_container_info"]) == 4
    told = look(400)  # the first three are forgotten
    assert len(told["sigtrace_container_info"]) == 1
    assert totals == [5, 5, 5, 10, 10, 10, 15, 15, 15, 16, 16]


@FORMATS
def test_what_found_no_room_says_so(open_metrics):
    world = World(limit=2)
    webs = [world.start(container(10 + n, f"c{n}")) for n in range(4)]
    world.signals = {(10 + n, TERM, 0): 1 for n in range(4)}
    world.collect()
    for web in webs:
        world.shutdown(web)
    told = read(exposition(world.collect(), {}, open_metrics=open_metrics), open_metrics=open_metrics)
    for name in ("sigtrace_container_shutdowns_total", "sigtrace_signal_generated_total"):
        assert value(told, name, otel_metric_overflow="true") == 2
    assert value(told, "sigtrace_container_shutdown_duration_seconds_count", otel_metric_overflow="true") == 2


@FORMATS
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_inside_their_quotes(name, open_metrics):
    world = busy(name, pod=name, namespace=name, image=name, container_id=name)
    text = exposition(world.collect(), {"service.name": name, name: name}, open_metrics=open_metrics)
    told = read(text, open_metrics=open_metrics)
    shown = clean(name)
    assert value(told, "sigtrace_zombies", namespace=shown, pod=shown, container=shown) == 1
    assert text.encode()
    assert len(shown) <= 1024 * 10


@given(st.text())
@settings(deadline=None)
def test_what_is_escaped_is_read_back(text):
    shown = clean(text)
    assert labels_of(f'a="{escape(shown)}"') == {"a": shown}


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), st.text(min_size=1, max_size=20))
@settings(deadline=None)
def test_any_names_make_a_page_that_can_be_read(one, other):
    world = World()
    for n, name in enumerate((one, other, one + other)):
        web = world.start(container(10 + n, name, pod=other, namespace=one))
        world.shutdown(web)
        world.signals[10 + n, TERM, 0] = 1
    read(exposition(world.collect(), {one: other, other: one}))


def test_names_that_look_the_same_once_they_are_printable_are_one_series():
    world = World()
    for n, name in enumerate(("a\x01", "a\\x01")):
        world.start(container(10 + n, name))
        world.signals[10 + n, TERM, 0] = 2
    told = read(exposition(world.collect(), {}))
    assert list(told["sigtrace_signal_generated_total"].values()) == [4]


def test_promtool_has_nothing_to_complain_of():
    """It reads the text format; tests/receivers has a Prometheus that reads OpenMetrics."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: install the package prometheus")
    for name in ("web", *HOSTILE):
        world = busy(name, pod=name, namespace=name, image=name)
        text = exposition(world.collect(), {"service.name": name})
        done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), name


def test_each_metric_has_a_name_that_follows_from_its_own():
    names = {prometheus_name(metric) for metric in METRICS}
    assert {"sigtrace_zombie_age_seconds", "sigtrace_container_shutdown_duration_seconds"} <= names
    assert {"sigtrace_export_items_total", "process_memory_usage_bytes"} <= names
    assert len(names) == len(METRICS)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        (PROMETHEUS, True),
        ("application/openmetrics-text; version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=nan", False),
        (";;;,,,q=1", False),
        ("application/openmetrics-text," * 10_000, True),
    ],
)
def test_a_scraper_gets_what_it_prefers(accept, wanted):
    assert wants_open_metrics(accept) is wanted
    body, content_type = Scrape(busy().collect, {"service.name": "sigtrace"})(accept)
    assert content_type == (OPEN_METRICS if wanted else TEXT)
    read(body.decode(), open_metrics=wanted)


@given(st.text())
@settings(deadline=None)
def test_no_accept_header_is_too_odd(accept):
    assert wants_open_metrics(accept) in {True, False}
