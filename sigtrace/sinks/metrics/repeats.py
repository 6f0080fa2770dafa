"""How much a folded finding adds: its count is that of all repeats so far."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Final

from sigtrace.model.finding import Finding

_OPEN_MAX: Final = 20_000
#: The last word on a container that is gone comes a minute after the last event of its folds (detectors.fold).
_GONE_NS: Final = 120_000_000_000

_Key = tuple[Any, ...]


class Repeats:
    """Knows what each fold has told."""

    def __init__(self) -> None:
        self._told: OrderedDict[_Key, int] = OrderedDict()
        self._of: dict[int, set[_Key]] = {}
        """the keys of each container"""
        self._known: set[_Key] = set()
        """keys of crash loops that an agent before us told of last"""
        self._gone: deque[tuple[int, int]] = deque()
        """containers whose cgroups were removed, and when"""

    def known(self, finding: Finding, *, again: bool = False) -> None:
        """An agent before us counted it: what a fold adds to it is news. Its last word was none, for it only left.

        ``again``: what it told later may be known already.
        """
        key = _key_of(finding)
        self._keep(key, max(finding.count, self._told.get(key, 0)) if again else finding.count)
        if finding.code == "crash-masked":
            self._known.add(key)

    def news(self, finding: Finding) -> int:
        """How many it tells of that no finding before it told."""
        key = _key_of(finding)
        told, same = self._told.get(key, 0), True
        if finding.code == "crash-masked":
            # A loop that goes on is told at ten times the count or when it closes; a new one when it is recognised,
            # long before that. What an agent before us told last was any count: it had to leave.
            enough = told + 1 if key in self._known else 10 * told
            same = finding.closing or finding.count >= enough
            self._known.discard(key)
        if finding.closing:
            self._drop(key)
        else:
            self._keep(key, finding.count)
        return max(0, finding.count - told) if same else finding.count

    def gone(self, container: int, now_ns: int) -> None:
        """Its own cgroup was removed (CLOCK_BOOTTIME ns)."""
        self._gone.append((now_ns, container))

    def expire(self, now_ns: int) -> None:
        """Forgets the folds of containers that are gone for so long that nothing more is told of them."""
        while self._gone and (self._gone[0][0] + _GONE_NS < now_ns or len(self._gone) > _OPEN_MAX):
            for key in list(self._of.get(self._gone.popleft()[1], ())):
                self._drop(key)

    def _keep(self, key: _Key, count: int) -> None:
        self._told[key] = count
        self._told.move_to_end(key)
        self._of.setdefault(key[0], set()).add(key)
        if len(self._told) > _OPEN_MAX:
            self._drop(next(iter(self._told)))

    def _drop(self, key: _Key) -> None:
        self._told.pop(key, None)
        self._known.discard(key)
        if keys := self._of.get(key[0]):
            keys.discard(key)
            if not keys:
                del self._of[key[0]]


def _key_of(finding: Finding) -> _Key:
    """Of the fold that it is of, its container first."""
    container = finding.workload.cgroup_id if finding.workload else 0
    key: _Key = (container, finding.code, finding.cause)
    if finding.code == "crash-masked":  # its window slides, so that the first time says nothing
        return (*key, finding.parent.key if finding.parent else None, finding.subject.comm if finding.subject else "")
    init = finding.subject.key if finding.subject and finding.code == "signal-dropped" else None
    return (*key, finding.signo, init, finding.first_ns or finding.first_wall_ns)
