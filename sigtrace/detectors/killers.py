"""Why a process of a container got SIGKILL (kernel-signals: Cause of a SIGKILL; interface: `killed`, first match)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from sigtrace.detectors.container import Container
from sigtrace.detectors.entered import EARLY_NS, PreStop, hook_before, used_up_unseen
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.stop import SLACK_NS, are_unseen, limit_ns
from sigtrace.model import codes
from sigtrace.model.event import Info
from sigtrace.model.finding import Certainty, Mechanism, SenderRole
from sigtrace.model.workload import Observation

#: The grace period of Kubernetes, where none is known.
_USUAL_NS: Final = 30_000_000_000
_BY_ROLE: Final = {
    SenderRole.RUNTIME: ("no-stop-signal", Certainty.HEURISTIC),
    SenderRole.KUBELET: ("no-stop-signal", Certainty.HEURISTIC),
    SenderRole.SYSTEMD: ("unit-stop", Certainty.HEURISTIC),
    SenderRole.PARENT: ("by-parent", Certainty.OBSERVED),
    SenderRole.CHILD: ("by-child", Certainty.OBSERVED),
    SenderRole.SAME_CONTAINER: ("by-peer", Certainty.OBSERVED),
    SenderRole.SHELL: ("manual", Certainty.HEURISTIC),
}


@dataclass(frozen=True, slots=True)
class Killing:
    """A cause, how well it is known, and what it rests on."""

    cause: str
    certainty: Certainty
    request: Observation | None = None
    hook: PreStop | None = None


def cause_of_kill(container: Container, kill: Observation) -> Killing:
    """Of the SIGKILL to any process of the container."""
    event = kill.event
    if event.task and container.oom_near(event.time_ns, event.task.key):
        return Killing("oom", Certainty.OBSERVED)
    if container.stop.kill is kill and (request := container.stop.request_of_kill()):
        killing = _of_stop(container, kill, request)
        return dataclasses.replace(killing, certainty=Certainty.INFERRED) if are_unseen(request, kill) else killing
    role = role_of(kill)
    member = container.members.get(event.task.key) if event.task else None
    entered = event.cgroup_entered or (member is not None and container.came_in(member))
    if not kill.main and entered and role in (SenderRole.RUNTIME, SenderRole.KUBELET):
        return Killing("exec-timeout", Certainty.HEURISTIC)
    cause, certainty = _BY_ROLE.get(role, (codes.UNKNOWN, Certainty.INFERRED))
    if cause in ("no-stop-signal", "unit-stop") and kill.main and _may_have_been_asked(container, kill):
        return Killing(codes.UNKNOWN, Certainty.INFERRED)
    return Killing(cause, certainty)


def _may_have_been_asked(container: Container, kill: Observation) -> bool:
    """Whether the stop signal may have come before sigtrace did."""
    limit = limit_ns(kill)
    patience_ns = (_USUAL_NS if limit is None else limit) + SLACK_NS
    return container.found_ns is not None and kill.event.time_ns - container.found_ns < patience_ns


def _of_stop(container: Container, kill: Observation, request: Observation) -> Killing:
    gap_ns = kill.event.time_ns - request.event.time_ns
    limit = limit_ns(kill)
    if limit is not None and gap_ns >= limit - EARLY_NS:
        return Killing("grace-expired", Certainty.OBSERVED, request)
    hook = hook_before(container, request.event, kill.event.time_ns)
    if hook and (hook.overran or (limit is not None and hook.seconds * 1e9 + gap_ns >= limit - EARLY_NS)):
        return Killing("pre-stop-overran", Certainty.HEURISTIC, request, hook)
    if limit is not None and used_up_unseen(container, gap_ns, limit):
        return Killing("pre-stop-overran", Certainty.HEURISTIC, request)
    if limit is not None:
        return Killing("grace-shortened", Certainty.OBSERVED, request, hook)
    return Killing("grace-expired", Certainty.OBSERVED, request, hook)


def mechanism_of(kill: Observation, *, oom: bool) -> Mechanism:
    """How it came about: cgroup.kill alone gives a SIGKILL without any info, and not to the group."""
    if oom:
        return Mechanism.OOM
    by_cgroup = kill.event.info is Info.NOINFO and not kill.event.group
    return Mechanism.CGROUP_KILL if by_cgroup else Mechanism.KILL
