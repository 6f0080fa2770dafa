"""Verdicts: findings, and the story of a container's shutdown. Their names are a contract (docs: codes)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sigtrace.model.codes import Severity
from sigtrace.model.event import Event, Task
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Workload

#: Events a finding carries at most.
EVIDENCE_MAX = 16


class Certainty(StrEnum):
    """How a verdict is known."""

    OBSERVED = "observed"
    INFERRED = "inferred"
    HEURISTIC = "heuristic"


class SenderRole(StrEnum):
    """Who a sender is; from its comm and its ancestry, so a heuristic but for the kernel and kinship."""

    RUNTIME = "runtime"
    KUBELET = "kubelet"
    SYSTEMD = "systemd"
    SHELL = "shell"
    PARENT = "parent"
    CHILD = "child"
    SAME_CONTAINER = "same-container"
    OTHER_CONTAINER = "other-container"
    KERNEL = "kernel"
    UNKNOWN = "unknown"


class Mechanism(StrEnum):
    """How a SIGKILL came about."""

    KILL = "kill"
    CGROUP_KILL = "cgroup.kill"
    OOM = "oom"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, with its evidence and its mend. Times are ns."""

    code: str
    cause: str
    severity: Severity
    certainty: Certainty
    time_ns: int
    """CLOCK_BOOTTIME of the deciding event"""
    wall_ns: int
    workload: Workload | None
    subject: Task | None
    message: str
    advice: str
    parent: Task | None = None
    signo: int = 0
    count: int = 1
    first_wall_ns: int = 0
    first_ns: int = 0
    """CLOCK_BOOTTIME of the first event: the same whoever tells it, where each process measures the wall clock anew"""
    closing: bool = False
    """the last of a fold: it is over"""
    main: bool = False
    """its subject is the main process of its container"""
    window_s: float | None = None
    evidence: tuple[Event, ...] = ()
    mechanism: Mechanism | None = None
    sender_role: SenderRole | None = None
    origin: Task | None = None
    """of a relayed crash: whose end was passed on"""


class Ended(StrEnum):
    """How a process of a container that stopped came to its end."""

    HANDLED = "handled"
    DEFAULT = "default"
    KILLED = "killed"
    TORN_DOWN = "torn-down"
    OOM = "oom"
    CRASHED = "crashed"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """A process in a shutdown. Times: ns since the epoch, None if it never happened or is not known."""

    task: Task
    signalled_wall_ns: int | None = None
    exited_wall_ns: int | None = None
    ended: Ended | None = None
    """None: it was still there when the story was told"""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The end of a container's main process, told once."""

    outcome: str
    cause: str | None
    time_ns: int
    wall_ns: int
    """of the main process's exit"""
    workload: Workload
    main: Task
    wait_status: WaitStatus
    stop_signo: int = 0
    requested_by: SenderRole | None = None
    grace_s: float | None = None
    """from the stop signal to SIGKILL or exit"""
    grace_limit_s: float | None = None
    duration_s: float | None = None
    """from the stop signal, else the fatal event, to the exit"""
    processes: tuple[ProcessEnd, ...] = ()
    processes_omitted: int = 0
    """others, beyond those: neither killed nor among the slowest"""
    findings: tuple[str, ...] = ()
    evidence: tuple[Event, ...] = field(default=())
    scope: str | None = None
    """pod: all of it went; container: only this one; None: not known"""
    pre_stop_s: float | None = None
    pre_stop_kind: str | None = None
    """exec, http or sleep"""
    oom_scope: str | None = None
    """of the outcome oom, and of crashed if another process was taken shortly before: container, pod or node"""
    first_victim: Task | None = None
    """likewise: whom the OOM killer took first"""
    origin: Task | None = None
    """whose end the main process passed on"""


Verdict = Finding | Shutdown
