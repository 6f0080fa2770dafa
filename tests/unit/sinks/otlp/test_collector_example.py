"""The example configurations of the collector hold together."""

from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[4] / "deploy" / "collector"
GATEWAY = yaml.safe_load((FOLDER / "gateway.yaml").read_text(encoding="utf-8"))


def test_whose_a_span_is_comes_from_the_pods_uid_not_from_who_connected():
    (association,) = GATEWAY["processors"]["k8sattributes"]["pod_association"]
    assert association["sources"] == [{"from": "resource_attribute", "name": "k8s.pod.uid"}]


@pytest.mark.parametrize("name", ["traces", "metrics"])
def test_a_pipeline_names_what_there_is(name):
    pipeline = GATEWAY["service"]["pipelines"][name]
    assert "k8sattributes" in pipeline["processors"]
    for kind in ("receivers", "processors", "exporters"):
        assert pipeline[kind]
        assert set(pipeline[kind]) <= set(GATEWAY[kind])


def test_nothing_is_configured_that_no_pipeline_uses():
    used = {
        part for pipeline in GATEWAY["service"]["pipelines"].values() for parts in pipeline.values() for part in parts
    }
    assert used == {part for kind in ("receivers", "processors", "exporters") for part in GATEWAY[kind]}


def test_the_backend_for_one_machine_listens_to_that_machine_alone():
    compose = yaml.safe_load((FOLDER / "jaeger.yaml").read_text(encoding="utf-8"))
    ports = [port for service in compose["services"].values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
