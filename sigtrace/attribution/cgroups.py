"""cgroup id → path: one walk at the start, the kernel's mkdir and rmdir events after it, a bounded walk on a miss.

The id is the inode number of the cgroup's directory (kernfs_node.id, v1 and v2).
"""

from __future__ import annotations

import os
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, Protocol

from sigtrace.attribution.paths import container_around, parse
from sigtrace.model.text import printable

#: Paths of removed cgroups are remembered for events that are still to come; this many, some 650 bytes each: a minute
#: of 2,000 that come and go, and what comes late is a second late.
_REMEMBERED: Final = 2048
#: And for an agent that comes after us this many: their last events may not have been told yet.
_LEFT: Final = 256
#: Directories a walk looks at, and paths that are kept, at most.
_WALK_MAX: Final = 200_000
#: Characters of a path; what lies deeper goes by the path of what is above it. Whoever may make cgroups can nest them
#: without end, and the paths of a thousand levels have a thousand times a thousand names.
_PATH_MAX: Final = 1_024
#: A miss walks the tree again, but not more often than this,
_WALK_INTERVAL_NS: Final = 1_000_000_000
#: and for the same id not before so long.
_MISS_NS: Final = 60_000_000_000
_LIMIT_NS: Final = 10_000_000_000
#: Cgroups named for one container of which one is believed, the oldest; this many are looked at.
_NAMESAKES: Final = 8


class Places(Protocol):
    """cgroup id → path, kept for an agent that comes after us."""

    def add(self, cgroup: int, path: str) -> None:
        """It was made there, or found."""

    def discard(self, cgroup: int) -> None:
        """It is forgotten here, too."""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """All."""


class Cgroups:
    """The tree of one hierarchy."""

    def __init__(self, mount: str) -> None:
        """``mount``: where the hierarchy is mounted."""
        self._mount = mount
        self._paths: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._deep: set[int] = set()
        """those that have no path of their own, and go by what is above them"""
        self._gone: OrderedDict[int, None] = OrderedDict()
        self._missed: OrderedDict[int, int] = OrderedDict()
        self._walked_ns = -_WALK_INTERVAL_NS
        self.since_ns = 0
        """of the first walk (CLOCK_BOOTTIME): what was made before, and it did not find, is gone"""
        self._limits: dict[str, tuple[int | None, int]] = {}
        self._places: Places | None = None
        self._before: dict[int, str] = {}
        """what was known, while a walk is under way"""
        self._namesakes: dict[str, list[int]] = {}
        """container id → the cgroups named for it, the oldest first"""
        self._left: deque[int] = deque()
        """removed ones whose paths are still kept for who comes after us"""

    def keep(self, places: Places | None) -> None:
        """Paths that an agent before us kept are known again; and ours are kept for the next one."""
        for cgroup, path in places or ():
            self._ids.setdefault(self._paths.setdefault(cgroup, printable(path)), cgroup)
        self._places = places

    def walk(self, now_ns: int) -> None:
        """Learn every cgroup that exists; those that do not are remembered for a while."""
        self._walked_ns = now_ns
        before, before_ids, self._paths, self._ids = self._paths, self._ids, {}, {}
        self._before = before
        todo: deque[tuple[str, str | None]] = deque([("", None)])
        """where to look, and what it goes by if that is too long"""
        for _ in range(_WALK_MAX):
            if not todo:
                break
            path, above = todo.popleft()
            try:
                with os.scandir(os.fsencode(self._mount + path)) as entries:
                    if not path:
                        self._learn(os.stat(self._mount).st_ino, "/")
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            below = f"{path}/{os.fsdecode(entry.name)}"
                            shown = printable(os.fsencode(below))
                            if above is None and len(shown) <= _PATH_MAX:
                                self._learn(entry.inode(), shown)
                                todo.append((below, None))
                            else:
                                known = above or printable(os.fsencode(path)) or "/"
                                self._learn_below(entry.inode(), known)
                                todo.append((below, known))
            except OSError:
                continue  # removed meanwhile
        if not todo:
            self.since_ns = self.since_ns or now_ns
        self._before = {}
        for cgroup in before.keys() - self._paths.keys():
            path = self._paths[cgroup] = before[cgroup]
            if before_ids.get(path) == cgroup:
                self._ids.setdefault(path, cgroup)
            if cgroup not in self._gone:
                self.removed(cgroup)

    def _learn_below(self, cgroup: int, above: str) -> None:
        """It has no path of its own."""
        self._deep.add(cgroup)
        self._gone.pop(cgroup, None)
        self._missed.pop(cgroup, None)
        self._paths[cgroup] = above

    def _learn(self, cgroup: int, path: str) -> None:
        self._deep.discard(cgroup)
        self._gone.pop(cgroup, None)
        self._missed.pop(cgroup, None)
        if self._places is not None and path not in (self._paths.get(cgroup), self._before.get(cgroup)):
            self._places.add(cgroup, path)
        self._paths[cgroup] = path
        self._ids[path] = cgroup
        container = parse(path)
        if container.container_id and container.container_path == path:
            namesakes = self._namesakes.setdefault(container.container_id, [])
            if cgroup not in namesakes:
                insort(namesakes, cgroup)
                del namesakes[_NAMESAKES:]

    def place_of(self, container_id: str) -> str | None:
        """The path of the container's own cgroup; None if there is none.

        A user with a delegated cgroup can name one for any container, but not before it has its id, which is random:
        it is the oldest that is remembered. The numbers of cgroups rise (kernfs_node.id: fs/kernfs/dir.c); a container
        that is started again has its path again.
        """
        namesakes = self._namesakes.get(container_id)
        return self._paths.get(namesakes[0]) if namesakes else None

    def _forget(self, cgroup: int) -> None:
        path = self._paths.pop(cgroup, "")
        self._deep.discard(cgroup)
        if self._ids.get(path) == cgroup:
            del self._ids[path]
        container_id = parse(path).container_id or ""
        namesakes = self._namesakes.get(container_id, [])
        if cgroup in namesakes:
            namesakes.remove(cgroup)
        if not namesakes:
            self._namesakes.pop(container_id, None)

    def made(self, cgroup: int, parent: int, name: str, now_ns: int) -> None:
        """A mkdir event of ``now_ns``. A parent that is unknown leaves the path to the next walk.

        An agent before us may have read it, and that it was removed: of that we are told nothing any more.
        """
        gone = now_ns < self.since_ns and (cgroup in self._gone or cgroup not in self._paths)
        self._learn_new(cgroup, parent, name)
        if gone:
            self.removed(cgroup)

    def _learn_new(self, cgroup: int, parent: int, name: str) -> None:
        above = self._paths.get(parent)
        if above is None or len(self._paths) >= _WALK_MAX:
            return
        path = f"{above.rstrip('/')}/{name}"
        if len(path) <= _PATH_MAX and parent not in self._deep:
            self._learn(cgroup, path)
        else:
            self._learn_below(cgroup, above)

    def removed(self, cgroup: int) -> None:
        """A rmdir event: the path is kept for a while."""
        self._gone[cgroup] = None
        if self._places is not None:
            self._left.append(cgroup)
            if len(self._left) > _LEFT:
                self._places.discard(self._left.popleft())
        if len(self._gone) > _REMEMBERED:
            self._forget(self._gone.popitem(last=False)[0])

    def is_gone(self, cgroup: int) -> bool:
        """Whether it was removed, and its path is remembered."""
        return cgroup in self._gone

    def gone(self) -> list[str]:
        """The paths of those that are not there any more, as far as they are remembered."""
        return [self._paths[cgroup] for cgroup in self._gone if cgroup in self._paths]

    def path(self, cgroup: int, now_ns: int) -> str | None:
        """Its path from the hierarchy's root; None if it is not known, then also not after a walk."""
        path = self._paths.get(cgroup)
        if path is not None or not cgroup or now_ns - self._walked_ns < _WALK_INTERVAL_NS:
            return path
        if now_ns - self._missed.get(cgroup, -_MISS_NS) < _MISS_NS:
            return None
        self.walk(now_ns)
        path = self._paths.get(cgroup)
        if path is None:
            self._missed[cgroup] = now_ns
            if len(self._missed) > _REMEMBERED:
                self._missed.popitem(last=False)
        return path

    def owners(self) -> Iterator[tuple[int, int, bool]]:
        """(cgroup, the container's own cgroup that it lies below, else itself; whether a user made it, not root)."""
        for cgroup, path in self._paths.items():
            owner = self._ids.get(container_around(path) or path, cgroup)
            yield cgroup, owner, owner == cgroup and self._is_users(path)

    def _is_users(self, path: str) -> bool:
        try:
            return os.stat(os.fsencode(self._mount + path)).st_uid != 0
        except OSError:
            return False  # gone, or its name has characters that no path here keeps

    def own_path(self, cgroup: int) -> str | None:
        """Its path if that is its own, and it does not go by what is above it."""
        path = self._paths.get(cgroup)
        return path if path is not None and self._ids.get(path) == cgroup else None

    def id_of(self, path: str) -> int | None:
        """The cgroup that has, or had last, this path."""
        return self._ids.get(path)

    def pids_max(self, path: str, now_ns: int) -> int | None:
        """How many processes a cgroup may have, asked again after 10 s; None: no limit, or not in this hierarchy."""
        value, at_ns = self._limits.get(path, (None, -_LIMIT_NS))
        if now_ns - at_ns < _LIMIT_NS:
            return value
        try:
            with open(f"{self._mount}{path}/pids.max", encoding="ascii") as f:
                value = int(f.read(32))
        except (OSError, ValueError):  # "max"
            value = None
        if len(self._limits) >= _REMEMBERED:
            self._limits.clear()
        self._limits[path] = (value, now_ns)
        return value

    def __len__(self) -> int:
        return len(self._paths)
