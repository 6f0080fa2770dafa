"""What this host can do, read from files. Nothing is tried here; refusals.py judges what is read."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sigtrace.model import hierarchy
from sigtrace.model.hierarchy import Hierarchy
from sigtrace.sources.refusals import Refusal, bpf_refusals, explain_load_error

__all__ = [
    "CAPABILITIES",
    "Host",
    "Refusal",
    "bpf_refusals",
    "explain_load_error",
    "find_libbpf",
    "read_host",
]

#: Bits of CapEff, include/uapi/linux/capability.h.
CAPABILITIES: Final = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
#: PROC_PID_INIT_INO and PROC_USER_INIT_INO, include/linux/proc_ns.h: the same on every kernel.
_INIT_PIDNS: Final = "pid:[4026531836]"
_INIT_USERNS: Final = "user:[4026531837]"

BPF_OBJECT: Final = Path(__file__).with_name("sigtrace.bpf.o")
_LIBBPF: Final = "libbpf.so.1"


@dataclass(frozen=True, slots=True)
class Host:
    """What was found; None where it could not be read."""

    release: str
    machine: str
    uid: int
    cap_eff: int
    """CapEff, bit by capability"""
    btf: bool
    """/sys/kernel/btf/vmlinux can be read"""
    bpf_object: bool
    """the compiled programs are where the package has them"""
    libbpf: str | None
    """path of libbpf.so.1, as far as one can tell without loading it"""
    pidns: bool | None
    """in the host's (first) PID namespace"""
    userns: bool | None
    """in the host's (first) user namespace: outside it capabilities say nothing about BPF"""
    seccomp: int | None
    """0 off, 1 strict, 2 a filter"""
    memlock: int | None
    """soft RLIMIT_MEMLOCK in bytes; None: unlimited"""
    lockdown: str | None
    """none, integrity or confidentiality"""
    lsm: tuple[str, ...]
    unprivileged_bpf_disabled: int | None
    cgroup_layout: str | None
    """v2, v1 or hybrid"""
    hierarchy: Hierarchy | None
    """where containers live"""

    def has(self, capability: str) -> bool:
        """Whether the capability is effective; CAP_SYS_ADMIN contains BPF and PERFMON (bpf_capable(), 5.8)."""
        admin = bool(self.cap_eff >> CAPABILITIES["CAP_SYS_ADMIN"] & 1)
        if capability in {"CAP_BPF", "CAP_PERFMON"} and admin:
            return True
        return bool(self.cap_eff >> CAPABILITIES[capability] & 1)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Those of CAPABILITIES that are effective."""
        return tuple(name for name, bit in CAPABILITIES.items() if self.cap_eff >> bit & 1)

    @property
    def charges_memlock(self) -> bool:
        """Whether maps count against RLIMIT_MEMLOCK, as before commit d5299b67dd59 (in v5.11)."""
        # Only for words about a refusal that has happened: no decision hangs on a version.
        match = re.match(r"(\d+)\.(\d+)", self.release)
        return match is not None and (int(match[1]), int(match[2])) < (5, 11)


def read_host(root: Path = Path("/"), *, find_library: Callable[[Path], str | None] | None = None) -> Host:
    """Reads the facts below ``root``; what cannot be read is None, nothing is raised."""
    status = dict(line.split(":", 1) for line in (_text(root / "proc/self/status") or "").splitlines() if ":" in line)
    mountinfo = _text(root / "proc/self/mountinfo") or ""
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in mountinfo.split("\n")}
    layout = {(True, True): "hybrid", (True, False): "v2", (False, True): "v1"}.get(
        ("cgroup2" in kinds, "cgroup" in kinds)
    )
    return Host(
        release=(_text(root / "proc/sys/kernel/osrelease") or os.uname().release).strip(),
        machine=(_text(root / "proc/sys/kernel/arch") or os.uname().machine).strip(),
        uid=_effective_uid(status.get("Uid", "")),
        cap_eff=_int(status.get("CapEff"), 16) or 0,
        btf=os.access(root / "sys/kernel/btf/vmlinux", os.R_OK),
        bpf_object=BPF_OBJECT.is_file(),
        libbpf=(find_library or find_libbpf)(root),
        pidns=_is_link(root / "proc/self/ns/pid", _INIT_PIDNS),
        userns=_is_link(root / "proc/self/ns/user", _INIT_USERNS),
        seccomp=_int(status.get("Seccomp")),
        memlock=_memlock(_text(root / "proc/self/limits") or ""),
        lockdown=_chosen(_text(root / "sys/kernel/security/lockdown")),
        lsm=tuple(name for name in (_text(root / "sys/kernel/security/lsm") or "").strip().split(",") if name),
        unprivileged_bpf_disabled=_int(_text(root / "proc/sys/kernel/unprivileged_bpf_disabled")),
        cgroup_layout=layout,
        hierarchy=hierarchy.choose(
            mountinfo,
            _text(root / "proc/self/cgroup") or "",
            lambda mount: _text(root / mount.lstrip("/") / "cgroup.controllers") or "",
            lambda mount: _is_cgroup_root(root / mount.lstrip("/")),
        ),
    )


def find_libbpf(root: Path = Path("/")) -> str | None:
    """Looks where the dynamic loader would: LD_LIBRARY_PATH, the Python's own lib, the usual folders, ld.so.cache.

    A guess for people to read: only loading it tells, so its absence is no refusal.
    """
    given = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    given.append(Path(sys.prefix) / "lib")
    triplet = f"{os.uname().machine}-linux-gnu"
    usual = [f"lib/{triplet}", f"usr/lib/{triplet}", "lib64", "usr/lib64", "lib", "usr/lib", "usr/local/lib"]
    for path in (folder / _LIBBPF for folder in (*given, *(root / one for one in usual))):
        if path.exists():
            return f"/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)
    try:
        cache = (root / "etc/ld.so.cache").read_bytes()
    except OSError:
        return None
    # Strings of the cache end in NUL; the path follows the bare name (glibc's sysdeps/generic/dl-cache.h).
    found = re.search(rb"/[^\0]*/" + re.escape(_LIBBPF.encode()) + rb"(?=\0)", cache)
    return os.fsdecode(found[0]) if found else None


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace")  # as text "\r" would end a line, and names may hold one
    except OSError:
        return None


def _int(text: str | None, base: int = 10) -> int | None:
    try:
        return int(text, base) if text is not None else None
    except ValueError:
        return None


def _effective_uid(line: str) -> int:
    words = line.split()
    uid = _int(words[1]) if len(words) > 1 else None
    return os.geteuid() if uid is None else uid


def _is_link(path: Path, target: str) -> bool | None:
    try:
        return str(path.readlink()) == target
    except OSError:
        return None


def _memlock(limits: str) -> int | None:
    match = re.search(r"^Max locked memory +([0-9]+) ", limits, re.MULTILINE)
    return int(match[1]) if match else None


def _chosen(lockdown: str | None) -> str | None:
    """``none [integrity] confidentiality`` → ``integrity``."""
    match = re.search(r"\[(\w+)\]", lockdown or "")
    return match[1] if match else None


def _is_cgroup_root(mount: Path) -> bool:
    """The root of each hierarchy is inode 1 of it (kernfs_create_root in fs/kernfs/dir.c)."""
    try:
        return mount.stat().st_ino == 1
    except OSError:
        return False
