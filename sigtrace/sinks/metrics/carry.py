"""The last totals of containers that are forgotten while another of the same names is there, or was until now.

A scraper knows containers by their names. Were the totals of one that is forgotten taken away from its successor's,
that would look like a counter that was reset, and the rest would be counted again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sigtrace.model.metrics import Carried, Identity, identity_of
from sigtrace.sinks.metrics.totals import Totals
from sigtrace.sinks.metrics.tracked import Tracked


class Carry:
    """By the names of a container."""

    def __init__(self) -> None:
        self._totals: dict[Identity, Totals] = {}

    def add(self, forgotten: Iterable[Tracked]) -> None:
        """Containers that are collected no more."""
        for one in forgotten:
            if one.workload:
                identity = identity_of(one.workload)
                self._totals[identity] = self._totals.get(identity, Totals()) + one.given

    def keep(self, there: Collection[Identity]) -> None:
        """Only of these somebody is still there."""
        self._totals = {identity: totals for identity, totals in self._totals.items() if identity in there}

    def carried(self) -> tuple[Carried, ...]:
        """As points; since when they count is no longer known."""
        return tuple([Carried(identity, totals.families(0)) for identity, totals in self._totals.items()])
