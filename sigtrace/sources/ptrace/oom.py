"""Whom the OOM killer took, by the counters that the kernel keeps for memory cgroups.

``oom_kill`` of memory.events (v2) or memory.oom_control (v1, since v4.13) is counted when the victim gets its SIGKILL,
so it has risen when the victim has exited. Which limit was reached shows in the ``oom`` of memory.events.local, or in
memory.failcnt, of that cgroup or one above it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from sigtrace.sources.ptrace.frozen import mounts

_KNOWN_MAX: Final = 10_000
_LEVELS: Final = 8
_DIGITS: Final = 20


@dataclass(slots=True)
class _Counts:
    """Of one memory cgroup, as they were."""

    folders: list[str]
    """its own first, then those above it"""
    v2: bool
    kills: int
    full: list[int] = field(default_factory=list)
    """how often each was at its limit"""


@dataclass(frozen=True, slots=True)
class Mark:
    """The OOM killer took it."""

    levels: int | None
    """so many cgroups above its own was the one at its limit; None: the node was full; -1: not known"""
    group: bool
    """memory.oom.group is set"""


class OomKills:
    """Keyed by the cgroup where containers live: a container's processes share their memory cgroup."""

    def __init__(self) -> None:
        self._v2, v1 = mounts("memory")
        self._v1 = v1
        self._counts: OrderedDict[int, _Counts] = OrderedDict()

    def note(self, cgroup_id: int, pid: int) -> None:
        """A main process began there."""
        if not cgroup_id or cgroup_id in self._counts:
            return
        counts = self._find(pid)
        if counts is not None:
            self._counts[cgroup_id] = counts
            if len(self._counts) > _KNOWN_MAX:
                self._counts.popitem(last=False)

    def mark(self, cgroup_id: int) -> Mark | None:
        """Whether the next of its processes that SIGKILL ended is the OOM killer's; each kill is told of once."""
        counts = self._counts.get(cgroup_id)
        if counts is None or _kills(counts.folders[0], v2=counts.v2) <= counts.kills:
            return None
        counts.kills += 1
        full = [_full(folder, v2=counts.v2) for folder in counts.folders]
        risen = [level for level, (now, before) in enumerate(zip(full, counts.full, strict=True)) if now > before]
        gone = not os.path.exists(counts.folders[0])  # since its kills were read: who was at his limit is not known
        counts.full = full
        group = counts.v2 and _text(f"{counts.folders[0]}/memory.oom.group").strip() == "1"
        return Mark(risen[0] if risen else -1 if gone else None, group)

    def _find(self, pid: int) -> _Counts | None:
        for line in _text(f"/proc/{pid}/cgroup").split("\n"):
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            v2 = number == "0"
            mount = self._v2 if v2 else self._v1 if "memory" in controllers.split(",") else ""
            own = f"{mount}{path}"
            if not mount or not os.path.exists(f"{own}/{'memory.events' if v2 else 'memory.oom_control'}"):
                continue
            names = path.strip("/").split("/")
            above = [f"{mount}/{'/'.join(names[: len(names) - level])}" for level in range(1, min(len(names), _LEVELS))]
            folders = [own, *above]
            return _Counts(folders, v2, _kills(own, v2=v2), [_full(folder, v2=v2) for folder in folders])
        return None


def _kills(folder: str, *, v2: bool) -> int:
    return _number(f"{folder}/{'memory.events' if v2 else 'memory.oom_control'}", "oom_kill")


def _full(folder: str, *, v2: bool) -> int:
    if v2:
        return _number(f"{folder}/memory.events.local", "oom")
    return _count(_text(f"{folder}/memory.failcnt"))


def _number(path: str, name: str) -> int:
    for line in _text(path).split("\n"):
        key, _, value = line.partition(" ")
        if key == name:
            return _count(value)
    return 0


def _count(text: str) -> int:
    """0 for what is none. ``int`` does not strip all that ``strip`` does."""
    number = text.strip()
    return int(number) if number.isdecimal() and len(number) <= _DIGITS else 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as f:
            return f.read(65536)
    except OSError:
        return ""
