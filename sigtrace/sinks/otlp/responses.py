"""The messages in a collector's answers. What can't be read says nothing: a status alone decides then."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from sigtrace.sinks.otlp.endpoint import Signal


def partial_success(raw: bytes, signal: Signal) -> tuple[int, str]:
    """(how many it rejected, why) of an answer that accepts."""
    if not raw:
        return 0, ""
    try:
        if signal is Signal.TRACES:
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

            traces = ExportTraceServiceResponse.FromString(raw).partial_success
            return max(traces.rejected_spans, 0), traces.error_message
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

        metrics = ExportMetricsServiceResponse.FromString(raw).partial_success
        return max(metrics.rejected_data_points, 0), metrics.error_message
    except DecodeError:
        return 0, ""


def message_of(raw: bytes) -> str:
    """Of a google.rpc.Status (google/rpc/status.proto), which comes with what is refused."""
    for number, value in _fields(raw):
        if number == 2 and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
    return ""


def retry_delay(raw: bytes) -> float | None:
    """Seconds, of the RetryInfo among a google.rpc.Status's details (google/rpc/error_details.proto)."""
    for number, detail in _fields(raw):
        found = dict(_fields(detail)) if number == 3 and isinstance(detail, bytes) else {}
        url, info = found.get(1), found.get(2)
        if isinstance(url, bytes) and url.endswith(b"/google.rpc.RetryInfo") and isinstance(info, bytes):
            delay = dict(_fields(info)).get(1, b"")
            parts = dict(_fields(delay)) if isinstance(delay, bytes) else {}
            seconds, ns = parts.get(1, 0), parts.get(2, 0)
            return seconds + ns / 1e9 if isinstance(seconds, int) and isinstance(ns, int) else None
    return None


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a message, by hand: these few are not worth a package. It ends where it makes no sense."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        value, at = _varint(raw, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and at + value <= len(raw):
            yield tag >> 3, raw[at : at + value]
            at += value
        else:
            return


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends)."""
    value = shift = 0
    while at < len(raw) and shift < 64:
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not raw[at - 1] & 0x80:
            break
    return value, at
