"""What waits for its collector: spans in a bounded queue, metrics in one slot. Whoever gives never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from sigtrace.sinks.otlp.delivery import REASONS, Delivery, End, Ending, Tell
from sigtrace.sinks.otlp.ledger import Ledger, Reason

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Bytes of a request, unless a single part has more. If nobody told them otherwise, collectors take 4 MiB over gRPC,
#: and proxies in front of them 1 MiB.
REQUEST_MAX: Final = 1 << 19
#: Of ExportTraceServiceRequest and ExportMetricsServiceRequest: both are nothing but a repeated field 1.
_FIELD_1: Final = b"\x0a"


def part_of_request(message: Message) -> bytes:
    """A ResourceSpans or a ResourceMetrics as it stands in a request: requests are such parts, one after the other."""
    raw = message.SerializeToString()
    length, rest = bytearray(), len(raw)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return _FIELD_1 + bytes(length) + raw


Settled = Callable[[], None]
"""the collector has it, or will never have it: nobody is to send it again"""


class _Part(NamedTuple):
    spans: int
    raw: bytes
    settled: Settled | None


class _Waiting(NamedTuple):
    since: float
    spans: int
    build: Callable[[], bytes]
    settled: Settled | None


class SpanQueue:
    """Spans of one telling stay together: a collector never has half of a trace."""

    def __init__(
        self, delivery: Delivery, ledger: Ledger, ending: Ending, tell: Tell, *, batch: int, delay_s: float
    ) -> None:
        """``batch``: spans of a request, but for its last telling; ``delay_s``: so long the first waits for others."""
        self._delivery = delivery
        self._ledger = ledger
        self._ending = ending
        self._tell = tell
        self._batch = batch
        self._delay_s = delay_s
        self._items: deque[_Waiting] = deque()
        self._spans = 0
        self._news = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="otlp-spans", daemon=True)
        self.thread.start()

    def put(self, count: int, build: Callable[[], bytes], settled: Settled | None = None) -> bool:
        """``build`` makes the part of a request, later and in another thread. False: no room, so they are dropped.

        ``settled``: called in that thread; never for what was dropped for want of room or time.
        """
        if not self._ledger.take(count):
            return False
        with self._news:
            self._items.append(_Waiting(time.monotonic(), count, build, settled))
            self._spans += count
            if len(self._items) == 1 or self._spans >= self._batch:
                self._news.notify()
        return True

    def wake(self) -> None:
        """We are asked to end."""
        with self._news:
            self._news.notify()

    def _run(self) -> None:
        while self._step():
            pass
        self._delivery.close()

    def _step(self) -> bool:
        """Whether there was something. A call of its own: who waits for the next batch does not hold the last one."""
        batch = self._next()
        for request in _requests(list(self._built(batch))):
            self._send(request)
        return bool(batch)

    def _next(self) -> list[_Waiting]:
        """Nothing: there is nothing more, and nothing more comes."""
        with self._news:
            self._news.wait_for(lambda: self._items or self._ending.asked)
            if not self._items:
                return []
            wait_s = self._items[0].since + self._delay_s - time.monotonic()
            self._news.wait_for(lambda: self._spans >= self._batch or self._ending.asked, max(wait_s, 0.0))
            batch = [self._items.popleft()]
            spans = batch[0].spans
            while self._items and spans + self._items[0].spans <= self._batch:
                batch.append(self._items.popleft())
                spans += batch[-1].spans
            self._spans -= spans
            return batch

    def _built(self, batch: list[_Waiting]) -> Iterator[_Part]:
        for item in batch:
            try:
                yield _Part(item.spans, item.build(), item.settled)
            except Exception as error:  # noqa: BLE001 - one verdict that can't be told must not end the others' export
                self._ledger.dropped(item.spans, Reason.FAULTY)
                self._tell(f"OTLP: {item.spans} spans could not be made: {type(error).__name__}")
                if item.settled:
                    item.settled()

    def _send(self, parts: list[_Part]) -> None:
        count = sum(part.spans for part in parts)
        end = self._delivery.deliver(b"".join(part.raw for part in parts), count)
        if end is End.TOO_LARGE and len(parts) > 1:
            half = len(parts) // 2
            self._send(parts[:half])
            self._send(parts[half:])
            return
        if end is not End.ACCEPTED:
            self._ledger.dropped(count, REASONS[end])
        if end not in (End.EXPIRED, End.CLOSED):
            for part in parts:
                if part.settled:
                    part.settled()


def _requests(parts: list[_Part]) -> Iterator[list[_Part]]:
    request: list[_Part] = []
    size = 0
    for part in parts:
        if request and size + len(part.raw) > REQUEST_MAX:
            yield request
            request, size = [], 0
        request.append(part)
        size += len(part.raw)
    if request:
        yield request


class Points(NamedTuple):
    """Metrics to send."""

    body: bytes | Message
    """an ExportMetricsServiceRequest"""
    points: int
    """how many are in it"""
    done: Callable[[bool], None] | None = None
    """called once, with whether the collector has accepted it: then a delta has left"""


Collect = Callable[[], "Points | tuple[bytes | Message, int, Callable[[bool], None] | None] | None"]


class MetricsSlot:
    """At most one request waits, the newest. Its thread asks for metrics at each interval, and once more at the end."""

    def __init__(self, delivery: Delivery, ledger: Ledger, ending: Ending, tell: Tell, interval_s: float) -> None:
        self._delivery = delivery
        self._ledger = ledger
        self._ending = ending
        self._tell = tell
        self._interval_s = interval_s
        self._slot: Points | None = None
        self._collect: Collect | None = None
        self._due = float("inf")
        self._news = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self.thread.start()

    def collect_from(self, collect: Collect) -> None:
        """Asks it at each interval from now on, from the thread here, and not while older metrics still wait."""
        with self._news:
            self._collect = collect
            self._due = time.monotonic() + self._interval_s
            self._news.notify()

    def put(self, points: Points) -> None:
        """In the place of what still waits."""
        taken = self._ledger.take(points.points)
        with self._news:
            before = self._slot
            if taken:
                self._slot = points
                self._news.notify()
        if taken and before is not None:
            self._ledger.dropped(before.points, Reason.SUPERSEDED)
        refused = before if taken else points
        if refused is not None and refused.done:
            refused.done(False)  # noqa: FBT003

    def wake(self) -> None:
        """We are asked to end."""
        with self._news:
            self._news.notify()

    def _run(self) -> None:
        while self._step():
            pass
        self._delivery.close()

    def _step(self) -> bool:
        """Whether there is to be another. A call of its own: megabytes are not held until the next interval."""
        with self._news:
            while not self._ready():  # what is due may change meanwhile
                self._news.wait(min(max(self._due - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
            last = self._ending.asked
            points, self._slot = self._slot, None
            collect = self._collect if last or time.monotonic() >= self._due else None
        if points:
            self._send(points)
        if collect and (collected := self._collected(collect)) and self._ledger.take(collected.points):
            self._send(collected)
        return not last

    def _ready(self) -> bool:
        return self._slot is not None or self._ending.asked or time.monotonic() >= self._due

    def _collected(self, collect: Collect) -> Points | None:
        now = time.monotonic()
        self._due += self._interval_s * max(1.0, (now - self._due) // self._interval_s + 1.0)
        try:
            found = collect()
        except Exception as error:  # noqa: BLE001 - what can't be counted now may be in a minute
            self._tell(f"OTLP: metrics could not be collected: {type(error).__name__}: {error}")
            return None
        if found is None:
            return None
        body, points, done = found
        # As a message it takes several times as much as on its way.
        return Points(body if isinstance(body, bytes) else body.SerializeToString(), points, done)

    def _send(self, points: Points) -> None:
        body = points.body if isinstance(points.body, bytes) else points.body.SerializeToString()
        end = self._delivery.deliver(body, points.points)
        if end is not End.ACCEPTED:
            self._ledger.dropped(points.points, REASONS[end])
        if points.done:
            points.done(end is End.ACCEPTED)
