"""A node with every kind of trouble, made by hand, and a feed that shows it."""

import dataclasses

from sigtrace.audit.rows import Audit, Debt, Reaps, SignalSource, WouldBe
from sigtrace.model.causes import EXEC_FORM, HANDLER, REAPER, Severity
from sigtrace.model.codes import advice
from sigtrace.model.event import Disposition, Event, Info, Kind, Masks, Result, Task
from sigtrace.model.finding import Certainty, Ended, Finding, ProcessEnd, SenderRole, Shutdown
from sigtrace.model.overview import Brief, Row, Snapshot
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Workload, WorkloadKind
from sigtrace.sinks.overview.rows import brief_of
from sigtrace.tui.feed import Inside, Process

SECOND = 1_000_000_000
#: 2026-01-02 12:01:03 UTC
NOW = 1_767_355_263 * SECOND
BOOT = 5_000 * SECOND
MASK_TERM = 1 << 14


def container(number, name, pod=None, namespace="default", runtime="containerd", **more):
    return Workload(
        WorkloadKind.CONTAINER,
        1000 + number,
        cgroup=f"/kubepods/pod{number}/{number:064x}",
        runtime=runtime,
        container_id=f"{number:02x}" * 32,
        container_name=name,
        pod=pod,
        namespace=namespace if pod else None,
        node="n1",
        asked=True,
        **more,
    )


WEB = container(1, "web", "api-7d9f4c5b6-x2x9z", image="registry/api:1.4", grace_limit_s=30.0, stop_signal=15)
SHOP = container(2, "app", "shop-0")
PY = container(3, "worker", "py-1")
CACHE = container(4, "redis", "cache-0")
BATCH = container(5, "job", "batch-28", "jobs")
PLAIN = container(6, "lonely", runtime="podman")

SHELL = Task(4711, BOOT, "sh", ns_pid=1, pidns=9, argv=("sh", "-c", "gunicorn -w 1 -b :8080 app:app"), cgroup_id=1001)
GUNICORN = Task(4718, BOOT + 1, "gunicorn", ns_pid=8, pidns=9, argv=("gunicorn", "-w", "1"), parent_pid=4711)
WORKER = Task(4719, BOOT + 2, "gunicorn", ns_pid=9, pidns=9, parent_pid=4718)
RUNC = Task(9153, BOOT + 3, "runc", ancestry=("containerd-shim", "systemd"))


def ago(seconds):
    return NOW - int(seconds * SECOND)


def signal_event(seconds, signo, result=Result.DELIVERED, disposition=Disposition.DEFAULT):
    return Event(
        BOOT + NOW - ago(0) - int(seconds * SECOND),
        ago(seconds),
        Kind.SIGNAL_GENERATE,
        SHELL,
        RUNC,
        signo=signo,
        result=result,
        disposition=disposition,
        info=Info.REAL,
        group=True,
        ns_init=True,
        container_init=True,
        outside=True,
    )


DROPPED = Finding(
    "signal-dropped",
    "shell-form",
    Severity.ERROR,
    Certainty.OBSERVED,
    BOOT + 1,
    ago(31),
    WEB,
    SHELL,
    "the kernel dropped SIGTERM: PID 1 has no handler for it, and default actions don't apply to a namespace's init; "
    "gunicorn (pid 8) and 1 more were never told",
    EXEC_FORM,
    signo=15,
    main=True,
    evidence=(signal_event(31, 15, Result.IGNORED),),
)
EXIT = Event(BOOT + 2, ago(1), Kind.EXIT, SHELL, wait_status=WaitStatus(9), ns_init=True)
STOPPED = Shutdown(
    "escalated",
    "dropped",
    BOOT + 2,
    ago(1),
    WEB,
    SHELL,
    WaitStatus(9),
    stop_signo=15,
    requested_by=SenderRole.RUNTIME,
    grace_s=30.0,
    grace_limit_s=30.0,
    duration_s=30.0,
    processes=(
        ProcessEnd(SHELL, ago(31), ago(1), Ended.KILLED),
        ProcessEnd(GUNICORN, None, ago(1), Ended.TORN_DOWN),
        ProcessEnd(WORKER, None, ago(1), Ended.TORN_DOWN),
        ProcessEnd(Task(4800, BOOT + 9, "sleep", ns_pid=40), ago(31), ago(21), Ended.HANDLED),
    ),
    findings=("signal-dropped",),
    evidence=(signal_event(31, 15, Result.IGNORED), signal_event(1, 9), EXIT),
)
MASKED = Finding(
    "crash-masked",
    "supervisor-restarts",
    Severity.ERROR,
    Certainty.OBSERVED,
    BOOT + 3,
    ago(65),
    SHOP,
    Task(801, BOOT, "flask", ns_pid=231),
    "14 processes died in 10 min, and PID 1 (gunicorn) replaced each: the last was flask (pid 231), SIGSEGV, 41 s old",
    advice("crash-masked", "supervisor-restarts"),
    parent=Task(800, BOOT, "gunicorn", ns_pid=1),
    signo=11,
    count=14,
    window_s=600.0,
)
ZOMBIES = Finding(
    "zombie-unreaped",
    "pid1-does-not-reap",
    Severity.WARNING,
    Certainty.OBSERVED,
    BOOT + 4,
    ago(125),
    PY,
    Task(900, BOOT, "sleep", ns_pid=77),
    "812 zombies, the oldest 2.2 h: 812 × sleep; PID 1 (python3 -u app.py) does not wait for them",
    REAPER,
    parent=Task(890, BOOT, "python3", ns_pid=1, argv=("python3", "-u", "app.py")),
    count=812,
)
DONE = Shutdown(
    "graceful", None, BOOT + 5, ago(310), BATCH, Task(700, BOOT, "job", ns_pid=1), WaitStatus(0), 15, duration_s=0.04
)
VERDICTS = [DONE, ZOMBIES, MASKED, DROPPED, STOPPED]
BRIEFS: tuple[Brief, ...] = tuple(brief_of(v) for v in reversed(VERDICTS))


def rows():
    web = Row(WEB, ago(4000), ago(1), "escalated", SHELL, 61, 4, 0.0, (), 1, 1, 1, worst=Severity.ERROR, last=BRIEFS[0])
    return (
        Row(
            CACHE, ago(90_000), main=Task(400, BOOT, "redis-server", ns_pid=1), signals=90, rate=0.4, history=(1, 0, 2)
        ),
        web,
        Row(
            SHOP,
            ago(86_400 * 3),
            signals=1_234_567,
            exits=311,
            rate=1_903.0,
            history=tuple(range(0, 2000, 63)),
            masked=14,
            worst=Severity.ERROR,
            last=BRIEFS[2],
        ),
        Row(
            PY,
            ago(9_000),
            main=Task(890, BOOT, "python3", ns_pid=1, argv=("python3", "-u", "app.py")),
            signals=3,
            exits=812,
            zombies=812,
            oldest_wall_ns=ago(8_040),
            worst=Severity.WARNING,
            last=BRIEFS[3],
        ),
        Row(BATCH, ago(400), ago(310), "graceful", last=BRIEFS[4], signals=2),
        Row(PLAIN, ago(20), signals=7, rate=7.0, history=(3, 7)),
    )


SNAPSHOT = Snapshot(
    NOW,
    BOOT + 10 * SECOND,
    ago(3600),
    "n1",
    "agent",
    "bpf",
    "0.1",
    12_345,
    3.0,
    2_134.0,
    {},
    rows(),
    0,
    BRIEFS,
)
LOST = dataclasses.replace(SNAPSHOT, lost={"ring-full": 1_200, "rate-limited": 34})
EMPTY = dataclasses.replace(SNAPSHOT, rows=(), briefs=())

PY_MAIN = Event(
    BOOT,
    NOW,
    Kind.TASK,
    Task(890, BOOT, "python3", ns_pid=1, argv=("python3", "-u", "app.py")),
    ns_init=True,
    masks=Masks(caught=1 << 1, ignored=1 << 12 | 1 << 24),
)
PY_AUDIT = Audit(
    PY_MAIN,
    PY_MAIN.task,
    PY,
    15,
    SignalSource.DEFAULT,
    WouldBe.DROPPED,
    "no-handler",
    "PID 1 has no handler for it",
    None,
    (Task(900, BOOT, "sleep", ns_pid=77),),
    (),
    Reaps.NO,
    (Debt(PY_MAIN.task, 811, ("sleep",)), Debt(Task(899, BOOT, "sh", ns_pid=60), 1, ("true",))),
    Severity.ERROR,
    (HANDLER, REAPER),
)
PY_INSIDE = Inside(
    PY_AUDIT,
    (
        Process(890, 1, 880, "S", "python3", ("python3", "-u", "app.py"), 9_000.0),
        Process(899, 60, 890, "S", "sh", ("sh", "-c", "while :; do sleep 1 & done"), 12.0),
    ),
)


class Scene:
    """A :class:`sigtrace.tui.feed.Feed` whose snapshot a test sets."""

    failure = None

    def __init__(self, snapshot=SNAPSHOT, state="", player=None):
        self.snapshot = snapshot
        self.state = state
        self.player = player
        self.asked = []

    def newest(self):
        return self.snapshot

    def verdicts(self):
        return list(VERDICTS)

    def inside(self, row):
        self.asked.append(row.workload.title)
        return PY_INSIDE if row.workload is PY else Inside()

    def close(self):
        pass


class Player:
    """A recording at a place of its own."""

    def __init__(self):
        self.speed = 4.0
        self.paused = False
        self.sought = []

    @property
    def place(self):
        return (12.0, 220.0)

    def seek(self, seconds):
        self.sought.append(seconds)
