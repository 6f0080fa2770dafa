"""What a scenario needs of the host, and why it can't run where that is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sigtrace.errors import SigtraceError
from sigtrace.lab.cgroup import controllers, find_other
from sigtrace.lab.cgroups import can_kill, find_memory
from sigtrace.lab.process import tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: More than this, and nobody may attach to a process: Documentation/admin-guide/LSM/Yama.rst
_YAMA_ADMIN_ONLY: Final = 2


def unmet(needs: Iterable[str]) -> str:
    """The first need that this host doesn't meet, as half a sentence; empty if it meets all.

    A need is a program's name or one of ``v2`` ``cgroup.kill`` ``memory`` ``memory.oom.group`` ``ptrace``.
    """
    for need in needs:
        if reason := _CHECKS[need]() if need in _CHECKS else _without(need):
            return reason
    return ""


def _without(program: str) -> str:
    try:
        tool(program)
    except SigtraceError as error:
        return str(error)
    return ""


def _v2() -> str:
    return "" if find_other("cgroup2") else "cgroups of version 2 are not mounted"


def _cgroup_kill() -> str:
    return _v2() or ("" if can_kill() else "this kernel has no cgroup.kill, which came with Linux 5.14")


def _memory() -> str:
    return "" if find_memory() else "no cgroup hierarchy with the memory controller is mounted"


def _oom_group() -> str:
    v2 = find_other("cgroup2")
    if v2 and "memory" in controllers(v2.mount).split():
        return ""
    return "memory.oom.group is of cgroups of version 2, and here the memory controller is not in that hierarchy"


def _ptrace() -> str:
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text(encoding="ascii"))
    except OSError:
        return ""
    return "kernel.yama.ptrace_scope forbids to attach to a process" if scope > _YAMA_ADMIN_ONLY else ""


_CHECKS: Final[dict[str, Callable[[], str]]] = {
    "v2": _v2,
    "cgroup.kill": _cgroup_kill,
    "memory": _memory,
    "memory.oom.group": _oom_group,
    "ptrace": _ptrace,
}
