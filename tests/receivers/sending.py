"""Shared by the tests with receivers: shutdowns to send, and an exporter that is closed whatever happens."""

import contextlib
import dataclasses

from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.sink import Otlp
from tests.unit.detectors.events import Container, S, story
from tests.unit.detectors.lives import whole

BOOT, NODE = "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "node-1"


class Sender:
    """An Otlp sink, and what it told."""

    def __init__(self, url, *, environ=None, **given):
        quick = {"OTEL_BSP_SCHEDULE_DELAY": "10", **(environ or {})}
        settings = OtlpSettings.from_environment(url, environ=quick, **given)
        self.lines = []
        self.sink = Otlp(dataclasses.replace(settings, backoff_s=0.02), BOOT, NODE, tell=self.lines.append)
        shutdown, findings = story(whole("dropped", Container(1), S))
        self._shutdown, self._findings = shutdown, findings

    def stop_one(self, n=0):
        """A shutdown of three spans, of container number n."""
        box = dataclasses.replace(self._shutdown.workload, container_id=f"{n:064x}", container_name=f"box-{n}")
        for finding in self._findings:
            self.sink.verdict(dataclasses.replace(finding, workload=box))
        self.sink.verdict(dataclasses.replace(self._shutdown, workload=box))

    @property
    def tally(self):
        return self.sink.exporter.ledger()["spans"]

    def adds_up(self):
        for tally in self.sink.exporter.ledger().values():
            assert tally.made == tally.exported + tally.lost + tally.waiting
        return True


@contextlib.contextmanager
def sending(url, **given):
    sender = Sender(url, **given)
    try:
        yield sender
    finally:
        sender.sink.close(0)
