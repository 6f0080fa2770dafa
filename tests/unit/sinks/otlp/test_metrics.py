"""What was collected, as a collector gets it."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sigtrace.model.event import Kind
from sigtrace.sinks.otlp.ledger import Tally
from sigtrace.sinks.otlp.metrics import MetricMessages, Temporality, export_items
from sigtrace.sinks.otlp.settings import OtlpSettings
from tests.receivers.strict import Checker
from tests.unit.sinks.metrics.world import WALL, S, World, container

TERM = 15
CUMULATIVE, DELTA = 2, 1  # AggregationTemporality in metrics.proto


def otlp_settings(temporality="cumulative", **environ):
    environ |= {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality}
    return OtlpSettings.from_environment("http://127.0.0.1:4318", environ=environ)


class Exported:
    """A world whose collections become requests, each read back from its bytes."""

    def __init__(self, temporality="cumulative", **options):
        self.world = World(**options)
        self.messages = MetricMessages(self.world.collect, otlp_settings(temporality), "node-1")
        self.points = 0

    def send(self, *, accepted=True):
        request, self.points, done = self.messages()
        done(accepted)
        return ExportMetricsServiceRequest.FromString(request.SerializeToString())


def attributes(message):
    assert len({one.key for one in message.attributes}) == len(message.attributes)
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in message.attributes}


def metrics(request, container_id=None):
    """name → Metric of the container's resource, or of the agent's."""
    for one in request.resource_metrics:
        found = attributes(one.resource)
        if found.get("container.id") == container_id and (container_id or found["service.name"] == "sigtrace"):
            (scope,) = one.scope_metrics
            assert scope.scope.name == "sigtrace"
            assert len({metric.name for metric in scope.metrics}) == len(scope.metrics)
            return {metric.name: metric for metric in scope.metrics}
    return None


def points(metric):
    data = getattr(metric, metric.WhichOneof("data"))
    for point in data.data_points:
        assert point.time_unix_nano > 0
        assert point.start_time_unix_nano <= point.time_unix_nano
    return data.data_points


def values(metric):
    """Sorted attributes → value, zeros left out."""
    numbers = {tuple(sorted(attributes(p).items())): getattr(p, p.WhichOneof("value")) for p in points(metric)}
    return {key: value for key, value in numbers.items() if value}


def test_a_living_container_has_a_resource_of_its_own():
    exported = Exported()
    world = exported.world
    web = world.start(container(10, node="node-1"))
    world.signals, world.exits = {(10, TERM, 1): 2}, {(10, 9): 1, (10, 0): 3}
    world.event(Kind.TASK, web, pid=20, zombie=True, exit_ns=world.now - 5_000_000_000)
    request = exported.send()
    told = metrics(request, web.container_id)
    assert set(told) == {
        "sigtrace.signal.generated",
        "sigtrace.process.exits",
        "sigtrace.zombie.count",
        "sigtrace.zombie.age",
    }
    generated, exits = told["sigtrace.signal.generated"], told["sigtrace.process.exits"]
    assert values(generated) == {(("signal.name", "SIGTERM"), ("signal.result", "ignored")): 2}
    assert values(exits) == {(("exit.status", "SIGKILL"),): 1, (("exit.status", "0"),): 3}
    assert [told[name].unit for name in sorted(told)] == ["{process}", "{signal}", "s", "{process}"]
    for counter in (generated, exits):
        assert counter.sum.is_monotonic
        assert counter.sum.aggregation_temporality == CUMULATIVE
        assert {p.start_time_unix_nano for p in points(counter)} == {world.metrics._newest.containers[0].first_wall_ns}
    zombies, age = told["sigtrace.zombie.count"], told["sigtrace.zombie.age"]
    assert (zombies.sum.is_monotonic, zombies.sum.aggregation_temporality) == (False, CUMULATIVE)
    assert values(zombies) == {(): 1}
    assert age.WhichOneof("data") == "gauge"
    assert values(age)[()] == pytest.approx(6, abs=0.1)
    resource = next(
        attributes(one.resource) for one in request.resource_metrics if "container.id" in attributes(one.resource)
    )
    assert resource["k8s.pod.name"] == "api-1"
    assert resource["k8s.container.name"] == resource["service.name"] == "web"


def test_what_is_counted_at_a_containers_end_is_on_the_agent_and_begins_with_0():
    exported = Exported()
    world = exported.world
    web = world.start(container(10))
    before = metrics(exported.send())["sigtrace.container.shutdowns"]
    assert (len(points(before)), values(before)) == (36, {})
    world.shutdown(web)
    world.shutdown(web, "graceful", None, 0.05)
    world.finding(web, "signal-dropped", "shell-form", signo=TERM)
    told = metrics(exported.send())
    name = ("k8s.container.name", "web"), ("k8s.namespace.name", "shop")
    shutdowns = told["sigtrace.container.shutdowns"]
    assert values(shutdowns) == {
        (("cause", "dropped"), *name, ("outcome", "escalated")): 1,
        (*name, ("outcome", "graceful")): 1,
    }
    assert {p.start_time_unix_nano for p in points(before)} == {p.start_time_unix_nano for p in points(shutdowns)}
    assert values(told["sigtrace.signal.dropped"]) == {(("cause", "shell-form"), *name, ("signal.name", "SIGTERM")): 1}
    durations = told["sigtrace.container.shutdown.duration"]
    assert durations.histogram.aggregation_temporality == CUMULATIVE
    slow = next(p for p in points(durations) if attributes(p)["outcome"] == "escalated")
    assert list(slow.explicit_bounds) == [0.1, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 120, 300]
    assert list(slow.bucket_counts) == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert (slow.count, slow.sum) == (1, 30.2)


def test_every_point_is_counted():
    exported = Exported()
    world = exported.world
    world.shutdown(world.start(container(10)))
    world.signals = {(10, TERM, 1): 2}
    request = exported.send()
    scopes = [scope for one in request.resource_metrics for scope in one.scope_metrics]
    assert exported.points == sum(len(points(metric)) for scope in scopes for metric in scope.metrics) > 50


def test_a_container_that_is_gone_is_sent_until_the_collector_has_its_last_counts():
    exported = Exported()
    world = exported.world
    exported.messages._collect = lambda: dataclasses.replace(world.collect(), wall_ns=WALL + world.now)
    job = world.start(container(10))
    world.exits = {(10, 0): 1}
    world.remove(job)
    world.give_back(10)
    world.now += 60 * S
    for accepted in (False, False, True):
        told = metrics(exported.send(accepted=accepted), job.container_id)
        assert values(told["sigtrace.process.exits"]) == {(("exit.status", "0"),): 1}
        assert "sigtrace.zombie.count" not in told
    assert metrics(exported.send(), job.container_id) is None


def test_nothing_new_is_not_sent_again():
    exported = Exported()
    collected = exported.world.collect()
    exported.messages._collect = lambda: collected
    exported.send()
    assert exported.messages() is None


def test_deltas_are_what_came_since_the_collector_took_the_last():
    exported = Exported("delta")
    world = exported.world
    web = world.start(container(10))
    world.exits = {(10, 0): 5}
    world.shutdown(web)

    def send(accepted=True):
        request = exported.send(accepted=accepted)
        told = metrics(request, web.container_id) or {}
        agents = metrics(request)
        exits = told.get("sigtrace.process.exits")
        durations = agents.get("sigtrace.container.shutdown.duration")
        if exits:
            assert exits.sum.aggregation_temporality == DELTA
            assert exits.sum.is_monotonic
        assert told["sigtrace.zombie.count"].sum.aggregation_temporality == CUMULATIVE
        return (
            sum(values(exits).values()) if exits else 0,
            sum(values(agents["sigtrace.container.shutdowns"]).values())
            if "sigtrace.container.shutdowns" in agents
            else 0,
            [(p.count, p.sum) for p in points(durations)] if durations else [],
        )

    assert send() == (5, 1, [(1, 30.2)])
    assert send() == (0, 0, [])
    world.exits[10, 0] = 8
    world.shutdown(web, duration_s=2.0)
    assert send(accepted=False) == (3, 1, [(1, pytest.approx(2.0))])
    world.exits[10, 0] = 9
    assert send() == (4, 1, [(1, pytest.approx(2.0))])
    assert send() == (0, 0, [])


def test_deltas_follow_each_other_without_a_gap():
    exported = Exported("delta")
    world = exported.world
    web = world.start(container(10))
    ends = []
    for n in range(1, 4):
        world.exits = {(10, 0): n}
        (point,) = points(metrics(exported.send(), web.container_id)["sigtrace.process.exits"])
        if ends:
            assert point.start_time_unix_nano == ends[-1]
        ends.append(point.time_unix_nano)


def test_low_memory_is_delta_for_what_sigtrace_counts_itself():
    exported = Exported("lowmemory")
    world = exported.world
    web = world.start(container(10))
    world.exits = {(10, 0): 5}
    world.shutdown(web)
    request = exported.send()
    assert metrics(request, web.container_id)["sigtrace.process.exits"].sum.aggregation_temporality == CUMULATIVE
    told = metrics(request)
    assert told["sigtrace.container.shutdowns"].sum.aggregation_temporality == DELTA
    assert told["sigtrace.container.shutdown.duration"].histogram.aggregation_temporality == DELTA
    assert told["sigtrace.event.lost"].sum.aggregation_temporality == CUMULATIVE
    assert [t.value for t in Temporality] == ["cumulative", "delta", "lowmemory"]


def test_what_found_no_room_is_on_the_agent_and_says_so():
    exported = Exported(limit=2)
    world = exported.world
    webs = [world.start(container(10 + n, f"c{n}")) for n in range(4)]
    world.signals = {(10 + n, TERM, 0): 1 for n in range(4)}
    world.collect()
    for web in webs:
        world.shutdown(web)
    told = metrics(exported.send())
    overflow = (("otel.metric.overflow", True),)
    assert values(told["sigtrace.container.shutdowns"])[overflow] == 2
    assert values(told["sigtrace.signal.generated"]) == {overflow: 2}
    durations = [
        p for p in points(told["sigtrace.container.shutdown.duration"]) if "otel.metric.overflow" in attributes(p)
    ]
    assert [p.count for p in durations] == [2]


def test_the_exporters_ledger_is_told_by_what_became_of_it():
    exported = Exported()
    tallies = {"spans": Tally(9, 5, {"rejected": 1, "queue-full": 2}, 1, 4), "data_points": Tally()}
    exported.world.metrics.export_items = lambda: export_items(lambda: tallies)
    told = values(metrics(exported.send())["sigtrace.export.items"])
    assert told == {
        (("export.type", "spans"), ("result", "exported")): 5,
        (("export.type", "spans"), ("result", "dropped")): 3,
        (("export.type", "spans"), ("result", "retried")): 4,
    }


CHURN = st.lists(
    st.tuples(st.sampled_from(["start", "stop", "count", "kill", "look", "refuse"]), st.integers(0, 3)), max_size=60
)


@pytest.mark.parametrize("temporality", list(Temporality))
@given(steps=CHURN)
@settings(deadline=None)
def test_whatever_happens_the_messages_keep_to_the_specification(temporality, steps):
    """Counts that never fall with one start, deltas that do not overlap, no series twice; and the sums are exact."""
    exported, checker = Exported(temporality.value, limit=3), Checker()
    world, living, made = exported.world, {}, 0
    world.metrics.start_wall_ns = world.metrics._containers.start_wall_ns = WALL
    exported.messages._collect = lambda: dataclasses.replace(world.collect(), wall_ns=WALL + world.now)
    for step, n in [*steps, ("look", 0)]:
        world.now += S
        if step == "start" and n not in living:
            made += 1
            same = {"container_id": f"{n:064x}"} if made % 2 else {}  # docker restart
            living[n] = world.start(container(100 + made, f"c{n}", pod=f"p{made}", **same))
        elif step == "stop" and n in living:
            gone = living.pop(n)
            world.shutdown(gone)
            world.remove(gone)
            world.now += 20 * S
            world.give_back(gone.cgroup_id)
        elif step == "count" and n in living:
            key = living[n].cgroup_id, TERM, 0
            world.signals[key] = world.signals.get(key, 0) + 1
        elif step == "kill" and n in living:
            world.finding(living[n], "killed", "manual", first_s=world.now)
        elif step in {"look", "refuse"}:
            request, count, done = exported.messages()
            done(step == "look")
            taken = checker if step == "look" else Checker()
            assert taken.take_metrics(request.SerializeToString()) == count
            assert not taken.problems
    assert not checker.finish()


@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_any_names_and_counts_make_a_message(name, namespace, count):
    exported = Exported()
    web = exported.world.start(container(10, name, namespace=namespace, container_id=name + "x"))
    exported.world.signals = {(10, TERM, 1): count}
    exported.world.shutdown(web)
    request = exported.send()
    assert len(request.resource_metrics) == 2


def test_containers_without_an_id_are_told_apart_by_their_cgroup():
    exported = Exported()
    for cgroup in (10, 11):
        exported.world.start(container(cgroup, container_id=None))
        exported.world.signals[cgroup, TERM, 1] = cgroup
    checker = Checker()
    request = exported.send()
    checker.take_metrics(request.SerializeToString())
    assert not checker.finish()
    assert {attributes(one.resource).get("sigtrace.cgroup.id") for one in request.resource_metrics} == {10, 11, None}


def test_names_that_come_late_change_the_resource():
    exported = Exported()
    world = exported.world
    late = container(10, name=None, pod=None, asked=False)
    world.start(late)
    world.now += 5_000_000_000
    resource = exported.send().resource_metrics[0].resource
    assert "k8s.pod.name" not in attributes(resource)
    world.workloads[10] = container(10)
    resource = exported.send().resource_metrics[0].resource
    assert attributes(resource)["k8s.pod.name"] == "api-1"
