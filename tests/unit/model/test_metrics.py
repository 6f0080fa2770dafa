"""The metrics' names are a contract."""

import re

from sigtrace.model.metrics import DURATION, METRICS, Distribution, MetricKind, container_name, identity_of
from sigtrace.model.workload import Workload, WorkloadKind

#: interface: OTLP, and what sigtrace tells of itself.
CONTRACT = {
    "sigtrace.signal.generated": ("counter", "{signal}", "signal.name signal.result"),
    "sigtrace.process.exits": ("counter", "{process}", "exit.status"),
    "sigtrace.zombie.count": ("up-down", "{process}", ""),
    "sigtrace.zombie.age": ("gauge", "s", ""),
    "sigtrace.signal.dropped": ("counter", "{signal}", "k8s.namespace.name k8s.container.name signal.name cause"),
    "sigtrace.container.shutdowns": ("counter", "{shutdown}", "k8s.namespace.name k8s.container.name outcome cause"),
    "sigtrace.container.shutdown.duration": ("histogram", "s", "k8s.namespace.name k8s.container.name outcome"),
    "sigtrace.process.kills": ("counter", "{kill}", "k8s.namespace.name k8s.container.name cause"),
    "sigtrace.crash.masked": ("counter", "{crash}", "k8s.namespace.name k8s.container.name"),
    "sigtrace.event.lost": ("counter", "{event}", "cause"),
    "sigtrace.export.items": ("counter", "{item}", "export.type result"),
    "process.cpu.time": ("counter", "s", ""),
    "process.memory.usage": ("up-down", "By", ""),
}


def test_names_kinds_units_and_attributes_are_those_of_the_contract():
    told = {m.name: (m.kind.value, m.unit, " ".join(m.attributes)) for m in METRICS}
    assert told == CONTRACT
    assert DURATION.bounds == (0.1, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 120, 300)


def test_each_has_a_sentence_for_a_person():
    for metric in METRICS:
        assert re.fullmatch(r"[A-Z].{15,120}\.", metric.description)
        assert bool(metric.bounds) == (metric.kind is MetricKind.HISTOGRAM)


def test_two_distributions_are_added_bucket_by_bucket():
    both = Distribution((1, 0, 2), 5.5).plus(Distribution((0, 3, 1), 4.5))
    assert (both, both.count) == (Distribution((1, 3, 3), 10.0), 7)


def test_a_container_is_known_by_its_names_or_what_stands_for_them():
    full = Workload(
        WorkloadKind.CONTAINER, 1, "/c", container_id="a" * 64, container_name="web", pod="p", namespace="n"
    )
    assert identity_of(full) == ("n", "p", "web")
    assert container_name(Workload(WorkloadKind.CONTAINER, 1, "/c", container_id="a" * 64)) == "a" * 12
    assert container_name(Workload(WorkloadKind.CONTAINER, 1, "/c")) == "/c"
    assert identity_of(Workload(WorkloadKind.CONTAINER, 1)) == ("", "", "")
