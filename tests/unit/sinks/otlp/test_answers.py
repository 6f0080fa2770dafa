"""What a collector says, and how long it is left alone."""

from datetime import UTC, datetime

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sigtrace.sinks.otlp.answers import BACKOFF_MAX_S, PAUSE_MAX_S, Later, pause_s, retry_after, said
from sigtrace.sinks.otlp.endpoint import Signal
from sigtrace.sinks.otlp.responses import message_of, partial_success, retry_delay

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("1e9", PAUSE_MAX_S),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sat, 21 Nov 2026 12:00:09 GMT", 9.0),
        ("Sat, 21 Nov 2026 12:00:09 -0000", 9.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value, seconds):
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_any_retry_after_gives_a_pause_that_ends(value):
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= PAUSE_MAX_S


@given(st.integers(0, 10_000), st.floats(0.001, 100))
def test_pauses_of_our_own_grow_and_end(tries, first_s):
    assert 0 < pause_s(Later("x"), tries, first_s) <= 1.2 * BACKOFF_MAX_S


def test_the_collectors_wish_goes_first():
    assert pause_s(Later("x", 3.5), 9, 1.0) == 3.5
    assert 0.8 <= pause_s(Later("x"), 0, 1.0) <= 1.2
    assert 6.4 <= pause_s(Later("x"), 3, 1.0) <= 9.6


@given(st.binary() | st.text())
def test_what_a_collector_says_is_one_line_that_can_be_printed(raw):
    line = said(raw)
    assert line.isprintable()
    assert len(line) <= 160


def test_how_many_were_rejected_is_read():
    traces = ExportTraceServiceResponse()
    traces.partial_success.rejected_spans = 3
    traces.partial_success.error_message = "too old"
    assert partial_success(traces.SerializeToString(), Signal.TRACES) == (3, "too old")
    metrics = ExportMetricsServiceResponse()
    metrics.partial_success.rejected_data_points = 4
    assert partial_success(metrics.SerializeToString(), Signal.METRICS) == (4, "")
    assert partial_success(b"", Signal.TRACES) == (0, "")


@given(st.binary(), st.sampled_from(Signal))
def test_any_bytes_are_an_answer(raw, signal):
    count, why = partial_success(raw, signal)
    assert count >= 0
    assert isinstance(why, str)
    assert isinstance(message_of(raw), str)
    assert retry_delay(raw) is None or retry_delay(raw) >= 0


@given(st.integers(0, 1 << 31), st.integers(0, 999_999_999), st.integers(-5, 20), st.text(max_size=200))
def test_a_status_is_read_as_its_own_library_writes_it(seconds, ns, code, message):
    info = RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, ns
    status = Status(code=code, message=message)
    status.details.add().Pack(Status(message="another"))
    status.details.add().Pack(info)
    raw = status.SerializeToString()
    assert message_of(raw) == message
    assert retry_delay(raw) == pytest.approx(seconds + ns / 1e9)


def test_a_status_without_retry_info_asks_for_no_pause():
    assert retry_delay(Status(code=8, message="full").SerializeToString()) is None
