"""Small builders of observations: a container, what is sent to it, and how it ends. Times are ns from 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Masks, Result, Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind

MS = 1_000_000
S = 1_000_000_000
WALL = 1_700_000_000 * S

SHELL_FORM = ("/bin/sh", "-c", "gunicorn app")
SCRIPT = ("/bin/sh", "/entrypoint.sh")
PROGRAM = ("/usr/bin/app",)

RUNC = Task(70, 7, "runc", uid=0, cgroup_id=1, ancestry=("containerd-shim", "systemd"))
RUNC_AGAIN = dataclasses.replace(RUNC, pid=71, start_ns=8)  # each `runc kill` is a process of its own
BASH = Task(80, 9, "bash", uid=0, cgroup_id=2)
PYTHON = Task(81, 9, "python3", uid=0, cgroup_id=2)

HANDLED = {"result": Result.DELIVERED, "disposition": Disposition.HANDLER}
BY_DEFAULT = {"result": Result.DELIVERED, "disposition": Disposition.DEFAULT}
DROPPED = {"result": Result.IGNORED, "disposition": Disposition.DEFAULT}
IGNORED = {"result": Result.IGNORED, "disposition": Disposition.IGNORE}


def killed_by(signo: int) -> WaitStatus:
    return WaitStatus(signo)


def exited(code: int) -> WaitStatus:
    return WaitStatus(code << 8)


class Container:
    """Number ``n``; two with one ``pidns`` are one namespace number used twice."""

    def __init__(self, n: int = 1, *, argv: tuple[str, ...] | None = None, pidns: int = 0, **workload) -> None:
        self.n = n
        self.pidns = pidns or 4026530000 + n
        self.init = Task(
            pid=n * 100,
            start_ns=n,
            comm="init",
            tid=n * 100,
            ns_pid=1,
            pidns=self.pidns,
            uid=0,
            cgroup_id=1000 + n,
            parent_pid=70,
            parent_start_ns=7,
            parent_cgroup_id=1,
            argv=argv,
        )
        fields = {"container_name": f"box{n}", "cgroup": f"/lab/box{n}"} | workload
        self.workload = Workload(fields.pop("kind", WorkloadKind.CONTAINER), 1000 + n, **fields)

    def child(self, k: int = 1, comm: str = "worker", **fields) -> Task:
        return Task(
            pid=self.n * 100 + k,
            start_ns=self.n * 1000 + k,
            comm=comm,
            ns_pid=1 + k,
            pidns=self.pidns,
            cgroup_id=1000 + self.n,
            parent_pid=self.init.pid,
            parent_start_ns=self.init.start_ns,
            **fields,
        )

    def _see(self, at: int, kind: Kind, task: Task, sender_workload: Workload | None = None, **fields) -> Observation:
        if task.ns_pid == 1:
            fields = {"ns_init": True, "container_init": True} | fields
        return Observation(Event(at, WALL + at, kind, task, **fields), self.workload, sender_workload)

    def signal(
        self, at: int, signo: int, sender: Task | None = RUNC, task: Task | None = None, **fields
    ) -> Observation:
        """signal_generate; from outside and with a real siginfo unless said otherwise."""
        inside = sender is not None and sender.pidns == self.pidns
        defaults = {
            "result": Result.DELIVERED,
            "disposition": Disposition.DEFAULT,
            "info": Info.REAL if sender else Info.PRIV,
            "si_code": 0 if sender else None,
            "group": True,
            "outside": sender is not None and not inside,
        }
        own = self.workload if inside else None
        return self._see(
            at, Kind.SIGNAL_GENERATE, task or self.init, own, sender=sender, signo=signo, **defaults | fields
        )

    def term(self, at: int, sender: Task | None = RUNC, **fields) -> Observation:
        return self.signal(at, signals.SIGTERM, sender, **fields)

    def kill(self, at: int, sender: Task | None = RUNC_AGAIN, **fields) -> Observation:
        return self.signal(at, signals.SIGKILL, sender, **fields)

    def cgroup_kill(self, at: int, sender: Task = RUNC, **fields) -> Observation:
        return self.kill(at, sender, info=Info.NOINFO, si_code=None, group=False, **fields)

    def deliver(self, at: int, signo: int = signals.SIGTERM, **fields) -> Observation:
        return self._see(at, Kind.SIGNAL_DELIVER, self.init, signo=signo, disposition=Disposition.HANDLER, **fields)

    def oom(self, at: int, task: Task | None = None) -> Observation:
        return self._see(at, Kind.OOM_KILL, task or self.init)

    def exec(self, at: int, task: Task, **fields) -> Observation:
        return self._see(at, Kind.EXEC, task, **fields)

    def exit(self, at: int, status: WaitStatus, task: Task | None = None, **fields) -> Observation:
        return self._see(at, Kind.EXIT, task or self.init, wait_status=status, **fields)

    def teardown(self, at: int, task: Task) -> Observation:
        return self.kill(at, None, task=task, teardown=True)

    def snapshot(self, at: int, *tasks: Task) -> list[Observation]:
        """What the source reads when a container is asked to stop."""
        return [self._see(at, Kind.TASK, task, masks=Masks()) for task in tasks]


def lost(at: int, loss: Loss = Loss.RING_FULL, count: int = 1) -> Observation:
    return Observation(Event(at, WALL + at, Kind.LOST, loss=loss, count=count))


def pass_time(detector, now: int, until: int) -> list[Verdict]:
    """As the pipeline does: ticks when the detector wants one, and now and then."""
    verdicts: list[Verdict] = []
    while (due := detector.deadline()) is not None and due < until:
        verdicts += detector.tick(max(due, now))
    return verdicts + list(detector.tick(until))


def run(detector, *steps: Observation | Iterable[Observation], until: int | None = None) -> list[Verdict]:
    """Feeds them in order, each list as one batch, and lets time pass between them and on to ``until``."""
    verdicts: list[Verdict] = []
    now = 0
    for step in steps:
        batch = [step] if isinstance(step, Observation) else list(step)
        verdicts += pass_time(detector, now, max(now, batch[0].event.time_ns - 1))
        for observation in batch:
            verdicts += detector.feed(observation)
            now = observation.event.time_ns
        verdicts += detector.tick(now)
    return verdicts + pass_time(detector, now, now + S if until is None else until)


def story(*steps: Observation | Iterable[Observation], until: int | None = None) -> tuple[Shutdown, list[Finding]]:
    """Through all detectors: the one shutdown, and the findings."""
    verdicts = run(Chain(), *steps, until=until)
    (shutdown,) = [v for v in verdicts if isinstance(v, Shutdown)]
    return shutdown, [v for v in verdicts if isinstance(v, Finding)]
