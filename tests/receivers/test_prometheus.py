"""A real Prometheus scrapes what we tell it, and its alert fires on one escalated stop."""

import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from sigtrace.capture import Capture, run_in_background
from sigtrace.lab.container import Container
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.prometheus.address import parse_address
from sigtrace.sinks.prometheus.exposition import Scrape, clean
from sigtrace.sinks.prometheus.server import Server
from sigtrace.sources.options import BpfOptions
from tests import kustomize
from tests.manifests import one
from tests.unit.sinks.metrics.world import World, container
from tests.unit.sinks.prometheus.test_exposition import HOSTILE

ALERTS = Path(__file__).parents[2] / "deploy/daemonset/alerts"
#: The agent's pod is a target of the operator's, with the labels that it gives and then our PodMonitor's relabelings.
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: sigtrace
    honor_labels: true
    static_configs: [{{targets: ["{node}"], labels: {{
      namespace: sigtrace, pod: sigtrace-x7k2p, container: sigtrace, __meta_kubernetes_pod_node_name: n1}}}}]
    relabel_configs: {relabelings}
  - job_name: hostile
    honor_labels: true
    static_configs: [{{targets: ["{hostile}"]}}]
"""


def pod_monitors():
    """Its relabelings, in Prometheus' own spelling."""
    monitor = one(kustomize.build(ALERTS.parent / "monitoring"), "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    own = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{own.get(key, key): value for key, value in rule.items()} for rule in endpoint["relabelings"]]


class Prometheus:
    """Debian's, in a folder of its own."""

    def __init__(self, folder, targets):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        config = folder / "prometheus.yaml"
        rules, relabelings = ALERTS / "sigtrace.rules.yaml", json.dumps(pod_monitors())
        config.write_text(CONFIG.format(rules=rules, relabelings=relabelings, **targets))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.address}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path, **query):
        """The data of an answer; None while it does not answer."""
        assert self.process.poll() is None, self.log.read_text()
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except (urllib.error.URLError, ConnectionError):
            return None

    def query(self, expression):
        """Labels and value of each series."""
        data = self.ask("query", query=expression)
        return [(one["metric"], float(one["value"][1])) for one in data["result"]] if data else []

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def node(bpf_host):
    """What watches this machine."""
    metrics = Metrics()
    with Capture("bpf", BpfOptions(), [metrics]) as capture:
        metrics.attach(counts=capture.counts, given=capture.given_back, workload_of=capture.workload_of)
        finish = run_in_background(capture)
        server = Server(parse_address("127.0.0.1:0"), Scrape(metrics.collect, {"service.name": "sigtrace"}))
        server.start()
        try:
            yield server
        finally:
            server.close()
            finish()


@pytest.fixture(scope="module")
def hostile():
    """A world of odd names."""
    world = World()
    for n, name in enumerate(HOSTILE):
        web = world.start(container(10 + n, name, pod=name, namespace=name, image=name))
        world.signals[10 + n, 15, 1] = n + 1
        world.shutdown(web)
    collected = world.collect()
    server = Server(parse_address("127.0.0.1:0"), Scrape(lambda: collected, dict.fromkeys(HOSTILE, HOSTILE[0])))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def prometheus(node, hostile, tmp_path_factory):
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus: install the package prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(folder, {"node": node.address, "hostile": hostile.address})
    yield server
    server.close()


def test_it_scrapes_everything(prometheus, wait_until):
    wait_until(lambda: len(prometheus.query("up == 1")) == 2, timeout=60, what="both targets to be up")
    targets = prometheus.ask("targets")["activeTargets"]
    assert [target["lastError"] for target in targets] == ["", ""]


def test_hostile_names_arrive_as_they_are(prometheus, wait_until):
    told = wait_until(lambda: prometheus.query('sigtrace_signal_generated_total{job="hostile"}'), timeout=60)
    expected = {(clean(name),) * 3: n + 1 for n, name in enumerate(HOSTILE)}
    assert {(m["namespace"], m["pod"], m["container"]): value for m, value in told} == expected


def test_one_escalated_stop_fires_the_alert(prometheus, node, wait_until):
    name = f"test-{os.getpid()}-alert"
    at_0 = f'sigtrace_container_shutdowns_total{{container="{name}",outcome="escalated"}}'
    with Container(name) as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        wait_until(lambda: prometheus.query(at_0), timeout=60, what="the series at 0 to be scraped")
        assert {value for _, value in prometheus.query(at_0)} == {0}
        box.stop(0.3)

    def alert():
        alerts = (prometheus.ask("alerts") or {"alerts": []})["alerts"]
        return [one for one in alerts if one["labels"].get("container") == name and one["state"] == "firing"]

    (fired,) = wait_until(alert, timeout=60, what="the alert to fire")
    assert fired["labels"]["alertname"] == "SigtraceStopEscalated"
    assert fired["labels"]["cause"] == "dropped"
    assert fired["annotations"]["summary"] == f"{name} had to be killed with SIGKILL: dropped"  # not in our namespace
    assert f"`sigtrace why {name}` in the agent of node n1 tells why" in fired["annotations"]["description"]


def test_what_has_no_namespace_gets_none_of_the_agents_own(prometheus, wait_until):
    told = wait_until(lambda: prometheus.query('{job="sigtrace"}'), timeout=60)
    own = {"namespace": "sigtrace", "pod": "sigtrace-x7k2p", "container": "sigtrace"}
    assert not [m for m, _ in told if any(m.get(name) == value for name, value in own.items())]
    assert {m["node"] for m, _ in told} == {"n1"}


def test_the_alert_rules_pass_their_own_tests():
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: install the package prometheus")
    done = subprocess.run(
        ["promtool", "test", "rules", "sigtrace.rules.test.yaml"],
        cwd=ALERTS,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_twenty_scrapers_at_once_are_served(node, wait_until):
    answers = []

    def scrape():
        with urllib.request.urlopen(f"http://{node.address}/metrics", timeout=20) as answer:
            answers.append(answer.read())

    threads = [threading.Thread(target=scrape) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 20
    assert all(b"sigtrace_event_lost_total" in answer for answer in answers)
