"""Where to listen."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.errors import UsageError
from sigtrace.sinks.prometheus.address import DEFAULT, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (DEFAULT, "127.0.0.1", 9477),
        (":9477", "", 9477),
        ("[::1]:9477", "::1", 9477),
        ("[::]:0", "::", 0),
        ("localhost:65535", "localhost", 65535),
        (" node-1.example:80\n", "node-1.example", 80),
    ],
)
def test_an_address_has_a_host_and_a_port(text, host, port):
    assert parse_address(text) == (host, port)
    assert parse_address(str(parse_address(text))) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "9477", "127.0.0.1", ":", ":x", ":-1", ":65536", ":٣", "::1:9477", "[::1]", "[::1]x:1", "[:::1]:1", "[]:1",
     "a b:1", "http://x:1", "-x:1", "x-:1", "a" * 254 + ":1", "é:1", "127.0.0.1:9477:1"],
)  # fmt: skip
def test_what_is_none_is_refused_with_the_next_step(text):
    with pytest.raises(UsageError, match="cannot listen on") as raised:
        parse_address(text)
    assert DEFAULT in raised.value.next_step
    assert len(str(raised.value)) < 400


@given(st.text())
@settings(deadline=None)
def test_any_text_is_an_address_or_refused(text):
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert 0 <= address.port <= 65535
