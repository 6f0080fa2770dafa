"""The head of a request."""

import contextlib
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.sinks.prometheus.request import HEAD_MAX, Refused, Request, answer, parse_head


def test_a_request_is_read_once_its_head_is_complete():
    raw = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nACCEPT: text/plain \r\nAccept:\t*/*\r\n\r\nrest"
    for end in range(len(raw) - 4):
        assert parse_head(raw[:end]) is None
    assert parse_head(raw) == Request("GET", "/metrics", "text/plain,*/*")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET /metrics",
        b"GET /metrics HTTP/2.0",
        b"GET  /metrics HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"G\xc3\xa9T / HTTP/1.1",
        b"G" * 33 + b" / HTTP/1.1",
        b"GET /" + b"a" * 3000 + b" HTTP/1.1",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\n: x",
        b"GET / HTTP/1.1\r\n folded: x",
        b"GET / HTTP/1.1\r\nA: \x00",
        b"GET / HTTP/1.1\nHost: a",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
def test_what_is_no_request_is_refused(line):
    if not line:
        assert parse_head(b"\r\n\r\n") is None  # empty lines before a request are skipped
        return
    with pytest.raises(Refused) as raised:
        parse_head(line + b"\r\n\r\n")
    assert raised.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_huge_head_is_refused_before_it_is_complete(end):
    with pytest.raises(Refused) as raised:
        parse_head(b"GET / HTTP/1.1\r\nA: " + b"x" * HEAD_MAX + end)
    assert raised.value.status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_a_request_incomplete_or_refused(raw):
    for candidate in (raw, raw + b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + raw + b"\r\n\r\n"):
        with contextlib.suppress(Refused):
            request = parse_head(candidate)
            assert request is None or request.method.isascii()


def test_an_answer_says_how_long_it_is_and_that_it_is_the_last():
    head, _, body = answer(HTTPStatus.OK, b"hello").partition(b"\r\n\r\n")
    assert body == b"hello"
    assert {b"Content-Length: 5", b"Connection: close"} <= set(head.split(b"\r\n"))
    assert answer(HTTPStatus.OK, b"hello", head=True).endswith(b"\r\n\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer(HTTPStatus.METHOD_NOT_ALLOWED, b"")
