"""Says in the agent's log who names containers, and who has ceased to: nobody would know from the verdicts."""

from __future__ import annotations

from collections.abc import Iterable

from sigtrace.attribution.runtimes.base import SocketState, SocketStatus
from sigtrace.service.log import Log


class Naming:
    """What became of the runtimes' sockets and of the questions to them, a line for each change."""

    def __init__(self, log: Log) -> None:
        """Nothing is said before the first ``look``."""
        self._log = log
        self._told: dict[str, SocketState] | None = None
        """by path"""
        self._dropped = 0

    def look(self, sockets: Iterable[SocketStatus], dropped: int) -> None:
        """Say what has changed since the last look. ``dropped``: questions for names so far that were not asked."""
        sockets = list(sockets)
        if self._told is None:
            self._told = {}
            if not sockets:
                self._log("no runtime's socket found: containers go by ids")
        for status in sockets:
            answers = status.state is SocketState.CONNECTED
            if status.state in (SocketState.WAITING, self._told.get(status.path)) or (answers and not status.listed):
                continue
            self._told[status.path] = status.state
            if answers:
                self._log("containers are named", by=status.runtime, socket=status.path)
            else:
                self._log.warning(f"{status.path}: {status.error}; whom it alone can name goes by an id")
        if dropped > self._dropped:
            self._log.warning(
                f"{dropped - self._dropped:,} questions for containers' names were not asked: too many waited already"
            )
            self._dropped = dropped
