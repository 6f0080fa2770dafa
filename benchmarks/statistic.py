# SPDX-License-Identifier: Apache-2.0
"""Medians, spreads and what they decide. Pure."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Median and range over the rounds."""

    median: float
    least: float
    most: float
    rounds: int

    @property
    def spread(self) -> float:
        """Distance between the extremes."""
        return self.most - self.least


def summarize(values: Iterable[float | None]) -> Summary | None:
    """Summary of the values that are known, or None."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Summary(statistics.median(known), min(known), max(known), len(known))


@dataclass(frozen=True)
class Target:
    """A bound for the median: at least or at most `bound`."""

    what: str
    bound: float
    at_least: bool

    def verdict(self, summary: Summary, rounds_needed: int = 7) -> str:
        """Met or missed, or undecided: too few rounds, or a spread beyond the median's distance to the bound."""
        met = summary.median >= self.bound if self.at_least else summary.median <= self.bound
        if summary.rounds < rounds_needed:
            return f"nothing decided by {summary.rounds} rounds (median {'meets' if met else 'misses'} it)"
        if summary.spread > abs(summary.median - self.bound):
            return f"not decided on this machine (median {'meets' if met else 'misses'} it)"
        return "met" if met else "missed"
