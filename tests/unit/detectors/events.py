"""Small builders of observations: a container, what is sent to it, and how it ends. Times are ns from 0.

They set the fields as the kernel and attribution do: who is the main process, who is inside, who entered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Masks, Result, Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, OomScope, Workload, WorkloadKind
from sigtrace.pipeline import Detectors, Pipeline

MS = 1_000_000
S = 1_000_000_000
WALL = 1_700_000_000 * S

SHELL_FORM = ("/bin/sh", "-c", "gunicorn app")
SCRIPT = ("/bin/sh", "/entrypoint.sh")
PROGRAM = ("/usr/bin/app",)

HOST_PIDNS = 4026531836
SHIM = Task(60, 6, "containerd-shim", ns_pid=60, pidns=HOST_PIDNS, uid=0, cgroup_id=1)
RUNC = Task(70, 7, "runc", uid=0, cgroup_id=1, ancestry=("containerd-shim", "systemd"))
RUNC_AGAIN = dataclasses.replace(RUNC, pid=71, start_ns=8)  # each `runc kill` is a process of its own
KUBELET = Task(90, 7, "kubelet", uid=0, cgroup_id=3, ancestry=("systemd",))
SYSTEMD = Task(1, 1, "systemd", uid=0, cgroup_id=4)
BASH = Task(80, 9, "bash", uid=0, cgroup_id=2)
PYTHON = Task(81, 9, "python3", uid=0, cgroup_id=2)

HANDLED = {"result": Result.DELIVERED, "disposition": Disposition.HANDLER}
BY_DEFAULT = {"result": Result.DELIVERED, "disposition": Disposition.DEFAULT}
DROPPED = {"result": Result.IGNORED, "disposition": Disposition.DEFAULT}
IGNORED = {"result": Result.IGNORED, "disposition": Disposition.IGNORE}
BLOCKED = BY_DEFAULT | {"blocked": True}
TAKEN = BLOCKED | {"waited": True}


def killed_by(signo: int) -> WaitStatus:
    return WaitStatus(signo)


def exited(code: int) -> WaitStatus:
    return WaitStatus(code << 8)


KILLED = killed_by(signals.SIGKILL)
SEGFAULT = killed_by(signals.SIGSEGV | 0x80)


class Container:
    """Number ``n``; two with one ``pidns`` are one namespace number used twice.

    ``host_pid``: its main process is no init, as with hostPID and in a shared PID namespace. ``life``: a container that
    is started again in its cgroup has the next.
    """

    def __init__(
        self,
        n: int = 1,
        *,
        argv: tuple[str, ...] | None = None,
        pidns: int = 0,
        host_pid: bool = False,
        life: int = 0,
        **workload,
    ) -> None:
        self.n = n
        self.pidns = HOST_PIDNS if host_pid else pidns or 4026532000 + n
        self.init = Task(
            pid=n * 100,
            start_ns=n + life * 1_000_000,
            comm="init",
            tid=n * 100,
            ns_pid=n * 100 if host_pid else 1,
            pidns=self.pidns,
            uid=0,
            cgroup_id=1000 + n,
            parent_pid=SHIM.pid,
            parent_start_ns=SHIM.start_ns,
            parent_cgroup_id=SHIM.cgroup_id,
            argv=argv,
        )
        fields = {"container_name": f"box{n}", "cgroup": f"/lab/box{n}"} | workload
        self.workload = Workload(fields.pop("kind", WorkloadKind.CONTAINER), 1000 + n, **fields)

    # ---- processes

    def child(self, k: int = 1, comm: str = "worker", parent: Task | None = None, **fields) -> Task:
        """Of the main process, unless said otherwise."""
        parent = parent or self.init
        defaults = {
            "pid": self.n * 100 + k,
            "start_ns": self.n * 1000 + k,
            "comm": comm,
            "tid": self.n * 100 + k,
            "ns_pid": self.n * 100 + k if self.pidns == HOST_PIDNS else 1 + k,
            "pidns": self.pidns,
            "cgroup_id": 1000 + self.n,
            "parent_pid": parent.pid,
            "parent_start_ns": parent.start_ns,
            "parent_cgroup_id": 1000 + self.n,
        }
        return Task(**defaults | fields)

    def guest(self, k: int = 50, comm: str = "sh", **fields) -> Task:
        """From outside: exec, a probe, a preStop hook."""
        parent = {"parent_pid": SHIM.pid, "parent_start_ns": SHIM.start_ns, "parent_cgroup_id": SHIM.cgroup_id}
        return self.child(k, comm, **parent | fields)

    def nested(self, k: int = 40, **fields) -> Task:
        """The init of a PID namespace in the container: a browser's sandbox, bwrap."""
        return self.child(k, "bwrap", ns_pid=1, pidns=4026539000 + self.n, **fields)

    def is_inside(self, task: Task | None) -> bool:
        return task is not None and task.cgroup_id == 1000 + self.n

    # ---- what happens to them

    def _see(self, at: int, kind: Kind, task: Task, sender_workload: Workload | None = None, **fields) -> Observation:
        main, init = task.key == self.init.key, task.ns_pid == 1
        entered = task.parent_cgroup_id != task.cgroup_id
        fields = {
            "ns_init": init,
            "container_init": init and main,
            "watched": main and not init,
            "cgroup_entered": entered,
            "parent_outside": entered and self.pidns != HOST_PIDNS,
        } | fields
        return Observation(Event(at, WALL + at, kind, task, **fields), self.workload, sender_workload, main=main)

    def signal(
        self, at: int, signo: int, sender: Task | None = RUNC, task: Task | None = None, **fields
    ) -> Observation:
        """signal_generate; from outside and with a real siginfo unless said otherwise."""
        task = task or self.init
        inside = self.is_inside(sender)
        has_ways_out = task.key == self.init.key or task.ns_pid == 1
        defaults = {
            "result": Result.DELIVERED,
            "disposition": Disposition.DEFAULT,
            "info": Info.REAL if sender else Info.PRIV,
            "si_code": 0 if sender else None,
            "group": True,
            "outside": sender is not None and has_ways_out and not inside,
        }
        own = self.workload if inside else None
        return self._see(at, Kind.SIGNAL_GENERATE, task, own, sender=sender, signo=signo, **defaults | fields)

    def term(self, at: int, sender: Task | None = RUNC, **fields) -> Observation:
        return self.signal(at, signals.SIGTERM, sender, **fields)

    def kill(self, at: int, sender: Task | None = RUNC_AGAIN, **fields) -> Observation:
        return self.signal(at, signals.SIGKILL, sender, **fields)

    def cgroup_kill(self, at: int, sender: Task = RUNC, **fields) -> Observation:
        return self.kill(at, sender, info=Info.NOINFO, si_code=None, group=False, **fields)

    def parent_died(self, at: int, task: Task) -> Observation:
        """Its PR_SET_PDEATHSIG."""
        return self.kill(at, None, task=task, info=Info.NOINFO)

    def fault(self, at: int, task: Task | None = None, signo: int = signals.SIGSEGV) -> Observation:
        """By the CPU."""
        return self.signal(at, signo, None, task, info=Info.REAL, si_code=1)

    def deliver(self, at: int, signo: int = signals.SIGTERM, task: Task | None = None, **fields) -> Observation:
        fields = {"disposition": Disposition.HANDLER} | fields
        return self._see(at, Kind.SIGNAL_DELIVER, task or self.init, signo=signo, **fields)

    def oom(
        self, at: int, task: Task | None = None, *, scope: OomScope | None = None, group: bool = False
    ) -> Observation:
        levels = {OomScope.CONTAINER: 0, OomScope.POD: 1}.get(scope)
        seen = self._see(at, Kind.OOM_KILL, task or self.init, oom_levels=levels, oom_group=group)
        return dataclasses.replace(seen, oom_scope=scope)

    def exec(self, at: int, task: Task, **fields) -> Observation:
        return self._see(at, Kind.EXEC, task, **fields)

    def exit(self, at: int, status: WaitStatus, task: Task | None = None, **fields) -> Observation:
        task = task or self.init
        parent = self.init if task.parent_key == self.init.key else SHIM if task.parent_key == SHIM.key else None
        parent = parent or Task(task.parent_pid, task.parent_start_ns, "parent", pidns=self.pidns)
        return self._see(at, Kind.EXIT, task, wait_status=status, **{"parent": parent} | fields)

    def teardown(self, at: int, task: Task) -> Observation:
        return self.kill(at, None, task=task, teardown=True)

    def snapshot(self, at: int, *tasks: Task, pending: int = 0, masks: Masks | None = None) -> list[Observation]:
        """What the source reads when a container is asked to stop. ``pending``: a signal that the first still has."""
        seen = masks or Masks(pending=1 << (pending - 1) if pending else 0)
        first = tasks[0] if tasks else None
        return [self._see(at, Kind.TASK, task, masks=seen if task is first else Masks()) for task in tasks]

    def zombie(self, at: int, task: Task, parent: Task | None = None, exit_ns: int = 0) -> Observation:
        """From the source's list of zombies that are old enough."""
        fields = {"zombie": True, "parent": parent or self.init, "exit_ns": exit_ns}
        return self._see(at, Kind.TASK, task, wait_status=exited(0), **fields)

    def reap(self, at: int, task: Task) -> Observation:
        return self._see(at, Kind.REAP, task, zombie=True)


def lost(at: int, loss: Loss = Loss.RING_FULL, count: int = 1) -> Observation:
    return Observation(Event(at, WALL + at, Kind.LOST, loss=loss, count=count))


class Told:
    """A sink that keeps the verdicts."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def observation(self, observation: Observation) -> None: ...

    def verdict(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)

    def pass_time(self, now_ns: int) -> None: ...

    def take_dropped(self) -> int:
        return 0

    def close(self) -> None: ...


Steps = Any
"""An observation, or steps in a list."""


def flat(*steps: Steps) -> list[Observation]:
    return [o for step in steps for o in ([step] if isinstance(step, Observation) else flat(*step))]


def run(chain: Detectors, *steps: Steps, until: int | None = None, end: bool = False) -> list[Verdict]:
    """Feeds them in order through a pipeline, and lets time pass between them and on to ``until``, else a second."""
    told = Told()
    pipeline = Pipeline(chain, [told])
    for observation in flat(*steps):
        pipeline.feed(observation)
    pipeline.advance(pipeline.now_ns + S if until is None else until)
    if end:
        pipeline.end()
    return told.verdicts


def story(*steps: Steps, until: int | None = None) -> tuple[Shutdown, list[Finding]]:
    """Through all detectors: the one shutdown, and the findings."""
    verdicts = run(Chain(), *steps, until=until)
    (shutdown,) = [v for v in verdicts if isinstance(v, Shutdown)]
    return shutdown, [v for v in verdicts if isinstance(v, Finding)]


def shutdown_of(*steps: Steps, until: int | None = None) -> Shutdown:
    return story(*steps, until=until)[0]


def verdict(*steps: Steps, until: int | None = None) -> tuple[str, str | None]:
    """The outcome of the one shutdown, and its cause."""
    shutdown = shutdown_of(*steps, until=until)
    return shutdown.outcome, shutdown.cause


def findings(*steps: Steps, until: int | None = None, code: str = "") -> list[Finding]:
    """Through all detectors: the findings, of this code if one is given."""
    found = [v for v in run(Chain(), *steps, until=until) if isinstance(v, Finding)]
    return [f for f in found if not code or f.code == code]


def named(found: Iterable[Finding]) -> list[str]:
    return [f"{f.code}/{f.cause}" for f in found]
