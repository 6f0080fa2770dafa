"""OTLP over HTTP/protobuf (OTLP specification: OTLP/HTTP).

http.client, not the SDK's exporter: that one costs 24 MB where this costs 8, says nothing of a partial success, and
decides by itself how often it tries.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import socket
import ssl
import threading
from typing import Final
from urllib.parse import urlsplit

from sigtrace import __version__
from sigtrace.errors import UsageError
from sigtrace.model.text import printable
from sigtrace.sinks.otlp.answers import Accepted, Answer, Later, Refused, retry_after, said, secrets_of
from sigtrace.sinks.otlp.endpoint import Endpoint, Signal
from sigtrace.sinks.otlp.responses import message_of, partial_success

#: Bytes of an answer that are read; the rest is nobody's business.
_ANSWER_MAX: Final = 64 * 1024
_LATER: Final = frozenset({429, 502, 503, 504})
_TOO_LARGE: Final = 413
_PROTOBUF: Final = "application/x-protobuf"


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Certificates are checked, always. Raises UsageError."""
    try:
        context = ssl.create_default_context(cafile=endpoint.certificate)
        if endpoint.client_certificate:
            context.load_cert_chain(endpoint.client_certificate, endpoint.client_key, password=_no_password)
    except (OSError, ValueError) as error:
        files = [endpoint.certificate, endpoint.client_certificate, endpoint.client_key]
        names = ", ".join(printable(file) for file in files if file)
        reason = getattr(error, "reason", None) or str(error)
        raise UsageError(f"OTLP: {names or 'the CAs of the system'}: no certificates in it ({reason})") from None
    return context


def _no_password() -> str:
    """A key behind a password would ask for it on the terminal."""
    raise ValueError("the key has a password")


class ProxyError(Exception):
    """The way to the collector ends at a proxy."""


class HttpClient:
    """A :class:`sigtrace.sinks.otlp.answers.Client`. One connection, kept open."""

    def __init__(self, endpoint: Endpoint, signal: Signal) -> None:
        """Connects with the first request. Raises UsageError if a certificate is none."""
        parts = urlsplit(endpoint.url)
        self._signal = signal
        self._host = parts.hostname or ""
        self._port = parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._url = endpoint.url
        self._scheme = "https" if endpoint.tls else "http"
        self._proxy: str | None = None
        """the one in between, for messages"""
        self._tls = tls_context(endpoint) if endpoint.tls else None
        self._gzip = endpoint.gzip
        self._headers = {
            **endpoint.headers,
            "content-type": _PROTOBUF,
            "user-agent": f"sigtrace/{__version__}",
            **({"content-encoding": "gzip"} if endpoint.gzip else {}),
        }
        self._secrets = secrets_of(endpoint.headers)
        self._connection: http.client.HTTPConnection | None = None
        self._sock: socket.socket | None = None
        self._aborted = False

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """One request, for at most so long. Never raises."""
        if self._gzip:
            body = gzip.compress(body, 6)
        reused = self._connection is not None
        overdue = threading.Event()
        # A time limit of the socket is one of each step: an answer of a byte a second would never end.
        watch = threading.Timer(timeout_s, self._give_up, (overdue,))
        watch.daemon = True
        watch.start()
        try:
            answer = self._request(body, timeout_s)
            if answer is None and reused and not overdue.is_set() and not self._aborted:
                # The collector had closed the connection while nobody used it.
                answer = self._request(body, timeout_s)
            if answer is None and overdue.is_set():
                return Later(f"no answer within {timeout_s:.3g} s")
            return answer or Later("the connection was closed before an answer came")
        except ProxyError as error:
            return Later(str(error))
        except TimeoutError:
            return Later(f"no answer within {timeout_s:.3g} s")
        except ssl.SSLCertVerificationError as error:
            return Later(f"its certificate is not to be trusted: {said(error.verify_message)}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            if overdue.is_set():
                return Later(f"no answer within {timeout_s:.3g} s")
            return Later(_why(error))
        finally:
            watch.cancel()

    def _request(self, body: bytes, timeout_s: float) -> Answer | None:
        """None: the connection was gone."""
        connection = self._connection or self._connect(timeout_s)
        self._connection = connection
        whole = False
        try:
            if connection.sock is None:
                self._join(connection, timeout_s)
            self._sock = connection.sock  # the connection forgets it before an answer without a length is read
            self._sock.settimeout(timeout_s)
            # Who wants no more of a request closes before its end is sent, and may have said why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", self._target, body, self._headers)
            response = connection.getresponse()
            raw = _body(response)
            whole = response.isclosed() and not response.will_close
            return self._answer(response, raw)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            return None
        finally:
            if not whole:
                self._connection = None
                connection.close()

    def _join(self, connection: http.client.HTTPConnection, timeout_s: float) -> None:
        """Raises OSError; ProxyError if it is not the collector that is to blame."""
        try:
            connection.connect()
        except ssl.SSLError:
            raise  # with the collector, through the tunnel
        except OSError as error:
            if self._proxy is None:
                raise
            why = f"no answer within {timeout_s:.3g} s" if isinstance(error, TimeoutError) else _why(error)
            raise ProxyError(f"the proxy {self._proxy} ({self._scheme.upper()}_PROXY): {why}") from error

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        proxy = _proxy_for(self._scheme, f"{self._host}:{self._port}" if self._port else self._host)
        host, port = proxy or (self._host, self._port)
        self._proxy = printable(f"{host}:{port}" if port else host) if proxy else None
        if self._tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=timeout_s, context=self._tls
            )
            if proxy:
                connection.set_tunnel(self._host, self._port)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
            if proxy:
                self._target = self._url
        return connection

    def _answer(self, response: http.client.HTTPResponse, raw: bytes) -> Answer:
        status = response.status
        protobuf = (response.getheader("content-type") or "").startswith(_PROTOBUF)
        if 200 <= status < 300 and (response.getheader("content-type") or "").startswith("text/") and raw:
            return Refused(f"HTTP {status} with a page of text: that is no OTLP receiver (is it the port of a UI?)")
        if 200 <= status < 300:
            rejected, why = partial_success(raw, self._signal) if protobuf else (0, "")
            return Accepted(rejected, said(why, self._secrets))
        why = said(message_of(raw) if protobuf else raw, self._secrets)
        why = f"HTTP {status} {said(response.reason or '', self._secrets)}".rstrip() + (f": {why}" if why else "")
        if status in _LATER:
            return Later(why, retry_after(response.getheader("retry-after")))
        return Refused(why, too_large=status == _TOO_LARGE)

    def _give_up(self, overdue: threading.Event) -> None:
        overdue.set()
        self._shut()

    def _shut(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nothing more is sent; for the thread that sends."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Ends a request that is on its way; from any thread."""
        self._aborted = True
        self._shut()


def _body(response: http.client.HTTPResponse) -> bytes:
    """What of it can be read: the status alone says whether the request was accepted."""
    try:
        return response.read(_ANSWER_MAX)
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name is not known ({said(error.strerror or '')})"
    if isinstance(error, OSError) and error.strerror:
        return said(error.strerror)
    return said(f"{type(error).__name__}: {error}") if str(error) else type(error).__name__


def _proxy_for(scheme: str, host: str) -> tuple[str, int | None] | None:
    """Of ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, as every HTTP client takes them."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined] # typeshed

    url = getproxies_environment().get(scheme)
    if not url or proxy_bypass_environment(host):
        return None
    parts = urlsplit(url if "://" in url else f"//{url}")
    return (parts.hostname, parts.port) if parts.hostname else None
