"""How much a folded finding adds: its count is that of all repeats so far."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from sigtrace.model.finding import Finding

_OPEN_MAX: Final = 20_000


class Repeats:
    """Knows what each fold has told."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._known: set[tuple[Any, ...]] = set()
        """keys of crash loops that an agent before us told of last"""

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
            self._told.pop(key, None)
        else:
            self._keep(key, finding.count)
        return max(0, finding.count - told) if same else finding.count

    def _keep(self, key: tuple[Any, ...], count: int) -> None:
        self._told[key] = count
        self._told.move_to_end(key)
        if len(self._told) > _OPEN_MAX:
            self._known.discard(self._told.popitem(last=False)[0])


def _key_of(finding: Finding) -> tuple[Any, ...]:
    """Of the fold that it is of."""
    container = finding.workload.cgroup_id if finding.workload else 0
    key: tuple[Any, ...] = (finding.code, container, finding.cause)
    if finding.code == "crash-masked":  # its window slides, so that the first time says nothing
        return (*key, finding.parent.key if finding.parent else None, finding.subject.comm if finding.subject else "")
    init = finding.subject.key if finding.subject and finding.code == "signal-dropped" else None
    return (*key, finding.signo, init, finding.first_ns or finding.first_wall_ns)
