"""The strict receiver behind HTTP and gRPC, on a port of its own; it fails when and how a test says.

with HttpReceiver() as receiver:
    receiver.answers += [Fail(503, retry_after="1")]      # the first request; then all goes well again
    … receiver.url …
    assert receiver.checker.finish() == []
"""

import contextlib
import gzip
import http.server
import socket
import ssl
import threading
from collections import deque
from concurrent import futures
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.receivers.strict import Checker


@dataclass
class Fail:
    """An answer that takes nothing. For gRPC ``status`` is the code's name."""

    status: int | str
    retry_after: str | None = None
    body: bytes = b""
    hang: threading.Event | None = None
    """waited for before anything is answered"""


@dataclass
class Partial:
    """It takes the request, and says that it rejected some."""

    rejected: int
    why: str = ""


@dataclass
class Request:
    path: str
    headers: dict
    raw: bytes = field(repr=False)


class _Receiver:
    def __init__(self):
        self.checker = Checker()
        self.answers = deque()
        self.requests = []
        self.lock = threading.RLock()
        self.alive = False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def take(self, path, headers, raw):
        """What to answer: Fail, or Partial. Nothing is taken once it is dead."""
        answer = self.answers.popleft() if self.answers else Partial(0)
        if isinstance(answer, Fail) and answer.hang:
            answer.hang.wait(30)
        with self.lock:
            if not self.alive:
                raise ConnectionAbortedError
            self.requests.append(Request(path, headers, raw))
            if isinstance(answer, Partial):
                (self.checker.take_metrics if "etrics" in path else self.checker.take_traces)(raw)
        return answer


def _response(path, answer):
    if "etrics" in path:
        response = ExportMetricsServiceResponse()
        response.partial_success.rejected_data_points = answer.rejected
    else:
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = answer.rejected
    response.partial_success.error_message = answer.why
    if not answer.rejected and not answer.why:
        response.Clear()
    return response.SerializeToString()


class HttpReceiver(_Receiver):
    """``tls``: (certificate, key, CA of the clients or None), files."""

    def __init__(self, tls=None):
        super().__init__()
        self._tls = tls
        self._port = 0
        self._server = None
        self._connections = set()

    @property
    def url(self):
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}"

    def start(self):
        """On the same port as before, if it was started before."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                with receiver.lock:
                    receiver._connections.add(self.connection)

            def finish(self):
                with receiver.lock:
                    receiver._connections.discard(self.connection)
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def do_POST(self):
                receiver._handle(self)

            def log_message(self, *_): ...

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True
            address_family = socket.AF_INET
            request_queue_size = 64

            def handle_error(self, *_): ...  # a client that went away, or a handshake that failed

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        if self._tls:
            certificate, key, clients = self._tls
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if clients:
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.alive = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _handle(self, handler):
        raw = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if handler.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        try:
            answer = self.take(handler.path, dict(handler.headers), raw)
        except ConnectionAbortedError:
            handler.close_connection = True
            return
        if isinstance(answer, Fail):
            handler.send_response(answer.status)
            if answer.retry_after:
                handler.send_header("retry-after", answer.retry_after)
            body = answer.body
            if body:
                handler.send_header("content-type", "application/x-protobuf")
        else:
            handler.send_response(200)
            handler.send_header("content-type", "application/x-protobuf")
            body = _response(handler.path, answer)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def stop(self):
        """As a kill -9: connections break, and nothing is taken any more."""
        if not self.alive:
            return
        with self.lock:
            self.alive = False
            connections = list(self._connections)
        self._server.shutdown()
        self._server.server_close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class GrpcReceiver(_Receiver):
    """Likewise; ``tls``: (certificate, key, CA of the clients or None), files."""

    def __init__(self, tls=None):
        super().__init__()
        self._tls = tls
        self._port = 0
        self._server = None

    @property
    def url(self):
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}"

    def start(self):
        import grpc

        receiver = self

        def handle(path):
            def export(raw, context):
                headers = dict(context.invocation_metadata())
                try:
                    answer = receiver.take(path, headers, raw)
                except ConnectionAbortedError:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "it is gone")
                if isinstance(answer, Fail):
                    if answer.body:
                        context.set_trailing_metadata((("grpc-status-details-bin", answer.body),))
                    context.abort(grpc.StatusCode[answer.status], answer.retry_after or "")
                return _response(path, answer)

            return grpc.unary_unary_rpc_method_handler(export)

        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        base = "opentelemetry.proto.collector"
        for service in (f"{base}.trace.v1.TraceService", f"{base}.metrics.v1.MetricsService"):
            handler = grpc.method_handlers_generic_handler(service, {"Export": handle(service)})
            self._server.add_generic_rpc_handlers((handler,))
        address = f"localhost:{self._port}"
        if self._tls:
            certificate, key, clients = self._tls

            def read(path):
                with open(path, "rb") as file:
                    return file.read()

            credentials = grpc.ssl_server_credentials(
                [(read(key), read(certificate))], read(clients) if clients else None, bool(clients)
            )
            self._port = self._server.add_secure_port(address, credentials)
        else:
            self._port = self._server.add_insecure_port(address)
        self._server.start()
        self.alive = True

    def stop(self):
        if not self.alive:
            return
        with self.lock:
            self.alive = False
        self._server.stop(0).wait(5)
