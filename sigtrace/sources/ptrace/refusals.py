"""What stands in the way of ptrace. Pure, but for the two files it reads."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sigtrace.sources.refusals import Refusal

if TYPE_CHECKING:
    from sigtrace.sources.host import Host
    from sigtrace.sources.ptrace.processes import Process

_GRANT: Final = (
    "run it as root, or grant CAP_SYS_PTRACE (Kubernetes: securityContext.capabilities.add: [SYS_PTRACE]; "
    "docker: --cap-add SYS_PTRACE)"
)
_OPEN_YAMA: Final = "set kernel.yama.ptrace_scope to 0 or 1 (sysctl), or grant CAP_SYS_PTRACE"


def yama_scope(root: Path = Path("/")) -> int:
    """0 for anybody of one's own, 1 for one's descendants, 2 for CAP_SYS_PTRACE, 3 for nobody (Yama.rst)."""
    try:
        return int((root / "proc/sys/kernel/yama/ptrace_scope").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def ptrace_refusals(host: Host, root: Path = Path("/")) -> list[Refusal]:
    """All that is known to stand in the way of any tracing. Of one process or another see ``why_not_seized``."""
    found = []
    scope = yama_scope(root)
    if scope >= 3:
        found.append(
            Refusal(
                "yama",
                "kernel.yama.ptrace_scope is 3: nobody may trace until this machine is started again",
                "set it to 0, 1 or 2 in /etc/sysctl.d, and reboot",
            )
        )
    elif scope == 2 and not host.has("CAP_SYS_PTRACE"):
        found.append(Refusal("yama", "kernel.yama.ptrace_scope is 2, and CAP_SYS_PTRACE is missing", _OPEN_YAMA))
    if host.hierarchy is None:
        found.append(
            Refusal("no cgroups", "containers are told apart by them, and none are mounted", "mount /sys/fs/cgroup")
        )
    return found


def why_not_seized(name: str, number: int, process: Process, host: Host, tracer: str, root: Path = Path("/")) -> str:
    """A sentence. ``number``: the errno of PTRACE_SEIZE; ``tracer``: who traces it already, if somebody does."""
    if process.tracer:
        return f"{name} is traced by {tracer}: left alone"
    if number == errno.ETIMEDOUT:
        return f"cannot trace {name}: an exec of it does not come to its end (a file that cannot be read?)"
    if number not in {errno.EPERM, errno.EACCES}:
        return f"cannot trace {name}: {os.strerror(number)}"
    if host.has("CAP_SYS_PTRACE"):
        if host.seccomp == 2:
            return f"cannot trace {name}: a seccomp filter seems to refuse ptrace: use a profile that allows it"
        return f"cannot trace {name}: a security module, or another user namespace, refuses it (see the audit log)"
    scope = yama_scope(root)
    if scope >= 1 and process.task.uid == host.uid:
        return (
            f"cannot trace {name}: kernel.yama.ptrace_scope is {scope}, and it is no descendant of ours: {_OPEN_YAMA}"
        )
    whose = f"it belongs to uid {process.task.uid}" if process.task.uid != host.uid else "it may do more than we"
    return f"cannot trace {name}: {whose}, and CAP_SYS_PTRACE is missing: {_GRANT}"
