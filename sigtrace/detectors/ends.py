"""How each process of a container that stopped came to its end."""

from __future__ import annotations

from typing import Final

from sigtrace.detectors.container import Container, Member
from sigtrace.detectors.judge import Judgement
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Task
from sigtrace.model.finding import Ended, ProcessEnd
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation

_BAD_ENDS: Final = frozenset({Ended.KILLED, Ended.TORN_DOWN, Ended.OOM, Ended.CRASHED, None})


def slowest(ends: list[ProcessEnd], most: int) -> list[ProcessEnd]:
    """So many of them, in their order: those that did not end of their own will, then those that ended last."""
    if len(ends) <= most:
        return ends

    def weight(at: int) -> tuple[bool, float]:
        exited = ends[at].exited_wall_ns
        return ends[at].ended in _BAD_ENDS, float("inf") if exited is None else exited

    kept = sorted(sorted(range(len(ends)), key=weight, reverse=True)[:most])
    return [ends[at] for at in kept]


def was_killed(member: Member, main_exit: Observation) -> bool:
    """Whether it had a SIGKILL of its own already when the main process left."""
    return member.kill is not None and member.kill.event.time_ns < main_exit.event.time_ns


def end_of(container: Container, exit_: Observation, main_exit: Observation | None) -> ProcessEnd:
    """Of a process beside the main one. ``main_exit``: if that has ended already."""
    event, task = exit_.event, exit_.event.task or Task(0, 0)
    status = event.wait_status or WaitStatus(0)
    member = container.members.get(task.key)
    asked = member.asked if member else None
    if status.signal == signals.SIGKILL:
        if container.oom_near(event.time_ns, task.key) or _was_marked(container, task):
            ended = Ended.OOM
        else:
            alone = main_exit is None or (member is not None and was_killed(member, main_exit))
            ended = Ended.KILLED if alone else Ended.TORN_DOWN
    elif asked and status.signal == asked.event.signo:
        ended = Ended.HANDLED if asked.event.disposition is Disposition.HANDLER else Ended.DEFAULT
    elif status.signal:
        ended = Ended.CRASHED
    else:
        heard = asked is not None and asked.event.disposition is not Disposition.IGNORE
        ended = Ended.HANDLED if heard else Ended.EXITED
    return ProcessEnd(container.known(task), asked.event.wall_ns if asked else None, event.wall_ns, ended)


def _was_marked(container: Container, task: Task) -> bool:
    return any(m.event.task and m.event.task.key == task.key for m in container.ooms)


def main_ended(outcome: str, judgement: Judgement, killed: bool) -> Ended:
    """Of the main process."""
    if outcome == "oom" and not judgement.origin:
        return Ended.OOM
    if outcome == "killed" or (killed and outcome == "escalated"):
        return Ended.KILLED
    if outcome == "crashed" and judgement.cause in ("fatal-signal", "abort-as-pid1"):
        return Ended.CRASHED
    if outcome == "terminated" and not judgement.origin:
        return Ended.DEFAULT
    return Ended.HANDLED if judgement.request and outcome != "exited" else Ended.EXITED
