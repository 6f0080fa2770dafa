"""TASK observations in, one audit for each running container out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from sigtrace.audit.predict import predict, taken_by, threads_of
from sigtrace.audit.rows import Audit, Debt, Prediction, Reaps, SignalSource, WouldBe
from sigtrace.audit.words import judge, why
from sigtrace.detectors.shell import is_shell_form, script_of
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import Observation, Workload

ProcessKey = tuple[int, int]

#: Inits that wait for every child, adopted ones too.
_REAPERS: Final = frozenset(
    "tini tini-static dumb-init catatonit docker-init podman-init systemd s6-svscan runit runsvdir".split()
)
_NODE: Final = frozenset({"node", "nodejs"})
#: Of what a shell got so, its children get nothing.
_DEAF: Final = frozenset({WouldBe.DROPPED, WouldBe.IGNORED, WouldBe.PENDING})


def audit(looks: Sequence[Iterable[Observation]], *, asked: int = 0) -> list[Audit]:
    """One audit for each running container, the worst first.

    ``looks``: one or more snapshots in time order, each sorted by start time. Only what lasts over all of them is
    called a zombie, or blocked: between two waits tini, too, just blocks its signals. ``asked``: the signal to look
    for, in place of each container's own.
    """
    indexed = [_Look(look) for look in looks]
    audits = [_audit(*main, indexed, asked) for main in indexed[-1].mains.values()] if indexed else []
    return sorted(audits, key=lambda a: (-(a.severity or 0), a.workload.title, a.main.key))


class _Look:
    """A snapshot, by container and by process."""

    def __init__(self, observations: Iterable[Observation]) -> None:
        self.mains: dict[int, tuple[Event, Task, Workload]] = {}
        """by the container's cgroup"""
        self.tasks: dict[ProcessKey, Event] = {}
        self.zombies: dict[ProcessKey, int] = {}
        """and whose container's they are"""
        self.children: dict[ProcessKey, list[Task]] = {}
        for observation in observations:
            event, task, workload = observation.event, observation.event.task, observation.workload
            if event.kind is not Kind.TASK or task is None:
                continue
            self.tasks[task.key] = event
            ours = workload if workload and workload.is_container else None
            if event.zombie:
                if ours:
                    self.zombies[task.key] = ours.cgroup_id
                continue
            self.children.setdefault(task.parent_key, []).append(task)
            if observation.main and ours:
                self.mains[ours.cgroup_id] = (event, task, ours)


def _audit(event: Event, task: Task, workload: Workload, looks: Sequence[_Look], asked: int) -> Audit:
    signo = asked or workload.stop_signal or signals.SIGTERM
    source = SignalSource.ASKED if asked else SignalSource.CONFIGURED if workload.stop_signal else SignalSource.DEFAULT
    shell = _shell(task)
    children = tuple(looks[-1].children.get(task.key, ()))
    prediction = _lasting(task.key, looks, predict(event, signo), signo)
    if shell:
        prediction = _as_shell(prediction, shell, children)
    elif event.ns_init and prediction.would_be is WouldBe.HANDLED and _raises_again(task, signo):
        prediction = Prediction(WouldBe.HANDLED, "raises-again")
    zombies = _debts(workload.cgroup_id, looks)
    severity, advice = judge(prediction, zombies, workload, task)
    return Audit(
        event=event,
        main=task,
        workload=workload,
        signo=signo,
        signal_source=source,
        would_be=prediction.would_be,
        cause=prediction.cause,
        why=why(prediction, event, signo, source, children),
        shell=shell,
        children=children,
        unheard=children if shell and prediction.would_be in _DEAF else (),
        reaps=_reaps(event, task, zombies, shell=bool(shell and children)),
        zombies=zombies,
        severity=severity,
        advice=advice,
    )


def _lasting(key: ProcessKey, looks: Sequence[_Look], last: Prediction, signo: int) -> Prediction:
    """What was waited for at one look is taken: at the others the program was busy with what it had got.

    Or it was about to wait, or not yet through with it, on a CPU or in want of one: the kernel has unblocked the signal
    then, and /proc/PID/syscall has but "running" for it.
    """
    for look in looks:
        event = look.tasks.get(key)
        if event and (before := predict(event, signo)).would_be is WouldBe.TAKEN:
            return before
    return last


def _shell(task: Task) -> str | None:
    argv = task.argv or ()
    return "shell-form" if is_shell_form(argv) else "script" if script_of(argv) else None


def _as_shell(prediction: Prediction, shell: str, children: tuple[Task, ...]) -> Prediction:
    """The same, with the cause that a shell as the main process gives it."""
    if prediction.would_be is WouldBe.DROPPED:
        return Prediction(WouldBe.DROPPED, "shell-form" if shell == "shell-form" else "script-without-exec")
    if prediction.would_be is WouldBe.HANDLED and children:
        return Prediction(WouldBe.HANDLED, "shell-trap")
    return prediction


def _raises_again(task: Task, signo: int) -> bool:
    """Whether the runtime of its language catches the signal to restore the terminal, and raises it again.

    Node does (SignalExit in src/node.cc); PID 1 is spared what it raises.
    """
    program = (task.argv or ("",))[0].rpartition("/")[2]
    return program in _NODE and signo in (signals.SIGTERM, signals.SIGINT)


def _debts(container: int, looks: Sequence[_Look]) -> tuple[Debt, ...]:
    """The zombies that were there at each look, by the parent that they have now; the largest debt first."""
    last = looks[-1]
    by_parent: dict[ProcessKey, list[str]] = {}
    for key, owner in last.zombies.items():
        zombie = last.tasks[key].task
        if zombie and owner == container and all(key in look.zombies for look in looks):
            by_parent.setdefault(zombie.parent_key, []).append(zombie.comm)
    debts = []
    for parent_key, comms in by_parent.items():
        parent = last.tasks.get(parent_key)
        names = tuple(comm for comm, _ in Counter(comms).most_common(3))
        debts.append(Debt(parent.task if parent else None, len(comms), names))
    return tuple(sorted(debts, key=lambda debt: -debt.count))


def _reaps(event: Event, task: Task, zombies: tuple[Debt, ...], *, shell: bool) -> Reaps:
    """From what PID 1 is and does. A handler for SIGCHLD proves nothing: libuv's waits for its own children only."""
    if any(debt.parent and debt.parent.key == task.key for debt in zombies):
        return Reaps.NO
    if not event.ns_init or event.masks is None:
        return Reaps.UNKNOWN  # the orphans are another's
    name = task.argv[0].rpartition("/")[2] if task.argv else task.comm
    # A shell that waits for one child waits for any; if SIGCHLD is ignored, the kernel reaps.
    if shell or not _REAPERS.isdisjoint((name, task.comm)) or signals.in_mask(event.masks.ignored, signals.SIGCHLD):
        return Reaps.YES
    taken = taken_by(event.masks, threads_of(event.masks), signals.SIGCHLD)
    if taken or signals.in_mask(event.masks.caught, signals.SIGCHLD):
        return Reaps.PERHAPS
    return Reaps.UNKNOWN
