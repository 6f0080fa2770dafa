"""What sends to the collector that an agent is given, now or by a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigtrace.agent.handover import Handover
from sigtrace.service.log import Log
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp.settings import OtlpSettings

if TYPE_CHECKING:
    from sigtrace.sinks.otlp.sink import Otlp
    from sigtrace.sinks.otlp.wiring import Pushed


class Exporters:
    """One after the other; what was replaced its owner closes."""

    def __init__(self, handover: Handover, metrics: Metrics, boot_id: str, node: str, log: Log) -> None:
        self._handover = handover
        self._metrics = metrics
        self._boot_id = boot_id
        self._node = node
        self._log = log
        self._pushed: Pushed | None = None

    def make(self, settings: OtlpSettings | None) -> tuple[Otlp, ...]:
        """For these settings; none without a collector. Raises UsageError as Otlp does."""
        if settings is None:
            return ()
        from sigtrace.sinks.otlp.sink import Otlp
        from sigtrace.sinks.otlp.wiring import Pushed

        otlp = Otlp(settings, self._boot_id, self._node, tell=self._log.warning, settled=self._handover.sent)
        counted = self._handover.counted
        self._pushed = Pushed(
            otlp,
            self._metrics,
            settings,
            self._node,
            collect=counted.collect,
            left=counted.left,
            before=self._pushed,
        )
        return (otlp,)
