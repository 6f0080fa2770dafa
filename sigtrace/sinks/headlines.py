"""A verdict in half a line, for a person."""

from __future__ import annotations

from typing import Final

from sigtrace.model import signals
from sigtrace.model.event import Kind, Task
from sigtrace.model.finding import Finding, Shutdown

#: Findings in words; their code stands behind, for `sigtrace explain`.
_TITLES: Final = {
    "signal-dropped": "a signal was dropped",
    "signal-ignored": "a signal is ignored",
    "signal-pending": "a signal stays pending",
    "signal-not-forwarded": "the stop signal was not passed on",
    "stop-unanswered": "it was asked to stop, and nothing followed",
    "killed": "a process got SIGKILL",
    "zombie-unreaped": "zombies that nobody waits for",
    "crash-masked": "crashes are hidden",
    "crashed": "a process crashed",
    "events-lost": "events were lost",
}

#: Shorter is no time for a person.
_AT_ONCE_S: Final = 0.001


def seconds(value: float | None) -> str:
    """``0.004`` → ``4 ms``, ``30.012`` → ``30.0 s``."""
    if value is None:
        return "an unknown time"
    return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms" if value >= _AT_ONCE_S else "under 1 ms"


def after(value: float | None) -> str:
    """``after 30.0 s``, ``at once``."""
    return "at once" if value is not None and value < _AT_ONCE_S else f"after {seconds(value)}"


def within(value: float | None) -> str:
    """``in 30.0 s``, ``at once``."""
    return "at once" if value is not None and value < _AT_ONCE_S else f"in {seconds(value)}"


def _name(task: Task | None) -> str:
    return f"{task.comm} (pid {task.ns_pid or task.pid})" if task else "a process"


def headline(shutdown: Shutdown) -> str:
    """The outcome."""
    name = signals.name(shutdown.stop_signo) if shutdown.stop_signo else "a stop signal"
    took = within(shutdown.duration_s)
    outcome, cause = shutdown.outcome, shutdown.cause or ""
    if outcome == "escalated":
        return f"SIGKILL {after(shutdown.grace_s)}: {_escalated(shutdown, name)}"
    if outcome == "killed":
        return _killed(shutdown, cause)
    if outcome == "oom":
        return _oom(shutdown)
    if outcome == "crashed":
        if cause == "relayed":
            return f"crashed: it passed on the end of {_name(shutdown.origin)}, {shutdown.wait_status}"
        abort = "abort() as PID 1, " if cause == "abort-as-pid1" else ""
        return f"crashed: {abort}{shutdown.wait_status}"
    if outcome == "incomplete":
        return f"left {took}, before the others: they were torn down at work"
    if outcome == "graceful":
        return f"graceful: a command from outside stopped it ({cause})" if cause else f"graceful {took}"
    if outcome == "terminated":
        return f"ended by {name}'s default action {took}: nothing was cleaned up"
    return f"{outcome}: {shutdown.wait_status}"


def _escalated(shutdown: Shutdown, name: str) -> str:
    limit = f" of {shutdown.grace_limit_s:g} s" if shutdown.grace_limit_s else ""
    return {
        "dropped": f"it never heard {name}",
        "ignored": f"it ignores {name}",
        "pending": f"{name} stayed pending",
        "slow": f"it heard {name} and was not done",
        "not-forwarded": f"its processes never heard {name}",
        "grace-shortened": f"that was not all{limit}",
        "pre-stop-overran": f"the preStop hook had used up the rest{limit}",
    }.get(shutdown.cause or "", f"{name} did not end it")


def _killed(shutdown: Shutdown, cause: str) -> str:
    by = {
        "manual": "SIGKILL from a shell or tool on the node",
        "no-stop-signal": "SIGKILL from the runtime",
        "unit-stop": "SIGKILL from systemd",
        "by-parent": "SIGKILL from its parent",
        "by-child": "SIGKILL from one of its children",
        "by-peer": "SIGKILL from a process beside it",
    }.get(cause)
    if any(event.signo != signals.SIGKILL and event.kind is Kind.SIGNAL_GENERATE for event in shutdown.evidence):
        return f"{by or 'SIGKILL'}, some time after a stop signal from somebody else ({cause})"
    return f"{by or 'SIGKILL'}; no stop signal was seen before it ({cause})"


def _oom(shutdown: Shutdown) -> str:
    where = {
        "container": " at its container's memory limit",
        "pod": " at its pod's memory limit",
        "node": " with the node, or a cgroup above the pod, out of memory",
    }.get(shutdown.oom_scope or "", "")
    if shutdown.cause == "relayed":
        return f"the OOM killer took {_name(shutdown.origin)}{where}; the main process passed that on"
    if shutdown.cause == "group":
        return f"the OOM killer took all of it{where}, {_name(shutdown.first_victim)} first"
    return f"the OOM killer took its main process{where}"


def title(finding: Finding) -> str:
    """What was found."""
    return _TITLES.get(finding.code, finding.code)
