"""Spans and metrics to their collectors, each with a thread and a ledger of its own. Whoever gives never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sigtrace.sinks.otlp.answers import Client
from sigtrace.sinks.otlp.delivery import Delivery, Ending, Tell
from sigtrace.sinks.otlp.endpoint import Endpoint, Protocol, Signal
from sigtrace.sinks.otlp.ledger import Ledger, Tally
from sigtrace.sinks.otlp.queues import Collect, MetricsSlot, Points, Settled, SpanQueue
from sigtrace.sinks.otlp.settings import OtlpSettings

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Names of the ledgers: the attribute export.type of the metric sigtrace.export.items.
SPANS: Final = "spans"
DATA_POINTS: Final = "data_points"
#: A thread that has nothing more to do leaves within this; one that hangs in a system call is left behind.
_LEAVE_S: Final = 0.2


def client_for(endpoint: Endpoint, signal: Signal) -> Client:
    """Connects to nobody yet. Raises UsageError: a certificate that is none, no grpcio."""
    if endpoint.protocol is Protocol.GRPC:
        from sigtrace.sinks.otlp.grpc_client import GrpcClient

        return GrpcClient(endpoint, signal)
    from sigtrace.sinks.otlp.http_client import HttpClient

    return HttpClient(endpoint, signal)


class Exporter:
    """Its methods may be called from any thread."""

    def __init__(self, settings: OtlpSettings, *, tell: Tell) -> None:
        """``tell``: takes a line for a person, from any thread. Raises UsageError as :func:`client_for`."""
        self._settings = settings
        self._ending = Ending()
        self._clients: list[Client] = []
        self._deliveries: list[Delivery] = []
        self._ledgers: dict[str, Ledger] = {}
        self._spans: SpanQueue | None = None
        self._metrics: MetricsSlot | None = None
        self._farewell: str | None = None
        self._closed = False
        ends = (settings.traces, settings.metrics)
        for why in settings.ignored:
            tell(f"OTLP: {why}; it is ignored")
        clients = [client_for(e, s) if e else None for e, s in zip(ends, Signal, strict=True)]  # all, before any thread
        if settings.traces and clients[0]:
            ledger = self._ledgers[SPANS] = Ledger(settings.queue)
            delivery = self._delivery(clients[0], settings.traces, ledger, "spans", tell)
            self._spans = SpanQueue(
                delivery, ledger, self._ending, tell, batch=settings.batch, delay_s=settings.delay_s
            )
        if settings.metrics and clients[1]:
            ledger = self._ledgers[DATA_POINTS] = Ledger()
            delivery = self._delivery(clients[1], settings.metrics, ledger, "data points", tell)
            self._metrics = MetricsSlot(delivery, ledger, self._ending, tell, settings.metric_interval_s)

    def _delivery(self, client: Client, endpoint: Endpoint, ledger: Ledger, unit: str, tell: Tell) -> Delivery:
        delivery = Delivery(client, endpoint, ledger, unit, self._ending, tell, self._settings.backoff_s)
        self._clients.append(client)
        self._deliveries.append(delivery)
        return delivery

    def put_spans(self, count: int, build: Callable[[], bytes], settled: Settled | None = None) -> bool:
        """``build`` makes the part of a request (queues.part_of_request) that holds ``count`` spans. False: dropped.

        ``settled``: see queues.SpanQueue.put.
        """
        return self._spans.put(count, build, settled) if self._spans else False

    def export_metrics(self, request: Message | bytes, points: int, done: Callable[[bool], None] | None = None) -> None:
        """In the place of metrics that still wait. ``done``: called once, with whether the collector accepted it."""
        if self._metrics:
            self._metrics.put(Points(request, points, done))
        elif done:
            done(False)  # noqa: FBT003

    def collect_metrics(self, collect: Collect) -> None:
        """Asks for metrics at each interval and once at the end: (request, points, done), or None for none."""
        if self._metrics:
            self._metrics.collect_from(collect)

    @property
    def exports_metrics(self) -> bool:
        """Whether there is an endpoint for them."""
        return self._metrics is not None

    def ledger(self) -> dict[str, Tally]:
        """By export.type; only what is exported at all."""
        return {name: ledger.tally() for name, ledger in self._ledgers.items()}

    def close(self, deadline_s: float | None = None) -> str | None:
        """Sends what it still has, within the deadline (s; OtlpSettings.flush_s). Returns what to tell of losses."""
        if self._closed:
            return self._farewell
        self._closed = True
        deadline_s = self._settings.flush_s if deadline_s is None else deadline_s
        before = {name: ledger.tally().lost for name, ledger in self._ledgers.items()}
        until = time.monotonic() + deadline_s
        self._ending.ask(deadline_s)
        workers = [worker for worker in (self._spans, self._metrics) if worker]
        for worker in workers:
            worker.wake()
        for worker in workers:
            worker.thread.join(max(until - time.monotonic(), 0.0))
        self._ending.finish()
        for ledger in self._ledgers.values():
            ledger.close()
        for client in self._clients:
            client.abort()
        for worker in workers:
            worker.thread.join(_LEAVE_S)
        self._farewell = self._last_words(before, deadline_s)
        return self._farewell

    def _last_words(self, before: dict[str, int], deadline_s: float) -> str | None:
        tallies = self.ledger()
        late = [_amount(tallies[name].lost - lost, name) for name, lost in before.items() if tallies[name].lost > lost]
        early = [_amount(lost, name) for name, lost in before.items() if lost]
        why = next((delivery.why for delivery in self._deliveries if delivery.why), "")
        parts = []
        if late:
            parts.append(
                f"{' and '.join(late)} could not be sent within {deadline_s:g} s" + (f": {why}" if why else "")
            )
        if early:
            parts.append(
                f"{' and '.join(early)} had been dropped before that" if late else f"{' and '.join(early)} were dropped"
            )
        return "; ".join(parts) or None


def _amount(count: int, name: str) -> str:
    return f"{count:,} {name.replace('_', ' ')}"
