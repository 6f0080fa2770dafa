"""What stands in the way of BPF on a host, each with the next step. Pure: facts in, words out."""

from __future__ import annotations

import errno as errnos
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sigtrace.errors import HostError

if TYPE_CHECKING:
    from sigtrace.sources.host import Host

_MACHINES = {"x86_64", "aarch64"}
_GRANT = (
    "grant both (Kubernetes: securityContext.capabilities.add: [BPF, PERFMON]; docker: --cap-add BPF --cap-add PERFMON)"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a backend cannot work here."""

    what: str
    """the thing that is missing or in the way"""
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def bpf_refusals(host: Host) -> list[Refusal]:
    """All that is known to stand in the way before anything is tried, the first to be mended first."""
    found = []
    if host.machine not in _MACHINES:
        found.append(
            Refusal(
                f"machine {host.machine}",
                "the BPF programs are built for x86-64 and arm64",
                "run it on one of these",
            )
        )
    if not host.bpf_object:
        found.append(
            Refusal(
                "no sigtrace.bpf.o",
                "the compiled BPF programs are missing from this installation",
                "run `make bpf` in the source tree, or install the wheel again",
            )
        )
    if not host.btf:
        found.append(
            Refusal(
                "no BTF",
                "/sys/kernel/btf/vmlinux is missing or can't be read, and the programs are fitted to the kernel by it",
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y, as current distributions have; in a container mount /sys",
            )
        )
    if host.pidns is False:
        found.append(
            Refusal(
                "foreign PID namespace",
                "from here only this namespace's processes can be seen, and the kernel gives no error for the others",
                "run it in the host's: hostPID: true (Kubernetes), --pid=host (docker, podman)",
            )
        )
    if host.userns is False:
        found.append(
            Refusal(
                "foreign user namespace",
                "capabilities count in this namespace only, and BPF asks for the host's",
                "run it as the host's root (no rootless container, no userns-remap; hostUsers: true)",
            )
        )
    elif refusal := _capabilities(host):
        found.append(refusal)
    return found


def _capabilities(host: Host) -> Refusal | None:
    missing = [name for name in ("CAP_BPF", "CAP_PERFMON") if not host.has(name)]
    if not missing:
        return None
    who = "root here" if host.uid == 0 else f"uid {host.uid}"
    return Refusal(
        f"no {' and '.join(missing)}",
        f"loading BPF programs needs CAP_BPF and CAP_PERFMON, and {who} lacks {'one' if len(missing) == 1 else 'both'}",
        _GRANT if host.uid == 0 else f"run it with sudo, or {_GRANT}",
    )


def explain_load_error(errno: int, host: Host, log: str) -> HostError:
    """The error for what the kernel refused while loading or attaching.

    ``errno``: positive; ``log``: what libbpf and the verifier printed, kept as the error's detail.
    """
    name = errnos.errorcode.get(errno, f"errno {errno}")
    refusal = _why(errno, host, log)
    return HostError(f"cannot load sigtrace.bpf.o: {name}: {refusal}", next_step=refusal.fix, detail=log)


def _why(errno: int, host: Host, log: str) -> Refusal:
    """The likeliest reason, from the surest fact to the vaguest."""
    denied = errno in {errnos.EPERM, errnos.EACCES}
    if denied and (refusals := [r for r in bpf_refusals(host) if "namespace" in r.what or "CAP_" in r.what]):
        return refusals[0]
    # Maps are charged to the limit before 5.11, and the kernel says EPERM when it is used up.
    if errno == errnos.EPERM and host.charges_memlock and host.memlock is not None and not host.has("CAP_SYS_RESOURCE"):
        return Refusal(
            f"memlock limit of {host.memlock // 1024} KiB",
            f"before Linux 5.11 (this is {host.release}) BPF maps count against RLIMIT_MEMLOCK",
            "raise it (ulimit -l unlimited, LimitMEMLOCK=infinity in the runtime's unit), or grant CAP_SYS_RESOURCE",
        )
    if errno in {errnos.EPERM, errnos.ENOSYS} and host.seccomp == 2:
        return Refusal(
            "seccomp",
            "this process runs under a seccomp filter, and the filter seems to refuse bpf()",
            "use a profile that allows bpf(), or Unconfined (Podman's and CRI-O's default wants CAP_SYS_ADMIN for it)",
        )
    if errno == errnos.ENOSYS:
        return Refusal("no bpf()", "this kernel was built without it", "run a kernel with CONFIG_BPF_SYSCALL=y")
    if host.lockdown == "confidentiality" and errno in {errnos.EPERM, errnos.EACCES, errnos.EINVAL}:
        return Refusal(
            "kernel lockdown",
            "in confidentiality mode BPF may not read kernel memory",
            "boot with lockdown=integrity, or without lockdown",
        )
    if _verifier_spoke(log):
        return Refusal(
            "the verifier rejected a program",
            f"on Linux {host.release}: {_last_words(log)}",
            "report it with the log (--verbose shows it): the programs should load on every kernel from 5.10",
        )
    if errno == errnos.EPERM and (
        guards := [one for one in host.lsm if one in {"selinux", "apparmor", "smack", "tomoyo"}]
    ):
        return Refusal(
            " or ".join(guards),
            "capabilities are there, so a security module may have refused it",
            "look for the denial in the audit log (ausearch -m avc, journalctl -k)",
        )
    if errno in {errnos.ENOENT, errnos.ESRCH, errnos.EINVAL, errnos.EOPNOTSUPP}:
        return Refusal(
            "this kernel lacks something",
            f"Linux {host.release} has not all that the programs use (5.10 or later with BPF tracing has)",
            "run a newer kernel; --verbose shows what was missing",
        )
    if errno == errnos.ENOMEM:
        return Refusal(
            "out of memory",
            "the kernel had none for the maps, or the cgroup's limit was reached",
            "raise the memory limit of this container or unit",
        )
    return Refusal(os.strerror(errno), "the kernel gave no other reason", "run again with --verbose for libbpf's log")


def _verifier_spoke(log: str) -> bool:
    return "processed " in log and " insns" in log


def _last_words(log: str) -> str:
    """The line before the verifier's statistics: its complaint."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for before, line in pairwise(lines):
        if line.startswith("processed ") and " insns" in line:
            return before
    return lines[-1] if lines else "no log"
