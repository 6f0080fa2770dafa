"""Dashboard, alerts and scrape configuration: they ask for what exists."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from benchmarks.scale import LEAN
from sigtrace.model.metrics import METRICS, MetricKind
from sigtrace.sinks.prometheus.exposition import prometheus_name
from tests import kustomize
from tests.manifests import DEPLOY, built, one

MONITORING = DEPLOY / "monitoring"


def series():
    """Each series' name → its labels."""
    labels = {"k8s.namespace.name": "namespace", "k8s.container.name": "container"}
    found = {
        "sigtrace_container_info": {"namespace", "pod", "container"},
        "up": {"namespace", "pod", "container", "node"},
    }
    for metric in METRICS:
        own = {labels.get(name, name.replace(".", "_")) for name in metric.attributes}
        name = prometheus_name(metric)
        of = own | {"namespace", "pod", "container"}
        if metric.kind is MetricKind.HISTOGRAM:
            found |= {name + "_bucket": of | {"le"}, name + "_count": of, name + "_sum": of}
        else:
            found[name] = of
    return found


def dashboard():
    return json.loads((MONITORING / "sigtrace.dashboard.json").read_text(encoding="utf-8"))


def queries():
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_and_labels_that_exist():
    known = series()
    variables = [one["query"]["query"] for one in dashboard()["templating"]["list"] if one["type"] == "query"]
    asked = set()
    for expr in [*queries(), *variables]:
        names = re.findall(r"\b(sigtrace_\w+|up)\b", expr)
        assert names, expr
        asked.update(names)
        assert set(names) <= known.keys(), expr
        labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expr))
        labels |= {name.strip() for group in re.findall(r"by \(([^)]*)\)", expr) for name in group.split(",")}
        for name in names:
            assert labels <= known[name], expr
    # All of ours but the agent's own two are to be seen.
    families = {prometheus_name(m) for m in METRICS if m.name.startswith("sigtrace.")}
    assert families <= {re.sub("_bucket$", "", name) for name in asked}


def test_promtool_can_read_every_query_of_the_dashboard(tmp_path):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: install the package prometheus")
    rules = [{"record": f"x:{n}", "expr": plain(expr)} for n, expr in enumerate(queries())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(file)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def plain(expr):
    """A query with Grafana's variables filled in."""
    for name, value in {"$__rate_interval": "5m", "$__range": "1h", "$namespace": ".*", "$container": ".*"}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


def test_panels_neither_overlap_nor_leave_the_grid():
    taken = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def test_the_operators_rule_is_the_rule_file_that_promtool_tests():
    objects = kustomize.build(MONITORING)
    rules = yaml.safe_load((DEPLOY / "alerts/sigtrace.rules.yaml").read_text(encoding="utf-8"))
    assert one(objects, "PrometheusRule")["spec"] == rules, "run deploy/daemonset/monitoring/wrap-alerts"


def test_the_pod_monitor_scrapes_the_agents_port_and_keeps_its_labels():
    monitor = one(kustomize.build(MONITORING), "PodMonitor")["spec"]
    daemons = one(built("containerd"), "DaemonSet")["spec"]
    assert monitor["selector"] == daemons["selector"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    assert endpoint["port"] in {port["name"] for port in daemons["template"]["spec"]["containers"][0]["ports"]}


def test_the_lean_monitor_differs_only_in_what_it_keeps_and_in_its_interval():
    (full,) = one(kustomize.build(MONITORING), "PodMonitor")["spec"]["podMetricsEndpoints"]
    (lean,) = one(kustomize.build(DEPLOY / "monitoring-lean"), "PodMonitor")["spec"]["podMetricsEndpoints"]
    (rule,) = lean.pop("metricRelabelings")
    assert lean == full | {"interval": "60s"}
    assert rule["action"] == "keep"
    assert {name for name in [*series(), "target_info"] if re.fullmatch(rule["regex"], name)} == set(LEAN)


def test_the_alerts_ask_for_what_the_lean_monitor_keeps():
    rules = yaml.safe_load((DEPLOY / "alerts/sigtrace.rules.yaml").read_text(encoding="utf-8"))
    exprs = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked = {name for expr in exprs for name in re.findall(r"\bsigtrace_\w+", expr)}
    assert asked
    assert asked <= set(LEAN)
