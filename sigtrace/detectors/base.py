"""What a detector is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation


class Detector(Protocol):
    """One rule. Observations come in time order; no clock and no IO in here."""

    def feed(self, observation: Observation) -> Iterable[Verdict]:
        """Take in one observation."""

    def tick(self, now_ns: int) -> Iterable[Verdict]:
        """Time has come to ``now_ns`` (CLOCK_BOOTTIME): everything that is older has been fed."""

    def deadline(self) -> int | None:
        """When it wants the next tick (CLOCK_BOOTTIME ns); None: it waits for nothing."""
