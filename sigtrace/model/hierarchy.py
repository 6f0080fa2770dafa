"""Which cgroup hierarchy containers live in. Pure: the texts of /proc in, the choice out.

A kernel can have one v2 hierarchy and several v1 hierarchies at once (a hybrid node), each with ids of its own; one is
chosen and everything is keyed on it: v2 if it has the pids or the memory controller or stands alone, else v1's pids,
else v1's memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class HierarchyKind(IntEnum):
    """enum hierarchy in bpf/include/wire.h."""

    V2 = 0
    PIDS = 1
    MEMORY = 2


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy."""

    kind: HierarchyKind
    mount: str
    """where it is mounted"""
    number: int
    """the kernel's hierarchy_id: 0 for v2, else as /proc/PID/cgroup says"""


def choose(
    mountinfo: str,
    own_cgroups: str,
    controllers: Callable[[str], str],
    is_root: Callable[[str], bool] = lambda _: False,
) -> Hierarchy | None:
    """The hierarchy where containers live, or None if none is mounted.

    ``mountinfo``: /proc/self/mountinfo; ``own_cgroups``: /proc/self/cgroup; ``controllers``: the text of the
    cgroup.controllers file at a v2 mount; ``is_root``: whether the hierarchy's own root is mounted there (in a cgroup
    namespace our part of the tree calls itself root, and the host's tree, mounted beside it, does not).
    """
    v2, v1 = _mounts(mountinfo, is_root)
    if v2 and (not v1 or {"pids", "memory"} & set(controllers(v2).split())):
        return Hierarchy(HierarchyKind.V2, v2, 0)
    for kind in (HierarchyKind.PIDS, HierarchyKind.MEMORY):
        name = kind.name.lower()
        if name in v1 and (number := _number(own_cgroups, name)) is not None:
            return Hierarchy(kind, v1[name], number)
    return Hierarchy(HierarchyKind.V2, v2, 0) if v2 else None


def _mounts(mountinfo: str, is_root: Callable[[str], bool]) -> tuple[str, dict[str, str]]:
    """(the v2 mount, v1 controller → mount). A mount of a hierarchy's root wins over one of a part of it."""
    v2 = ""
    v1: dict[str, str] = {}
    # By "\n" alone: a directory that somebody has mounted may be named with any other line break.
    lines = [line.split(" ") for line in mountinfo.split("\n")]
    found = []
    for fields in (f for f in lines if "-" in f[:-1] and len(f) > 9):
        kind, options = fields[fields.index("-") + 1], fields[-1]
        if kind in ("cgroup", "cgroup2"):
            # proc(5): space, tab, newline and backslash are written in octal.
            mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
            found.append((not is_root(mount), fields[3] != "/", mount, kind, options))
    for *_, mount, kind, options in sorted(found, key=lambda f: f[:2]):
        if kind == "cgroup2":
            v2 = v2 or mount
        elif kind == "cgroup":
            for controller in options.split(","):
                v1.setdefault(controller, mount)
    return v2, {name: mount for name, mount in v1.items() if name in ("pids", "memory")}


def _number(own_cgroups: str, controller: str) -> int | None:
    for line in own_cgroups.split("\n"):
        number, _, rest = line.partition(":")
        if controller in rest.split(":", 1)[0].split(",") and number.isdecimal():
            return int(number)
    return None
