"""OTLP over gRPC (OTLP specification: OTLP/gRPC), with the extra ``grpc``. The bytes are those of HTTP."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Final

from sigtrace import __version__
from sigtrace.errors import UsageError
from sigtrace.model.text import printable
from sigtrace.sinks.otlp.answers import PAUSE_MAX_S, Accepted, Answer, Later, Refused, said, secrets_of
from sigtrace.sinks.otlp.endpoint import Endpoint, Signal
from sigtrace.sinks.otlp.responses import partial_success, retry_delay

_METHODS: Final = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
#: RESOURCE_EXHAUSTED too, but only if the collector says when it will be better.
_LATER: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"})
#: Beside the endpoint's own pauses: a connection that failed is tried again this soon, ms.
_RECONNECT_MS: Final = 1000


def _grpc() -> Any:
    """The package, quiet: its core writes to stderr by itself. Raises UsageError."""
    given = os.environ.get("GRPC_VERBOSITY")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc  # type: ignore[import-untyped] # its stubs are a package of their own
    except ImportError:
        raise UsageError(
            "OTLP over gRPC needs the package grpcio",
            next_step="pip install grpcio, or export over http/protobuf",
        ) from None
    finally:
        if given is None:
            del os.environ["GRPC_VERBOSITY"]  # a traced command must not find it
    return grpc


class GrpcClient:
    """A :class:`sigtrace.sinks.otlp.answers.Client`. One channel."""

    def __init__(self, endpoint: Endpoint, signal: Signal) -> None:
        """Connects with the first request. Raises UsageError if grpcio is missing or a certificate is none."""
        self._grpc = grpc = _grpc()
        self._signal = signal
        compression = grpc.Compression.Gzip if endpoint.gzip else grpc.Compression.NoCompression
        options = [
            ("grpc.primary_user_agent", f"sigtrace/{__version__}"),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", _RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", 5 * _RECONNECT_MS),
        ]
        if endpoint.tls:
            from sigtrace.sinks.otlp.http_client import tls_context

            tls_context(endpoint)  # it says what is wrong with a certificate; gRPC never does
            files = (endpoint.certificate, endpoint.client_key or endpoint.client_certificate)
            credentials = grpc.ssl_channel_credentials(
                _content(files[0]),
                _content(files[1]) if endpoint.client_certificate else None,
                _content(endpoint.client_certificate),
            )
            self._channel = grpc.secure_channel(endpoint.url, credentials, options, compression)
        else:
            self._channel = grpc.insecure_channel(endpoint.url, options, compression)
        self._export = self._channel.unary_unary(
            _METHODS[signal], request_serializer=lambda raw: raw, response_deserializer=lambda raw: raw
        )
        self._headers = tuple((name, value) for name, value in endpoint.headers.items())
        self._secrets = secrets_of(endpoint.headers)
        self._call: Any = None

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """One request, for at most so long. Never raises."""
        try:
            self._call = self._export.future(body, timeout=timeout_s, metadata=self._headers)
            return Accepted(*self._accepted(self._call.result()))
        except self._grpc.RpcError as error:
            return self._failed(error)
        except (self._grpc.FutureCancelledError, ValueError):  # we are closing
            return Later("the connection was closed")

    def _accepted(self, raw: bytes) -> tuple[int, str]:
        rejected, why = partial_success(raw, self._signal)
        return rejected, said(why, self._secrets)

    def _failed(self, error: Any) -> Answer:
        code = error.code().name
        why = said(error.details() or "", self._secrets)
        why = f"{code}: {why}" if why else code
        after_s = _retry_info(error)
        if code in _LATER or (code == "RESOURCE_EXHAUSTED" and after_s is not None):
            return Later(why, after_s)
        return Refused(why, too_large=code == "RESOURCE_EXHAUSTED" and "larger than max" in why)

    def close(self) -> None:
        """Nothing more is sent."""
        with contextlib.suppress(Exception):
            self._channel.close()

    def abort(self) -> None:
        """Ends a request that is on its way; from any thread."""
        if self._call is not None:
            self._call.cancel()
        self.close()


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"OTLP: cannot read {printable(path)}: {error.strerror}") from None


def _retry_info(error: Any) -> float | None:
    """Seconds, of the google.rpc.RetryInfo among the status's details; None if there is none."""
    trailers = dict(error.trailing_metadata() or ())
    raw = trailers.get("grpc-status-details-bin") or b""
    delay = retry_delay(raw) if isinstance(raw, bytes) else None
    return None if delay is None else min(delay, PAUSE_MAX_S)
