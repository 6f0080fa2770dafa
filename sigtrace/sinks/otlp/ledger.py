"""What became of everything that was to be exported: made = exported + dropped + waiting, at any moment.

The SDK's processors drop at a full queue and at the end without a word, and their force_flush says that all is well
when all is lost; so the counting is ours.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why something was dropped."""

    QUEUE_FULL = "queue-full"
    REJECTED = "rejected"
    """the collector won't have it"""
    SUPERSEDED = "superseded"
    """newer metrics came while these still waited"""
    TOO_LARGE = "too-large"
    EXPIRED = "expired"
    """the collector put it off for too long"""
    CLOSED = "closed"
    """there was no time left at the end"""
    FAULTY = "faulty"
    """it could not be put into a message"""


@dataclass(frozen=True, slots=True)
class Tally:
    """The ledger at one moment, in spans or data points."""

    made: int = 0
    exported: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    """in the queue, or on its way"""
    retried: int = 0
    """sent again, each time counted"""

    @property
    def lost(self) -> int:
        """Dropped for any reason."""
        return sum(self.dropped.values())


class Ledger:
    """Of one signal. For any thread. What comes in after its end counts as dropped, and late answers change nothing."""

    def __init__(self, room: int | None = None) -> None:
        """``room``: so much may wait; None: anything."""
        self._lock = threading.Lock()
        self._room = room
        self._made = self._exported = self._waiting = self._retried = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False

    def take(self, count: int) -> bool:
        """So much was made; whether it may wait, else it is dropped."""
        with self._lock:
            self._made += count
            # What is larger than the whole queue may pass if there is nothing else.
            full = self._room is not None and self._waiting > 0 and self._waiting + count > self._room
            if self._closed or full:
                self._dropped[Reason.CLOSED if self._closed else Reason.QUEUE_FULL] += count
                return False
            self._waiting += count
            return True

    def exported(self, count: int, rejected: int = 0) -> None:
        """The collector has it, but for ``rejected``."""
        with self._lock:
            if not self._closed:
                rejected = min(max(rejected, 0), count)
                self._waiting -= count
                self._exported += count - rejected
                if rejected:
                    self._dropped[Reason.REJECTED] += rejected

    def dropped(self, count: int, reason: Reason) -> None:
        """It was waiting, and is given up."""
        with self._lock:
            if not self._closed:
                self._waiting -= count
                self._dropped[reason] += count

    def retried(self, count: int) -> None:
        """It is sent once more."""
        with self._lock:
            if not self._closed:
                self._retried += count

    def close(self) -> int:
        """What still waits is dropped; returns how much that was."""
        with self._lock:
            left, self._waiting = self._waiting, 0
            if left:
                self._dropped[Reason.CLOSED] += left
            self._closed = True
            return left

    def tally(self) -> Tally:
        """Of this moment."""
        with self._lock:
            return Tally(self._made, self._exported, dict(self._dropped), self._waiting, self._retried)
