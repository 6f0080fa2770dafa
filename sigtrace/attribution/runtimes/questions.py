"""Which container to ask about next, and when again. No clock: times are monotonic seconds. One thread's."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass
from typing import Final

#: A container's cgroup appears before its runtime answers for it: asked again after so many seconds, 2.6 s in all.
AGAIN_S: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
#: So often one question may get no answer before it is dropped, and how long it waits after that, seconds.
BREAKS_MAX: Final = 3
_AFTER_BREAK_S: Final = 0.2
#: Questions that wait, at most.
MAX: Final = 4_096


@dataclass(slots=True)
class _Question:
    due: float | None
    """None: it is being asked"""
    tries: int = 0
    breaks: int = 0
    anew: bool = False
    """wanted again while it was being asked"""


class Questions:
    """What waits, what is due, what is being asked."""

    def __init__(self) -> None:
        self._questions: dict[str, _Question] = {}
        self._order: list[tuple[float, int, str]] = []
        self._count = itertools.count()
        self._later: deque[str] = deque()
        """not urgent: when nothing else is due"""

    def __len__(self) -> int:
        return len(self._questions) + len(self._later)

    def add(self, container_id: str, now: float, *, urgent: bool = True) -> bool:
        """Ask at once, and begin to count anew; False: there are too many."""
        question = self._questions.get(container_id)
        if question is not None:
            if question.due is None:
                question.anew = True
            elif urgent and question.due > now:
                self._plan(container_id, _Question(now))
            elif urgent:  # due already, perhaps for hours: nobody takes it while the socket can't be connected
                question.tries = question.breaks = 0
            return True
        if len(self) >= MAX:
            return False
        if urgent:
            self._plan(container_id, _Question(now))
        else:
            self._later.append(container_id)
        return True

    def _plan(self, container_id: str, question: _Question) -> None:
        self._questions[container_id] = question
        if question.due is not None:
            heapq.heappush(self._order, (question.due, next(self._count), container_id))

    def wait(self, now: float, *, later: bool = True) -> float | None:
        """Seconds until one is due; None: none is. ``later``: those that are not urgent too."""
        if self._later and later:
            return 0.0
        return max(0.0, self._order[0][0] - now) if self._order else None

    def take(self, now: float, *, later: bool = True) -> str | None:
        """One that is due, which is then being asked. ``later``: as in wait."""
        while self._order and self._order[0][0] <= now:
            due, _, container_id = heapq.heappop(self._order)
            question = self._questions.get(container_id)
            if question and question.due == due:  # else it was planned anew, or is done
                question.due = None
                return container_id
        while self._later and later:
            container_id = self._later.popleft()
            if container_id not in self._questions:
                self._questions[container_id] = _Question(None)
                return container_id
        return None

    def answered(self, container_id: str, now: float, *, complete: bool) -> bool:
        """The runtime answered; ``complete``: all that one wants to know. True: that was the last time."""
        question = self._questions.pop(container_id)
        if question.anew:
            self._plan(container_id, _Question(now))
            return False
        if complete or question.tries >= len(AGAIN_S):
            return True
        self._plan(container_id, _Question(now + AGAIN_S[question.tries], question.tries + 1, question.breaks))
        return False

    def broken(self, container_id: str, now: float) -> bool:
        """No answer came. True: that was the last time."""
        question = self._questions.pop(container_id)
        breaks = question.breaks + 1
        if breaks >= BREAKS_MAX and not question.anew:
            return True
        self._plan(container_id, _Question(now + _AFTER_BREAK_S, question.tries, 0 if question.anew else breaks))
        return False
