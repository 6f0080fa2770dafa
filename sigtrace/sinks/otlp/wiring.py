"""Spans and metrics to one collector, together."""

from __future__ import annotations

from collections.abc import Callable

from sigtrace.model.metrics import Collected
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp.metrics import MetricMessages, Request, export_items
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import Otlp


class Pushed:
    """What the exporter asks for metrics at each interval."""

    def __init__(
        self,
        otlp: Otlp,
        metrics: Metrics,
        settings: OtlpSettings,
        node: str,
        *,
        collect: Callable[[], tuple[Collected, int]] | None = None,
        left: Callable[[int], None] = lambda _: None,
        before: Pushed | None = None,
    ) -> None:
        """``collect``: in place of the metrics' own, with a number; ``left``: is given it once the collector has them.

        ``before``: whose place this takes: deltas go on where its ended.
        """
        self._collect = collect or (lambda: (metrics.collect(), 0))
        self._left = left
        self._number = 0
        self._messages = MetricMessages(self._collected, settings, node)
        if before:
            self._messages.continue_from(before._messages)  # noqa: SLF001 -- another of its kind
        otlp.exporter.collect_metrics(self)
        metrics.export_items = lambda: export_items(otlp.exporter.ledger)

    def _collected(self) -> Collected:
        collected, self._number = self._collect()
        return collected

    def __call__(self) -> Request | None:
        """A request, its points, and what is to be told whether they were taken; None if there is nothing new."""
        found = self._messages()
        if found is None:
            return None
        request, points, done = found
        number = self._number

        def taken(accepted: bool) -> None:
            done(accepted)
            if accepted:
                self._left(number)

        return request, points, taken
