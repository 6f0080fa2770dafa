"""Spans and metrics of a capture, or spans of a replay, to a collector."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from sigtrace.capture import Capture, tell
from sigtrace.errors import UsageError
from sigtrace.sinks.base import Sink
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import Otlp
from sigtrace.sinks.otlp.wiring import Pushed

#: A replay that is ahead of its collector looks so often whether there is room again, and believes after so long that
#: there will be none.
_PAUSE_S: Final = 0.01
_HOPELESS_S: Final = 30.0


class Export:
    """What the user asked to export. ``given``: arguments of OtlpSettings.from_environment."""

    def __init__(self, given: Mapping[str, Any], boot_id: str, node: str) -> None:
        """``boot_id``, ``node``: of the boot and host that are watched or were recorded. Raises UsageError."""
        settings = OtlpSettings.from_environment(**given)
        if settings is None:
            raise UsageError(
                f"nothing would be exported to {given['endpoint']}: OTEL_SDK_DISABLED, or the exporters are none",
                next_step="unset OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER",
            )
        self._settings = settings
        self._node = node
        self._metrics = Metrics()
        self._otlp = Otlp(settings, boot_id, node, tell=tell)

    def sinks(self, capture: Capture | None = None) -> list[Sink]:
        """In the order in which they are to be closed. Without a capture, spans alone: a replay's metrics are old."""
        if capture is None:
            return [self._otlp]
        self._metrics.attach(counts=capture.counts, workload_of=capture.workload_of, given=capture.given_back)
        capture.feed.overflows.append(self._metrics.take_overflow)
        Pushed(self._otlp, self._metrics, self._settings, self._node)
        return [self._metrics, self._otlp]

    def wait_for_room(self) -> None:
        """Until half of the queue is free; not for ever, if the collector takes nothing."""
        end = time.monotonic() + _HOPELESS_S
        before = None
        while (spans := self._otlp.exporter.ledger().get("spans")) and spans.waiting * 2 > self._settings.queue:
            if spans.exported != before:
                before, end = spans.exported, time.monotonic() + _HOPELESS_S
            if time.monotonic() > end:
                return
            time.sleep(_PAUSE_S)
