"""Who sent a signal: a role, from comm and ancestry. A heuristic, but for the kernel."""

from __future__ import annotations

from typing import Final

from sigtrace.model.event import Event, Info, Task
from sigtrace.model.finding import SenderRole
from sigtrace.model.workload import Observation

#: comm is cut to 15 bytes by the kernel.
_RUNTIMES: Final = frozenset(
    "runc crun youki conmon conmonrs dockerd docker containerd podman crio nerdctl ctr".split()
)
_SHELLS: Final = frozenset(
    {"sh", "dash", "bash", "ash", "zsh", "ksh", "fish", "kill", "pkill", "killall", "htop", "top"}
)

#: Of whose descendants somebody at a terminal is in charge.
_BY_HAND: Final = _SHELLS | {"sshd", "login", "su", "sudo", "tmux: server", "screen"}


def role_of(observation: Observation) -> SenderRole:
    """The role of a signal's sender."""
    event = observation.event
    sender = event.sender
    if sender is None:
        return SenderRole.KERNEL if event.info is Info.PRIV else SenderRole.UNKNOWN
    own, other = observation.workload, observation.sender_workload
    if own and other and own.is_container and other.is_container:
        if own.cgroup_id == other.cgroup_id:
            return _kin(event, sender)
        if not (own.cgroup or "").startswith((other.cgroup or "?") + "/"):
            return SenderRole.OTHER_CONTAINER  # else the one it runs in: kind, Docker in Docker
    comm = sender.comm
    if comm in _RUNTIMES or comm.startswith(("runc:", "containerd-shim")):
        return SenderRole.RUNTIME
    if comm in ("kubelet", "kubelite", "k3s-server", "k3s-agent"):
        return SenderRole.KUBELET
    if comm == "systemd":
        return SenderRole.SYSTEMD
    # A tool that somebody runs from a shell; systemd and a runtime's shim are ancestors of much that they do not send.
    by_hand = comm in _SHELLS or any(name in _BY_HAND for name in sender.ancestry)
    return SenderRole.SHELL if by_hand else SenderRole.UNKNOWN


def _kin(event: Event, sender: Task) -> SenderRole:
    """Of the same container: whatever a process in there calls itself, it is no runtime's."""
    if event.task and sender.key == event.task.parent_key:
        return SenderRole.PARENT
    if event.task and sender.parent_key == event.task.key:
        return SenderRole.CHILD
    return SenderRole.SAME_CONTAINER


def same_sender(first: Event, second: Event) -> bool:
    """Whether one process sent both."""
    return first.sender is not None and second.sender is not None and first.sender.key == second.sender.key
