"""What is known of a container once its runtime has been asked, and who can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sigtrace.model.workload import PreStop, WorkloadKind


class Api(StrEnum):
    """What is spoken on a socket."""

    CRI = "cri"
    DOCKER = "docker"
    """Docker Engine's REST; a Podman that answers is recognised, and asked in its own"""


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What a runtime tells of a container or sandbox; None for what it does not. All text is printable."""

    container_id: str
    runtime: str
    """containerd, cri-o, docker, podman"""
    kind: WorkloadKind
    """CONTAINER or SANDBOX"""
    name: str | None = None
    image: str | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None
    """the API server's, also of a static pod, whose cgroup shows a hash"""
    sandbox_id: str | None = None
    service_name: str | None = None
    """the annotation ``resource.opentelemetry.io/service.name`` of the container or its pod"""
    main_pid: int | None = None
    """host pid of the main process, in whatever PID namespace it lives; None while it does not run"""
    starting: bool = False
    """the runtime has made it and not started it yet: it will have a main process soon"""
    restart_count: int | None = None
    job: bool = False
    """its pod belongs to a Job"""
    grace_limit_s: float | None = None
    """the kubelet's termination grace period; Docker's and Podman's stop timeout"""
    pre_stop: PreStop | None = None
    stop_signal: int | None = None


class Client(Protocol):
    """One runtime's API. Each call returns within seconds and raises NoAnswer; ``fetch`` by several threads at once."""

    def open(self) -> str:
        """Asks who is there: ``containerd 1.6.20``. Raises also HostError where it can't be asked from here."""

    def check(self) -> None:
        """Ask it something that it can always answer."""

    def listing(self) -> list[RuntimeInfo]:
        """All that run now, by names only."""

    def fetch(self, container_id: str) -> RuntimeInfo | None:
        """All about one; None if the runtime doesn't know it (yet, or any more)."""

    def close(self) -> None:
        """Let the socket go; ``open`` begins anew."""


class SocketState(StrEnum):
    """How it stands with a socket."""

    WAITING = "waiting"
    """not tried yet"""
    CONNECTED = "connected"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class SocketStatus:
    """For doctor and for the agent's own metrics."""

    path: str
    api: Api
    state: SocketState = SocketState.WAITING
    runtime: str | None = None
    """``containerd 1.6.20``, once it was connected"""
    error: str | None = None
    """the last failure, with what to do; kept until it works again"""
    since: float = 0.0
    """seconds since the epoch: when it came into this state"""
    retry_s: float | None = None
    """how long until it is tried again, seconds"""
    listed: bool = False
    """it has told since what runs: one that answers who it is may hang at that"""
