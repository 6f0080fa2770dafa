"""Collectors that are down, slow, flapping or in a bad mood, over real HTTP and gRPC."""

import contextlib
import socket
import sys
import threading

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from sigtrace.errors import UsageError
from sigtrace.sinks.otlp.answers import Accepted, Later, Refused
from sigtrace.sinks.otlp.endpoint import Endpoint, Signal
from sigtrace.sinks.otlp.http_client import HttpClient
from tests.receivers.sending import sending
from tests.receivers.servers import Fail, GrpcReceiver, HttpReceiver, Partial

SECRET = "hunter2-very-secret"
KINDS = {"http/protobuf": HttpReceiver, "grpc": GrpcReceiver}


def metrics_request():
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "x"
    scope = resource.scope_metrics.add()
    scope.scope.name = "sigtrace"
    metric = scope.metrics.add(name="sigtrace.test", unit="{thing}")
    metric.gauge.data_points.add(as_int=3, time_unix_nano=5)
    return request


@pytest.fixture(params=KINDS)
def world(request):
    """(receiver, a function that gives a sender to it)."""
    with KINDS[request.param]() as receiver:
        yield receiver, lambda **given: sending(receiver.url, protocol=request.param, **given)


def retry_info(seconds):
    info = RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    status = Status(code=8, message="full")
    status.details.add().Pack(info)
    return status.SerializeToString()


def test_spans_and_metrics_arrive_with_headers_and_are_valid(world, wait_until):
    receiver, send = world
    with send(headers=(f"x-token={SECRET}",)) as sender:
        sender.stop_one()
        sender.sink.exporter.export_metrics(metrics_request(), 1)
        # Until the answers are there too, not only the requests.
        wait_until(lambda: [tally.exported for tally in sender.sink.exporter.ledger().values()] == [3, 1])
    assert receiver.checker.finish() == []
    assert len(receiver.checker.spans) == 3
    assert receiver.checker.metrics
    for request in receiver.requests:
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["x-token"] == SECRET
        assert "sigtrace/" in headers["user-agent"]
    assert not sender.lines


def test_it_is_packed_if_that_is_wanted(world, wait_until):
    receiver, send = world
    with send(compression="gzip") as sender:
        sender.stop_one()
        wait_until(lambda: sender.tally.exported == 3)
    assert receiver.checker.finish() == []


def test_metrics_alone_need_no_endpoint_for_traces(world, wait_until):
    receiver, send = world
    with send(environ={"OTEL_TRACES_EXPORTER": "none"}) as sender:
        sender.stop_one()
        sender.sink.exporter.export_metrics(metrics_request(), 1)
        wait_until(lambda: receiver.checker.metrics)
    assert not receiver.checker.spans


LATER = {
    HttpReceiver: [
        Fail(503, retry_after="0"), Fail(429, retry_after="0"), Fail(502), Fail(504), Fail(503, retry_after="nonsense")
    ],
    GrpcReceiver: [
        Fail("UNAVAILABLE"), Fail("RESOURCE_EXHAUSTED", body=retry_info(0.01)), Fail("ABORTED"), Fail("DATA_LOSS")
    ],
}  # fmt: skip
NEVER = {
    HttpReceiver: [
        Fail(400, body=Status(message="bad\x1b[31m data").SerializeToString()),
        Fail(404),
        Fail(401),
        Fail(301),
    ],
    GrpcReceiver: [
        Fail("INVALID_ARGUMENT", "bad"),
        Fail("UNAUTHENTICATED"),
        Fail("RESOURCE_EXHAUSTED"),
        Fail("INTERNAL"),
    ],
}


def test_what_may_be_sent_again_is_and_arrives_once(world, wait_until):
    receiver, send = world
    failures = LATER[type(receiver)]
    receiver.answers += failures
    with send() as sender:
        sender.stop_one()
        wait_until(lambda: sender.adds_up() and sender.tally.exported == 3, timeout=30)
    assert sender.tally.retried == 3 * len(failures)
    assert receiver.checker.finish() == []
    assert len(receiver.checker.spans) == 3
    assert len({request.raw for request in receiver.requests}) == 1  # the same bytes each time: a backend may compare


def test_what_may_not_be_sent_again_is_dropped_and_told(world, wait_until):
    receiver, send = world
    failures = NEVER[type(receiver)]
    receiver.answers += failures
    with send() as sender:
        for n in range(len(failures) + 1):
            sender.stop_one(n)
            wait_until(lambda: sender.adds_up() and not sender.tally.waiting)
    assert sender.tally.dropped == {"rejected": 3 * len(failures)}
    assert (sender.tally.exported, sender.tally.retried) == (3, 0)
    refused, last = sender.lines
    assert "refused 3 spans" in refused
    assert "bad" in refused
    assert refused.isprintable()
    assert last == f"OTLP: {3 * len(failures)} spans were dropped"


def test_a_partial_success_is_counted_and_not_sent_again(world, wait_until):
    receiver, send = world
    receiver.answers += [Partial(2, "too old")]
    with send() as sender:
        sender.stop_one()
        wait_until(lambda: not sender.tally.waiting and sender.adds_up())
    assert (sender.tally.exported, sender.tally.dropped) == (1, {"rejected": 2})
    assert sender.lines[0] == f"OTLP: {_shown(receiver)} rejected 2 of 3 spans: too old"


def _shown(receiver):
    return receiver.url + "/v1/traces" if isinstance(receiver, HttpReceiver) else receiver.url.removeprefix("http://")


def test_a_warning_beside_a_full_success_is_told(world, wait_until):
    receiver, send = world
    receiver.answers += [Partial(0, "this endpoint goes away")]
    with send() as sender:
        sender.stop_one()
        wait_until(lambda: sender.tally.exported == 3 and sender.lines)
    assert sender.lines == [f"OTLP: {_shown(receiver)} says: this endpoint goes away"]


def test_a_collector_that_comes_later_gets_everything(world, wait_until):
    receiver, send = world
    receiver.stop()
    with send() as sender:
        for n in range(10):
            sender.stop_one(n)
        wait_until(lambda: sender.lines)
        receiver.start()
        wait_until(lambda: sender.adds_up() and sender.tally.exported == 30, timeout=30)
        wait_until(lambda: len(sender.lines) == 2)
    assert receiver.checker.finish() == []
    assert len(receiver.checker.spans) == 30
    assert "tried again" in sender.lines[0]
    assert "nothing was dropped" in sender.lines[1]


def test_a_collector_that_hangs_is_given_up_and_tried_again(world, wait_until):
    receiver, send = world
    hang = threading.Event()
    receiver.answers += [Fail(503 if isinstance(receiver, HttpReceiver) else "UNAVAILABLE", hang=hang)]
    try:
        with send(timeout_s=0.5) as sender:
            sender.stop_one()
            wait_until(lambda: sender.adds_up() and sender.tally.exported == 3, timeout=30)
            assert sender.tally.retried >= 3
    finally:
        hang.set()
    # What was given up may have been taken all the same: whoever gets it twice can tell by the ids.
    assert len({(span.trace_id, span.span_id) for span in receiver.checker.spans}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_no_line_that_is_told_holds_a_secret(kind, wait_until):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/?token={SECRET}"
        with sending(url, protocol=kind, headers=(f"authorization=Bearer {SECRET}",)) as sender:
            sender.stop_one()
            wait_until(lambda: sender.lines)
            sender.sink.close(0.01)
    assert len(sender.lines) == 2
    assert SECRET not in f"{sender.lines}"


def test_without_grpcio_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(UsageError, match="pip install grpcio"), sending("http://c:1", protocol="grpc"):
        pass


# ---- HTTP alone


def test_a_connection_that_the_collector_closed_meanwhile_is_no_trouble(wait_until):
    with HttpReceiver() as receiver, sending(receiver.url) as sender:
        for n in range(3):
            sender.stop_one(n)
            wait_until(lambda n=n: sender.tally.exported == 3 * n + 3)
            with receiver.lock:
                for connection in receiver._connections:
                    connection.shutdown(socket.SHUT_RDWR)
        assert (sender.tally.retried, sender.lines) == (0, [])
        assert receiver.checker.finish() == []


class _Raw:
    """A server that writes what it is told, to whoever connects."""

    def __init__(self, *chunks, pause=0.0, endless=False):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._chunks, self._pause, self._endless = chunks, pause, endless
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1/traces"

    def _serve(self):
        while not self._end.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    for chunk in self._chunks:
                        connection.sendall(chunk)
                    while self._endless and not self._end.wait(self._pause):
                        connection.sendall(self._chunks[-1])
                except OSError:
                    continue

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end.set()
        with socket.socket() as wake:
            wake.connect_ex(self._socket.getsockname())
        self._socket.close()
        self._thread.join(5)


@pytest.mark.parametrize(
    "chunks",
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"y"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"y"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
    ],
    ids=["headers", "body", "chunks"],
)
def test_an_answer_that_never_ends_is_given_up_and_its_status_counts(chunks):
    with _Raw(*chunks, pause=0.01, endless=True) as server, client_of(server) as client:
        # On a busy machine not even the status may have come.
        assert client.send(b"x", 0.3) in {Accepted(), Later("no answer within 0.3 s")}


def test_a_status_that_never_ends_is_none():
    with _Raw(b"HTTP/1.1 20", b"0", pause=0.01, endless=True) as server, client_of(server) as client:
        assert client.send(b"x", 0.3) == Later("no answer within 0.3 s")


def client_of(server):
    return contextlib.closing(HttpClient(Endpoint(server.url), Signal.TRACES))


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", Later),
        (b"\x00" * 100, Later),
        (b"HTTP/1.1 999 \xff\xfe\r\n\r\n", Refused),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nx", Accepted),
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(500)) + b"\r\n", Later),
        (b"HTTP/1.1 400 No\r\ncontent-length: 3\r\n\r\n\x1b[3", Refused),
        (b"HTTP/1.1 302 Found\r\nlocation: http://evil/\r\ncontent-length: 0\r\n\r\n", Refused),
        (b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n", Refused),
    ],
)
def test_whatever_a_server_writes_it_is_an_answer(raw, kind):
    with _Raw(raw) as server, client_of(server) as client:
        answer = client.send(b"x", 5)
    assert isinstance(answer, kind)
    assert answer.why.isprintable()
    assert getattr(answer, "too_large", False) == (b" 413 " in raw)


def test_a_name_that_is_not_known_is_said():
    answer = HttpClient(Endpoint("http://collector.invalid:4318/v1/traces"), Signal.TRACES).send(b"x", 20)
    assert isinstance(answer, Later)
    assert "name" in answer.why


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_reached_is_blamed_and_not_the_collector(no_proxies, monkeypatch, scheme):
    port = closed_port()
    monkeypatch.setenv(f"{scheme}_proxy", f"http://user:{SECRET}@127.0.0.1:{port}")
    endpoint = Endpoint(f"{scheme}://collector.invalid:4318/v1/traces", tls=scheme == "https")
    answer = HttpClient(endpoint, Signal.TRACES).send(b"x", 20)
    assert answer == Later(f"the proxy 127.0.0.1:{port} ({scheme.upper()}_PROXY): Connection refused")


def test_a_proxy_that_makes_no_tunnel_is_blamed(no_proxies, monkeypatch):
    with _Raw(b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        client = HttpClient(Endpoint("https://collector.invalid:4318/v1/traces", tls=True), Signal.TRACES)
        answer = client.send(b"x", 20)
    assert isinstance(answer, Later)
    assert answer.why.startswith("the proxy 127.0.0.1:")
    assert "403 Forbidden" in answer.why


def test_a_proxy_is_used_and_passed_by_where_the_environment_says(no_proxies, monkeypatch, wait_until):
    with HttpReceiver() as proxy, HttpReceiver() as direct:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "localhost")
        with sending("http://collector.invalid:4318") as sender:
            sender.stop_one()
            wait_until(lambda: sender.tally.exported == 3)
        assert proxy.requests[0].path == "http://collector.invalid:4318/v1/traces"
        with sending(direct.url) as sender:
            sender.stop_one()
            wait_until(lambda: sender.tally.exported == 3)
        assert direct.requests[0].path == "/v1/traces"
        assert len(proxy.requests) == 1
