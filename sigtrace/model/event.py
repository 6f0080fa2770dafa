"""One event, whatever source saw it. What a source cannot know is None."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sigtrace.model.waitstatus import WaitStatus


class Kind(StrEnum):
    """What happened."""

    SIGNAL_GENERATE = "signal_generate"
    SIGNAL_DELIVER = "signal_deliver"
    EXIT = "exit"
    REAP = "reap"
    EXEC = "exec"
    OOM_KILL = "oom_kill"
    LOST = "lost"
    #: A process that exists, from a snapshot: at the start, and of a container when it is asked to stop.
    TASK = "task"
    CGROUP_MKDIR = "cgroup_mkdir"
    CGROUP_RMDIR = "cgroup_rmdir"


class Result(IntEnum):
    """The kernel's word on a generated signal (enum in include/trace/events/signal.h). Delivered means queued."""

    DELIVERED = 0
    IGNORED = 1
    ALREADY_PENDING = 2
    OVERFLOW = 3
    LOSE_INFO = 4

    @property
    def word(self) -> str:
        """As records say it."""
        return self.name.lower()


class Disposition(IntEnum):
    """The target's handler for the signal."""

    DEFAULT = 0
    IGNORE = 1
    HANDLER = 2

    @property
    def word(self) -> str:
        """As records say it."""
        return self.name.lower()


class Info(IntEnum):
    """The raw siginfo pointer (SEND_SIG_NOINFO, SEND_SIG_PRIV in include/linux/sched/signal.h)."""

    NOINFO = 0
    PRIV = 1
    REAL = 2


class Loss(StrEnum):
    """Why events were lost; the causes of the finding ``events-lost``."""

    RING_FULL = "ring-full"
    RATE_LIMITED = "rate-limited"
    QUEUE_FULL = "queue-full"
    TABLE_FULL = "table-full"
    KERNEL_MISSED = "kernel-missed"


@dataclass(frozen=True, slots=True)
class Task:
    """A process. ``(pid, start_ns)`` identifies it, through exec too."""

    pid: int
    """tgid in the host's PID namespace"""
    start_ns: int
    """start_boottime of its leader, CLOCK_BOOTTIME ns; 0 if unknown"""
    comm: str = ""
    tid: int = 0
    ns_pid: int = 0
    """tgid in its innermost PID namespace; 0 if unknown"""
    pidns: int = 0
    """inode number of that namespace; 0 if unknown"""
    uid: int | None = None
    cgroup_id: int = 0
    """kernfs id in the hierarchy where containers live; 0 if unknown"""
    parent_pid: int = 0
    parent_start_ns: int = 0
    parent_cgroup_id: int = 0
    argv: tuple[str, ...] | None = None
    ancestry: tuple[str, ...] = ()
    """comms of its ancestors, nearest first; of senders only"""

    @property
    def key(self) -> tuple[int, int]:
        """(pid, start_ns): the process, whatever it executes."""
        return (self.pid, self.start_ns)

    @property
    def parent_key(self) -> tuple[int, int]:
        """The parent's key, as it was when the event happened."""
        return (self.parent_pid, self.parent_start_ns)


@dataclass(frozen=True, slots=True)
class Masks:
    """A process's signal masks; bit (signo - 1)."""

    blocked: int = 0
    real_blocked: int = 0
    """blocked before it began to wait in sigtimedwait: those that are not blocked now, it takes"""
    pending: int = 0
    caught: int = 0
    ignored: int = 0
    signalfd: int = 0
    """it reads these from a descriptor; 0 if that was not looked for"""
    threads: tuple[tuple[int, int], ...] = ()
    """(blocked, real_blocked) of its leader, then of each thread whose masks are others; empty: there is none such"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the kernel did. Times are ns: ``time_ns`` CLOCK_BOOTTIME, ``wall_ns`` since the epoch."""

    time_ns: int
    wall_ns: int
    kind: Kind
    task: Task | None = None
    """the target of a signal, else the process itself; None for LOST and cgroups"""
    sender: Task | None = None
    """None where it cannot be known"""
    signo: int = 0
    result: Result | None = None
    disposition: Disposition | None = None
    si_code: int | None = None
    info: Info | None = None
    group: bool = False
    """sent to the thread group, not to one thread"""
    blocked: bool | None = None
    waited: bool = False
    """the target is in sigtimedwait for it"""
    pending: bool = False
    ptraced: bool = False
    stopped: bool = False
    frozen: bool = False
    exiting: bool = False
    """a signal had already ended it, or it was exiting (of a signal that was generated: perhaps by itself)"""
    leaving: bool = False
    """the target was in its exit already"""
    ns_init: bool = False
    """the target is init of a PID namespace other than the first"""
    container_init: bool = False
    """and its parent's cgroup was another: a container's, not one nested in it"""
    watched: bool = False
    """it is a main process that is no init (host or shared PID namespace), as the source was told"""
    outside: bool = False
    """sent from an ancestor PID namespace"""
    teardown: bool = False
    """the kernel ends a PID namespace whose init has exited"""
    parent_outside: bool = False
    """its parent lives in another PID namespace"""
    cgroup_entered: bool = False
    """its parent's cgroup is another"""
    forked: bool = False
    """of EXIT: it never executed a program of its own, as a forked worker"""
    unheard: bool = False
    """of EXIT: it may have been asked to end without the source seeing that (ptrace: sigwait, or not traced)"""
    zombie: bool = False
    exit_ns: int = 0
    """of a zombie's TASK: when it exited, CLOCK_BOOTTIME; 0: before sigtrace was there"""
    oom_levels: int | None = None
    """of OOM_KILL: so many memory cgroups above the victim's own was the one at its limit; None: the node was full, -1:
    it was not seen which"""
    oom_group: bool = False
    """of OOM_KILL: memory.oom.group is set, so that all of a cgroup go with the victim"""
    wait_status: WaitStatus | None = None
    parent: Task | None = None
    """of EXIT, and of a zombie's TASK: whose wait it awaits"""
    masks: Masks | None = None
    argv_len: int = 0
    """of TASK: bytes of the process's arguments; a zombie's has its parent's"""
    cgroup_id: int = 0
    """of CGROUP_MKDIR and CGROUP_RMDIR; a LOST event's, if it is known"""
    cgroup_parent_id: int = 0
    cgroup_name: str = ""
    loss: Loss | None = None
    count: int = 0
    """of LOST: how many"""
