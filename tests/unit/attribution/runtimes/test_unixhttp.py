"""HTTP from servers that mean no good."""

import socket
import time

import pytest

from sigtrace.attribution.runtimes import unixhttp
from sigtrace.attribution.runtimes.values import NoAnswer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing: y\r\n\r\n{}"


def test_an_answer_is_its_status_headers_and_body(server):
    server.answer = lambda connection: connection.sendall(OK)
    status, headers, body = unixhttp.get(server.path, "/version", 5)
    assert (status, headers["x-thing"], body) == (200, "y", b"{}")
    assert server.requests[0].startswith(b"GET /version HTTP/1.1\r\nHost: localhost\r\n")


def test_a_chunked_answer_is_put_together(server):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    server.answer = lambda connection: connection.sendall(chunked)
    assert unixhttp.get(server.path, "/x", 5)[2] == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x01 this is TLS",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000,
    ],
)
def test_rubbish_is_no_answer(server, answer):
    server.answer = lambda connection: connection.sendall(answer)
    with pytest.raises(NoAnswer, match=r"GET /x: \S"):
        unixhttp.get(server.path, "/x", 5)


def test_a_server_that_says_nothing_ends_in_time(server):
    server.answer = lambda connection: connection.recv(1)
    with pytest.raises(NoAnswer, match="timed out"):
        unixhttp.get(server.path, "/x", 0.05)


def test_a_server_that_drips_ends_in_time_too(server):
    """Each byte comes within the time that one read would be given."""

    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:  # until the client has left: then sending fails
            connection.sendall(b"x")
            time.sleep(0.001)

    server.answer = drip
    with pytest.raises(NoAnswer, match="timed out"):
        unixhttp.get(server.path, "/x", 0.1)


def test_more_than_is_allowed_is_not_read(server, monkeypatch):
    monkeypatch.setattr(unixhttp._Socket, "left", 1_000)
    server.answer = lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
    with pytest.raises(NoAnswer, match="more than"):
        unixhttp.get(server.path, "/x", 5)


def test_a_missing_socket_is_no_answer(short):
    with pytest.raises(NoAnswer, match="No such file"):
        unixhttp.get(str(short / "none"), "/x", 1)


def test_a_socket_that_nobody_listens_on_is_no_answer(short):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short / "left"))
    with pytest.raises(NoAnswer, match="refused"):
        unixhttp.get(str(short / "left"), "/x", 1)
