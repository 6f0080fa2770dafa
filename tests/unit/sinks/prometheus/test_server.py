"""A small server that one client can't spoil for another."""

import contextlib
import errno
import http.client
import os
import resource
import socket
import threading

import pytest

from sigtrace.errors import RunError
from sigtrace.sinks.prometheus import connection, server
from sigtrace.sinks.prometheus.address import Address, parse_address
from sigtrace.sinks.prometheus.server import CONNECTIONS_MAX, Server, listen

LOCAL = "127.0.0.1:0"


class Site:
    """What the server asks."""

    def __init__(self):
        self.page = b"a 1\n"
        self.sick = None
        self.unready = None
        self.asked = []
        self.server = Server(parse_address(LOCAL), self.metrics, lambda: self.sick, lambda: self.unready)

    def metrics(self, accept):
        self.asked.append(accept)
        if isinstance(self.page, Exception):
            raise self.page
        return self.page, "text/plain"

    def connect(self, timeout=10):
        return socket.create_connection(self.server.address, timeout=timeout)

    def get(self, path, method="GET", **headers):
        asking = http.client.HTTPConnection(*self.server.address, timeout=10)
        try:
            asking.request(method, path, headers=headers)
            response = asking.getresponse()
            return response.status, response.read(), dict(response.getheaders())
        finally:
            asking.close()

    def say(self, raw):
        """All that comes back until the server ends the connection."""
        with self.connect() as stream:
            stream.sendall(raw)
            return read_all(stream)


def read_all(stream):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := stream.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture
def site():
    site = Site()
    threads = threading.active_count()
    files = len(os.listdir("/proc/self/fd"))
    site.server.start()
    yield site
    site.server.close()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files - 2  # its selector and its wake-up were there before


def test_the_metrics_are_told_as_the_scraper_wants_them(site):
    status, body, headers = site.get("/metrics?name=x", Accept="text/plain;q=1")
    assert (status, body, headers["Content-Type"]) == (200, b"a 1\n", "text/plain")
    assert headers["Content-Length"] == "4"
    assert site.asked == ["text/plain;q=1"]


def test_health_and_readiness_say_why_not(site):
    assert site.get("/healthz")[:2] == (200, b"ok\n")
    assert site.get("/readyz")[:2] == (200, b"ok\n")
    site.sick, site.unready = "the pipeline has not moved for 31 s", "no snapshot yet"
    assert site.get("/healthz")[:2] == (503, b"the pipeline has not moved for 31 s\n")
    assert site.get("/readyz")[:2] == (503, b"no snapshot yet\n")
    assert site.asked == []


def test_head_is_get_without_a_body(site):
    for path in ("/metrics", "/healthz"):
        status, body, headers = site.get(path, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get"])
def test_other_methods_are_not_allowed(site, method):
    status, _, headers = site.get("/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/METRICS", "//metrics", "/../metrics", "/healthz/x"])
def test_there_is_nothing_else(site, path):
    status, body, _ = site.get(path)
    assert (status, body) == (404, b"nothing here but /healthz /metrics /readyz\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 100_000, 431),
        (b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, 431),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000, 405),
        (b"GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n", 200),
    ],
)
def test_odd_requests_get_one_answer(site, raw, status):
    said = site.say(raw)
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert said.count(b"HTTP/1.1") == 1


def test_a_client_that_has_closed_its_side_gets_its_answer(site):
    for path in (b"/metrics", b"/healthz"):
        with site.connect() as stream:
            stream.sendall(b"GET " + path + b" HTTP/1.1\r\n\r\n")
            stream.shutdown(socket.SHUT_WR)
            assert read_all(stream).startswith(b"HTTP/1.1 200")


def test_metrics_that_fail_are_an_error_of_the_server_and_not_its_end(site):
    site.page = KeyError("secret")
    status, body, _ = site.get("/metrics")
    assert (status, body) == (500, b"cannot tell the metrics: KeyError\n")
    site.page = b"b 2\n"
    assert site.get("/metrics")[:2] == (200, b"b 2\n")


def test_a_check_that_fails_is_unhealthy(site):
    site.server._checks["/healthz"] = lambda: 1 / 0
    assert site.get("/healthz")[:2] == (503, b"cannot tell: ZeroDivisionError\n")


def test_a_probe_is_answered_while_the_metrics_take_their_time(site, wait_until):
    going = threading.Event()
    answers = []

    def slow(accept):
        going.wait(20)
        return b"late 1\n", "text/plain"

    site.server._metrics = slow
    scrape = threading.Thread(target=lambda: answers.append(site.get("/metrics")))
    scrape.start()
    assert site.get("/healthz")[0] == 200
    assert answers == []
    going.set()
    scrape.join(10)
    assert answers[0][:2] == (200, b"late 1\n")


def test_those_who_ask_together_are_told_one_page(site, wait_until):
    first, going, answers = threading.Event(), threading.Event(), []
    ask = site.metrics

    def slow(accept):
        first.set()
        going.wait(20)
        return ask(accept)

    site.server._metrics = slow
    threads = [threading.Thread(target=lambda: answers.append(site.get("/metrics"))) for _ in range(30)]
    threads[0].start()
    first.wait(10)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(site.server._jobs) == 29)
    going.set()
    for thread in threads:
        thread.join(10)
    assert [answer[:2] for answer in answers] == [(200, b"a 1\n")] * 30
    assert len(site.asked) == 2


def test_a_large_page_reaches_a_slow_reader_whole_and_delays_nobody(site):
    site.page = b"x" * 8_000_000
    with site.connect() as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert slow.recv(10).startswith(b"HTTP/1.1")
        assert site.get("/healthz")[0] == 200
        assert len(site.get("/metrics")[1]) == 8_000_000
        assert read_all(slow).endswith(b"x" * 100)


def test_a_client_that_goes_before_its_answer_harms_nobody(site):
    site.page = b"x" * 8_000_000
    for _ in range(20):
        with site.connect() as stream:
            stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    for _ in range(20):
        stream = site.connect()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        stream.close()
    assert site.get("/healthz")[0] == 200


def test_who_leaves_is_forgotten_at_once(site, monkeypatch, wait_until):
    monkeypatch.setattr(connection, "ASK_S", 3600)
    for said in (b"", b"GET /met"):
        with site.connect() as stream:
            stream.sendall(said)
            wait_until(lambda: site.server._connections)
        wait_until(lambda: not site.server._connections)


def test_a_scrape_that_waits_is_not_given_up_for_connections_that_say_nothing(site, wait_until):
    entered, going, answers = threading.Event(), threading.Event(), []

    def slow(accept):
        entered.set()
        going.wait(30)
        return b"late 1\n", "text/plain"

    site.server._metrics = slow
    scrape = threading.Thread(target=lambda: answers.append(site.get("/metrics")))
    scrape.start()
    assert entered.wait(10)
    idle = [site.connect() for _ in range(CONNECTIONS_MAX + 20)]
    try:
        wait_until(lambda: len(site.server._connections) == CONNECTIONS_MAX)
        assert site.get("/healthz")[0] == 200
    finally:
        going.set()
        scrape.join(30)
        for stream in idle:
            stream.close()
    assert answers[0][:2] == (200, b"late 1\n")


def test_a_thousand_connections_that_say_nothing_keep_nobody_out(site, wait_until):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    idle = []
    try:
        for n in range(1000):
            stream = site.connect()
            idle.append(stream)
            if n % 2:
                stream.sendall(b"GET /metrics HTT")
            if n % 250 == 0:
                assert site.get("/healthz")[0] == 200
                assert site.get("/metrics")[0] == 200
        assert site.get("/readyz")[0] == 200
        assert len(site.server._connections) <= CONNECTIONS_MAX
    finally:
        for stream in idle:
            stream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: not site.server._connections)


def test_who_asks_too_slowly_is_told_so_and_who_says_nothing_is_left(monkeypatch):
    monkeypatch.setattr(connection, "ASK_S", 0.05)
    monkeypatch.setattr(server, "_TICK_S", 0.01)
    site = Site()
    site.server.start()
    try:
        assert site.say(b"GET /met").startswith(b"HTTP/1.1 408 ")
        assert site.say(b"") == b""
    finally:
        site.server.close()


def test_who_does_not_take_the_answer_is_left(monkeypatch, wait_until):
    monkeypatch.setattr(connection, "ANSWER_S", 0.2)
    monkeypatch.setattr(server, "_TICK_S", 0.01)
    site = Site()
    site.page = b"x" * 30_000_000
    site.server.start()
    try:
        with site.connect() as stream:
            stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            wait_until(lambda: site.server._connections)
            wait_until(lambda: not site.server._connections)
            assert site.get("/healthz")[0] == 200
    finally:
        site.server.close()


def test_no_descriptors_left_is_survived(site, monkeypatch, wait_until):
    """accept fails for a while, as with EMFILE."""

    class Full:
        def __init__(self, stream):
            self.stream, self.refused = stream, 0

        def accept(self):
            self.refused += 1
            if self.refused < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return self.stream.accept()

        def __getattr__(self, name):
            return getattr(self.stream, name)

    monkeypatch.setattr(server, "_TICK_S", 0.01)
    full = Full(site.server._listener)
    selector = site.server._selector
    selector.unregister(site.server._listener)
    site.server._listener = full
    selector.register(full, 1)
    assert site.get("/healthz")[0] == 200
    assert full.refused >= 3


def test_the_port_of_another_is_told_with_the_next_step(site):
    other = Server(site.server.address, site.metrics)
    with pytest.raises(RunError, match=r"cannot listen on 127\.0\.0\.1:.* in use") as raised:
        other.start()
    assert "--http" in raised.value.next_step
    assert "SIGTRACE_HTTP" in raised.value.next_step


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_told(host):
    with pytest.raises(RunError, match="cannot listen on") as raised:
        Server(Address(host, 0), lambda _: (b"", "")).start()
    assert "127.0.0.1:9477" in raised.value.next_step


@pytest.mark.parametrize(
    ("text", "reached"), [("127.0.0.1:0", "127.0.0.1"), ("localhost:0", "localhost"), (":0", "127.0.0.1")]
)
def test_it_listens_where_it_was_told_to(text, reached):
    with listen(parse_address(text)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((reached, port), timeout=5):
            pass


def test_everywhere_is_ipv6_too():
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6: enable it (net.ipv6.conf.all.disable_ipv6=0)")
    with listen(parse_address(":0")) as everywhere, listen(parse_address("[::1]:0")) as local:
        for listener in (everywhere, local):
            with socket.create_connection(("::1", listener.getsockname()[1]), timeout=5):
                pass


def test_it_is_closed_twice_without_harm_and_hears_nothing_then(site):
    address = site.server.address
    with site.connect() as stream:
        site.server.close()
        assert stream.recv(1) == b""
    site.server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)


def test_its_end_does_not_wait_for_metrics_that_take_too_long(monkeypatch):
    going = threading.Event()
    entered = threading.Event()

    def slow(accept):
        entered.set()
        going.wait(30)
        return b"", ""

    slow_site = Server(parse_address(LOCAL), slow)
    slow_site.start()
    try:
        with socket.create_connection(slow_site.address, timeout=5) as stream:
            stream.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert entered.wait(10)
            slow_site.close()
            assert [thread.is_alive() for thread in slow_site._threads] == [False, True]
    finally:
        going.set()
        for thread in slow_site._threads:
            thread.join(10)
