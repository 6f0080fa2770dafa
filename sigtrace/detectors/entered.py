"""Commands that entered a container from outside: which of them was its preStop hook. A heuristic.

Exec probes, kubectl exec and preStop hooks look alike to the kernel. A hook runs once, so a command that entered
before is a probe; it begins before the stop signal, and the kubelet sends that as soon as the hook has ended or its
time is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sigtrace.detectors.container import Container, Entry
from sigtrace.detectors.shell import is_interactive
from sigtrace.model.event import Event
from sigtrace.model.workload import PreStopKind, Workload

#: The stop signal follows the end of the hook within this.
_FOLLOWS_NS: Final = 1_000_000_000
#: What a hook asked for is done within this.
_WINDOW_NS: Final = 600_000_000_000
#: After a hook that used up the grace period the kubelet leaves 2 s.
_LEAST_NS: Final = 2_000_000_000
#: A runtime is this much early at most: it measures from its own start of the wait.
EARLY_NS: Final = 500_000_000


@dataclass(frozen=True, slots=True)
class PreStop:
    """The hook, as far as it can be told."""

    entry: Entry
    until_ns: int
    """when it ended, or was given up"""
    overran: bool = False

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return (self.until_ns - self.entry.began_ns) / 1e9


def _candidates(container: Container) -> list[Entry]:
    """The latest first. Where the runtime told what is declared, that alone."""
    workload = container.workload
    if workload.asked:
        found = [e for e in container.entries.values() if is_declared(workload, e.task.argv or ())]
    elif workload.runtime is not None and workload.pod_uid is None:
        return []  # Docker and Podman know no hooks
    else:
        found = [e for e in container.entries.values() if not e.repeated and not is_interactive(e.task.argv or ())]
    return sorted(found, key=lambda e: e.began_ns, reverse=True)


def is_declared(workload: Workload, argv: Sequence[str]) -> bool:
    """Whether this is the hook's command, as far as a record has room for it."""
    hook = workload.pre_stop
    if hook is None or hook.kind is not PreStopKind.EXEC or not argv:
        return False
    return all(told == wanted for told, wanted in zip(argv[:-1], hook.command, strict=False)) and (
        len(argv) <= len(hook.command) and hook.command[len(argv) - 1].startswith(argv[-1].removesuffix("…"))
    )


def used_up_unseen(container: Container, gap_ns: int, limit_ns: int) -> bool:
    """Whether a hook that never enters the container (httpGet, sleep) explains why SIGKILL came early.

    The kernel sees nothing of them; the kubelet leaves 2 s after one that took all of the grace period.
    """
    hook = container.workload.pre_stop
    if hook is None or hook.kind is PreStopKind.EXEC:
        return False
    if hook.sleep_s is not None:
        return hook.sleep_s * 1e9 + gap_ns >= limit_ns - EARLY_NS
    return gap_ns <= _LEAST_NS + EARLY_NS


def hook_before(container: Container, request: Event, ended_ns: int) -> PreStop | None:
    """The hook that ran before this stop signal, if one did. ``ended_ns``: SIGKILL or exit of the main process."""
    for entry in _candidates(container):
        if entry.began_ns > request.time_ns:
            continue
        ended = entry.ended_ns
        if ended is not None and ended <= request.time_ns:
            if request.time_ns - ended <= _FOLLOWS_NS:
                return PreStop(entry, ended)
        elif container.stop.kill and _used_up(container, entry, request, ended_ns):
            return PreStop(entry, request.time_ns, overran=True)
    return None


def _used_up(container: Container, entry: Entry, request: Event, ended_ns: int) -> bool:
    """Whether what still runs may be a hook whose time was up, rather than somebody's own exec."""
    limit_s = container.workload.grace_limit_s
    if limit_s is not None:
        return ended_ns - entry.began_ns >= limit_s * 1e9 - EARLY_NS
    ran_ns = request.time_ns - entry.began_ns
    return ran_ns >= _LEAST_NS and ended_ns - request.time_ns <= _LEAST_NS + EARLY_NS


def hook_that_stopped(container: Container, exited_ns: int) -> PreStop | None:
    """The command from outside that itself sent the signal by which the container ended (``nginx -s quit``)."""
    last = container.from_entry
    if last is None or last.event.sender is None or exited_ns - last.event.time_ns > _WINDOW_NS:
        return None
    sender = last.event.sender
    if container.workload.runtime is not None and container.workload.pod_uid is None:
        return None
    entry = container.entries.get(sender.key) or container.entries.get(sender.parent_key)
    if entry is None or entry.began_ns > last.event.time_ns:
        return None
    if container.workload.asked and not is_declared(container.workload, entry.task.argv or ()):
        return None  # somebody's own exec
    return PreStop(entry, min(entry.ended_ns or exited_ns, exited_ns))
