"""Whose an event is: a container, a sandbox, a unit, a session or the host itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sigtrace.model.event import Event


class WorkloadKind(StrEnum):
    """What a cgroup stands for."""

    CONTAINER = "container"
    SANDBOX = "sandbox"
    UNIT = "unit"
    SESSION = "session"
    HOST = "host"


class PreStopKind(StrEnum):
    """How a preStop hook does its work. Only ``exec`` enters the container."""

    EXEC = "exec"
    HTTP = "http"
    SLEEP = "sleep"


@dataclass(frozen=True, slots=True)
class PreStop:
    """A preStop hook of Kubernetes."""

    kind: PreStopKind
    command: tuple[str, ...] = ()
    """of ``exec``; printable"""
    sleep_s: int | None = None


class OomScope(StrEnum):
    """Whose memory limit was reached."""

    CONTAINER = "container"
    POD = "pod"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Workload:
    """What is known of it; None for what is not."""

    kind: WorkloadKind
    cgroup_id: int
    """of the container's own cgroup, whatever cgroup below it the process is in"""
    cgroup: str | None = None
    runtime: str | None = None
    container_id: str | None = None
    container_name: str | None = None
    image: str | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None
    qos: str | None = None
    node: str | None = None
    grace_limit_s: float | None = None
    stop_signal: int | None = None
    pids_max: int | None = None
    main_pid: int | None = None
    """host pid of its main process, as the runtime says"""
    asked: bool = False
    """a runtime has told what it knows: what is None then is not declared"""
    pre_stop: PreStop | None = None
    service_name: str | None = None
    """its annotation ``resource.opentelemetry.io/service.name``"""
    restart_count: int | None = None
    job: bool = False
    """its pod belongs to a Job of Kubernetes"""

    @property
    def title(self) -> str:
        """What a person calls it."""
        if self.kind is WorkloadKind.HOST:
            return f"host {self.cgroup}" if self.cgroup and self.cgroup != "/" else "host"
        name = self.container_name or (self.container_id or "")[:12] or self.cgroup or f"cgroup {self.cgroup_id}"
        if self.pod:
            return f"{self.namespace or '?'}/{self.pod} · {name}"
        return name

    @property
    def is_definite(self) -> bool:
        """Whether its names will not change any more: a container's come late."""
        if self.kind in (WorkloadKind.CONTAINER, WorkloadKind.SANDBOX):
            return self.asked or self.pod is not None
        return self.cgroup is not None

    @property
    def is_container(self) -> bool:
        """Whether it can have findings and shutdowns."""
        return self.kind is WorkloadKind.CONTAINER


@dataclass(frozen=True, slots=True)
class Observation:
    """An event with the workloads of its target and its sender."""

    event: Event
    workload: Workload | None = None
    sender_workload: Workload | None = None
    main: bool = False
    """the event's task is the main process of its container"""
    oom_scope: OomScope | None = None
    """of OOM_KILL"""
