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

    def news(self, finding: Finding) -> int:
        """How many it tells of that no finding before it told."""
        container = finding.workload.cgroup_id if finding.workload else 0
        key: tuple[Any, ...] = (finding.code, container, finding.cause, finding.signo)
        if finding.code == "crash-masked":
            # Its window slides, so that the first time says nothing. A loop that goes on is told at ten times the
            # count or when it closes; a new one when it is recognised, long before that.
            comm = finding.subject.comm if finding.subject else ""
            key = (*key[:3], finding.parent.key if finding.parent else None, comm)
            told = self._told.get(key, 0)
            same = finding.closing or finding.count >= 10 * told
        else:
            init = finding.subject.key if finding.subject and finding.code == "signal-dropped" else None
            key = (*key, init, finding.first_ns or finding.first_wall_ns)
            told, same = self._told.get(key, 0), True
        if finding.closing:
            self._told.pop(key, None)
        else:
            self._told[key] = finding.count
            self._told.move_to_end(key)
            if len(self._told) > _OPEN_MAX:
                self._told.popitem(last=False)
        return max(0, finding.count - told) if same else finding.count
