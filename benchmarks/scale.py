"""What a cluster's telemetry amounts to: one node is simulated with the real sinks, and multiplied.

    .venv/bin/python -m benchmarks.scale                       # the tables of docs/scale.md
    .venv/bin/python -m benchmarks.scale --pods 250 --workers 16 --names 250

The node's pods are all replaced in ten minutes. Shutdowns are recorded ones (tests/data/recordings) in the share that
is given, with so many workers each; their spans, the metrics of the node before, amid and after the deploy, and the
lines on stdout are encoded as the agent encodes them, and their bytes counted. Nothing is sent, no root is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sigtrace.model.event import Event, Kind, Result, Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.model.ids import in_shutdown
from sigtrace.model.record import verdict_record
from sigtrace.model.redaction import redacted
from sigtrace.model.signals import SIGTERM
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.recorder import run as run_recording
from sigtrace.sinks.chosen import Filtered, Tally
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp.metrics import MetricMessages
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import encoded
from sigtrace.sinks.otlp.spans import Origin, Tree
from sigtrace.sinks.prometheus.exposition import Scrape
from sigtrace.sources.base import Counts
from sigtrace.sources.replay import open_recording

RECORDINGS = Path(__file__).parents[1] / "tests/data/recordings"
DEPLOY_S = 600
#: Exported like this unless told otherwise (OTEL_METRIC_EXPORT_INTERVAL, OTEL_BSP_SCHEDULE_DELAY, the PodMonitors).
METRICS_S, TRACES_S, SCRAPE_S, LEAN_SCRAPE_S = 60, 5, 30, 60
#: What a container of some years' standing has in the kernel's tables: (signal, result) and wait statuses.
SIGNALS = ((17, 0), (17, 1), (15, 0), (14, 0), (23, 0), (10, 0))
EXITS = (0, 1 << 8)
#: Which recording, how often of a hundred, and whether its workers are multiplied.
MIX = (("exec-form", 20, False), ("prefork", 70, True), ("prefork-sh", 9, True), ("oom-group", 1, False))
#: What deploy/daemonset/monitoring-lean/podmonitor.yaml keeps.
LEAN = (
    "sigtrace_container_shutdowns_total sigtrace_signal_dropped_total sigtrace_crash_masked_total sigtrace_zombies "
    "sigtrace_zombie_age_seconds sigtrace_event_lost_total sigtrace_export_items_total target_info"
).split()
BOOT = "6e2f0a3c-0000-4000-8000-000000000000"
NODE = "ip-10-11-12-13.eu-central-1.compute.internal"
AGENT = {"service.name": "sigtrace", "service.version": "0.1.0", "host.name": NODE, "k8s.node.name": NODE}


@dataclass(frozen=True)
class Node:
    """What is simulated."""

    pods: int
    containers: int
    workers: int
    names: int

    @property
    def total(self) -> int:
        return self.pods * self.containers


def recorded(name: str) -> tuple[Shutdown, tuple[Finding, ...]]:
    """The shutdown of a recording, with the findings that belong to it."""
    tally = Tally(keep=True)
    with open_recording(str(RECORDINGS / f"{name}.sigtrace")) as recording:
        run_recording(recording, [Filtered(tally, WorkloadFilter())])
    (shutdown,) = [v for v in tally.verdicts if isinstance(v, Shutdown)]
    findings = [v for v in tally.verdicts if isinstance(v, Finding) and in_shutdown(v)]
    return shutdown, tuple(findings)


def workload_of(node: Node, number: int, generation: int) -> Workload:
    """A container as a cluster names them. Numbers repeat names: replicas, and pods that come back."""
    name = number % node.names
    uid = f"{generation:08x}-{number:04x}-4000-8000-0123456789ab"
    container_id = f"{generation:032x}{number:032x}"
    return Workload(
        WorkloadKind.CONTAINER,
        1_000_000 * (generation + 1) + number,
        cgroup=f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{container_id}.scope",
        runtime="containerd",
        container_id=container_id,
        container_name=f"service-{name}",
        image=f"registry.example/team-{name % 12}/service-{name}:v1.{generation}.0",
        pod=f"service-{name}-{7_000_000_000 + number:x}-{generation:05x}",
        namespace=f"team-{name % 12}",
        pod_uid=uid,
        node=NODE,
        grace_limit_s=30.0,
        stop_signal=SIGTERM,
        asked=True,
    )


def told_of(template: tuple[Shutdown, tuple[Finding, ...]], workload: Workload, pid: int, workers: int):
    """The recorded verdicts as those of another container, with so many workers more."""
    shutdown, findings = template
    main, *others = shutdown.processes
    if workers and others:
        others = [
            dataclasses.replace(others[n % len(others)], task=moved(others[n % len(others)].task, pid + 1 + n))
            for n in range(workers)
        ]
    own = moved(shutdown.main, pid)
    processes = (dataclasses.replace(main, task=own), *others)
    told = dataclasses.replace(shutdown, workload=workload, main=own, processes=processes)
    return told, tuple(dataclasses.replace(f, workload=workload, subject=own) for f in findings)


def moved(task: Task, pid: int) -> Task:
    return dataclasses.replace(task, pid=pid, tid=pid)


def deploy(node: Node) -> Iterator[tuple[int, Workload, Shutdown, tuple[Finding, ...]]]:
    """Each container that is replaced: when (s), and what is told of it."""
    templates = {name: recorded(name) for name, *_ in MIX}
    order = [(name, many) for name, share, many in MIX for _ in range(share)]
    for number in range(node.total):
        # 37 is prime to 100: neighbours differ, and every hundred has the shares exactly.
        name, many = order[number * 37 % len(order)]
        workload = workload_of(node, number, 0)
        told = told_of(templates[name], workload, 10_000 + 200 * number, node.workers if many else 0)
        yield DEPLOY_S * number // node.total, workload, *told


class Books:
    """The agent's bookkeeping, on a clock of our own."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.alive: dict[int, Workload] = {}
        self.now_ns = 3_600_000_000_000
        self.metrics.attach(counts=self.counts)

    def counts(self) -> Counts:
        signals = {(cgroup, s, r): 1_000 for cgroup in self.alive for s, r in SIGNALS}
        return Counts(signals, {(cgroup, status): 50 for cgroup in self.alive for status in EXITS})

    def begin(self, workload: Workload) -> None:
        self.alive[workload.cgroup_id] = workload
        task = Task(4_000_000 + workload.cgroup_id, self.now_ns, "app", cgroup_id=workload.cgroup_id)
        self.tell(Event(self.now_ns, time.time_ns(), Kind.EXEC, task=task, result=Result.DELIVERED), workload)

    def end(self, workload: Workload) -> None:
        del self.alive[workload.cgroup_id]
        self.tell(Event(self.now_ns, time.time_ns(), Kind.CGROUP_RMDIR, cgroup_id=workload.cgroup_id), None)

    def tell(self, event: Event, workload: Workload | None) -> None:
        self.metrics.observation(Observation(event, workload))

    def collect(self):
        """As an exporter's thread asks, while the pipeline goes on."""
        found = []
        thread = threading.Thread(target=lambda: found.append(self.metrics.collect(5.0)))
        thread.start()
        while thread.is_alive():
            self.now_ns += 1_000_000
            self.metrics.pass_time(self.now_ns)
            thread.join(0.001)
        return found[0]


@dataclass(frozen=True)
class Load:
    """What one collection of metrics is."""

    series: Counter[str]
    """by metric"""
    scrape: bytes
    points: int
    otlp: bytes

    @property
    def total(self) -> int:
        return self.series.total()

    @property
    def lean(self) -> int:
        """Of those that the lean PodMonitor keeps."""
        return sum(self.series[name] for name in LEAN)


def load(books: Books) -> Load:
    collected = books.collect()
    text, _ = Scrape(lambda: collected, AGENT)("")
    series = Counter(line.replace("{", " ").split()[0] for line in text.decode().splitlines() if line[:1] != "#")
    # Over OTLP a container that is gone is sent once more only.
    living = dataclasses.replace(collected, containers=tuple(c for c in collected.containers if c.gone_wall_ns is None))
    request, points, _ = MetricMessages(lambda: living, OtlpSettings(), NODE)()
    return Load(series, text, points, request.SerializeToString())


@dataclass(frozen=True)
class Told:
    """What one node tells in a deploy."""

    before: Load
    amid: Load
    spans: int
    traces: list[bytes]
    """each container's part of a request"""
    lines: list[bytes]
    """on stdout"""


def simulate(node: Node) -> Told:
    books = Books()
    for number in range(node.total):
        books.begin(workload_of(node, number, 0))
    before = amid = load(books)
    start_ns = books.now_ns
    origin = Origin(BOOT, NODE, OtlpSettings())
    traces, lines = [], []
    spans = looked_s = 0
    for at_s, workload, shutdown, findings in deploy(node):
        books.now_ns = max(books.now_ns, start_ns + at_s * 1_000_000_000)
        tree = Tree(shutdown, findings)
        traces.append(encoded(tree, origin))
        spans += tree.count
        for verdict in (*findings, shutdown):
            books.metrics.verdict(verdict)
            record = verdict_record(redacted(verdict), BOOT)
            lines.append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        books.end(workload)
        books.begin(workload_of(node, workload.cgroup_id % 1_000_000, 1))
        if at_s >= looked_s + 60:  # those that are gone stay for five minutes: the most there are at a time
            looked_s = at_s
            amid = max(amid, load(books), key=lambda one: one.total)
    return Told(before, amid, spans, traces, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=100, help="on a node (default 100)")
    parser.add_argument("--containers", type=int, default=1, help="in a pod, its sandbox aside (default 1)")
    parser.add_argument("--workers", type=int, default=4, help="processes beside the main one (default 4)")
    parser.add_argument("--names", type=int, default=60, help="different container names on a node (default 60)")
    arguments = parser.parse_args()
    from benchmarks.scale_tables import report

    node = Node(arguments.pods, arguments.containers, arguments.workers, arguments.names)
    print(report(node, simulate(node)))


if __name__ == "__main__":
    main()
