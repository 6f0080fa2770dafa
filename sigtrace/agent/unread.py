"""What happened while nobody read the pinned rings, and found no room in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation
from sigtrace.service.protocol import Gap

#: With its first step the source tells what was lost before it, and again a second later at the earliest.
_FIRST_NS: Final = 900_000_000


class Unread:
    """A :class:`sigtrace.sinks.base.Sink` that tells of that, once, with its time."""

    def __init__(self, tell: Callable[[Gap], None]) -> None:
        """``tell``: takes the time, with how many events were lost in it."""
        self._tell = tell
        self._since_ns = 0
        self._first_ns = 0

    def since(self, resumed_ns: int, now_ns: int) -> None:
        """Up to ``resumed_ns`` (CLOCK_BOOTTIME) everything was read, and from ``now_ns`` on; 0: nothing was pinned."""
        self._since_ns, self._first_ns = resumed_ns, now_ns + _FIRST_NS

    def observation(self, observation: Observation) -> None:
        """The losses of the first step."""
        event = observation.event
        if not self._since_ns or event.kind is not Kind.LOST:
            return
        late = event.time_ns > self._first_ns
        if event.loss is Loss.RING_FULL and not late:
            self._tell(self._gap(event))
        if event.loss is Loss.RING_FULL or late:
            self._since_ns = 0

    def _gap(self, event: Event) -> Gap:
        return Gap(event.wall_ns - max(event.time_ns - self._since_ns, 0), event.wall_ns, event.count)

    def verdict(self, verdict: Verdict) -> None:
        """Nothing."""

    def pass_time(self, now_ns: int) -> None:
        """Nothing."""

    def take_dropped(self) -> int:
        """Nothing."""
        return 0

    def close(self) -> None:
        """Nothing."""
