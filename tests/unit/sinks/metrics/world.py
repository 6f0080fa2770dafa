"""A node in a few words: containers that come and go, and what the kernel counted of them."""

from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Loss, Task
from sigtrace.model.finding import Certainty, Finding, Shutdown
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sources.base import Counts

S = 1_000_000_000
WALL = 1_700_000_000 * S
"""wall time at boot time 0"""


def container(cgroup, name="web", pod="api-1", namespace="shop", **fields):
    fields = {"container_id": f"{cgroup:064x}", "asked": True, "cgroup": f"/pods/{cgroup}"} | fields
    return Workload(WorkloadKind.CONTAINER, cgroup, container_name=name, pod=pod, namespace=namespace, **fields)


class World:
    def __init__(self, **options):
        self.now = 100 * S
        self.metrics = Metrics(**options)
        self.signals = {}
        self.exits = {}
        self.given = Counts()
        self.workloads = {}
        self.metrics.attach(
            counts=lambda: Counts(dict(self.signals), dict(self.exits)),
            given=self._take,
            workload_of=self.workloads.get,
        )

    def _take(self):
        given, self.given = self.given, Counts()
        return given

    def event(self, kind, workload=None, *, cgroup=None, pid=7, **fields):
        self.now += 1000
        task = None
        if kind not in (Kind.CGROUP_MKDIR, Kind.CGROUP_RMDIR, Kind.LOST):
            task = Task(pid, pid, cgroup_id=cgroup or (workload.cgroup_id if workload else 1))
        elif cgroup:
            fields["cgroup_id"] = cgroup
        event = Event(self.now, WALL + self.now, kind, task=task, **fields)
        self.metrics.observation(Observation(event, workload))
        return event

    def start(self, workload, parent=1):
        """Its cgroup, then its first exec."""
        self.workloads[workload.cgroup_id] = workload
        self.event(Kind.CGROUP_MKDIR, cgroup=workload.cgroup_id, cgroup_parent_id=parent)
        self.event(Kind.EXEC, workload)
        return workload

    def remove(self, workload):
        """Its cgroup is removed, and its counts are given back a while later."""
        self.workloads.pop(workload.cgroup_id, None)
        self.event(Kind.CGROUP_RMDIR, workload, cgroup=workload.cgroup_id)

    def give_back(self, cgroup):
        for key in [key for key in self.signals if key[0] == cgroup]:
            self.given.signals[key] = self.signals.pop(key)
        for key in [key for key in self.exits if key[0] == cgroup]:
            self.given.exits[key] = self.exits.pop(key)

    def lose(self, loss=Loss.RING_FULL, count=3):
        self.event(Kind.LOST, loss=loss, count=count)

    def shutdown(self, workload, outcome="escalated", cause="dropped", duration_s=30.2):
        main = Task(7, 7, cgroup_id=workload.cgroup_id)
        self.metrics.verdict(
            Shutdown(outcome, cause, self.now, WALL + self.now, workload, main, WaitStatus(9), duration_s=duration_s)
        )

    def finding(self, workload, code, cause, count=1, first_s=0, pid=7, **fields):
        self.metrics.verdict(
            Finding(
                code,
                cause,
                Severity.ERROR,
                Certainty.OBSERVED,
                self.now,
                WALL + self.now,
                workload,
                Task(pid, pid, "worker"),
                "",
                "",
                count=count,
                first_wall_ns=WALL + first_s * S,
                **fields,
            )
        )

    def collect(self, after_s=1.0):
        """As an exporter's thread, but the pipeline comes to it at once."""
        self.now += int(after_s * S)
        self.metrics.wanted = True
        self.metrics.pass_time(self.now)
        return self.metrics._newest


def series(collected, metric):
    """Values by attributes, of the agent's and every container's."""
    families = [*collected.agent, *(family for one in collected.containers for family in one.families)]
    return {p.values: p.value for f in families if f.metric.name == metric.name for p in f.points if not p.overflow}


def of(collected, workload, metric):
    """Values by attributes, of one container; None if it is not there."""
    for one in collected.containers:
        if one.workload and one.workload.cgroup_id == workload.cgroup_id:
            return {p.values: p.value for f in one.families if f.metric.name == metric.name for p in f.points}
    return None


def overflow(collected, metric):
    families = [*collected.agent, *(f for one in collected.containers for f in one.families)]
    return [p.value for f in families if f.metric.name == metric.name for p in f.points if p.overflow]
