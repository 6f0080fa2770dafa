"""A small HTTP server: /metrics, /healthz, /readyz, and nothing else.

One thread talks to all connections and never waits for one of them; another makes the metrics, once for all that wait.
So a slow client costs a socket and delays nobody, and when there are too many, those that have said nothing for the
longest time are closed first: a probe of the kubelet's is answered in the middle of a flood.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from sigtrace.errors import RunError
from sigtrace.sinks.prometheus.address import DEFAULT, Address
from sigtrace.sinks.prometheus.connection import Connection
from sigtrace.sinks.prometheus.exposition import wants_open_metrics
from sigtrace.sinks.prometheus.request import Request, answer, words

#: Connections at a time.
CONNECTIONS_MAX: Final = 256
#: Answers that are being written at a time: a page of a large node has megabytes.
_PAGES_MAX: Final = 8
_BACKLOG: Final = 128
_ACCEPTS: Final = 64
_TICK_S: Final = 0.5
_PATHS: Final = {"/metrics", "/healthz", "/readyz"}

Check = Callable[[], str | None]
"""None: fine; else why not. It must not block."""


class Server:
    """Serves until it is closed."""

    def __init__(
        self,
        address: Address,
        metrics: Callable[[str], tuple[bytes, str]],
        healthy: Check = lambda: None,
        ready: Check = lambda: None,
    ) -> None:
        """``metrics(accept)``: the page and its content type; it may take its time."""
        self._wanted = address
        self._metrics = metrics
        self._checks = {"/healthz": healthy, "/readyz": ready}
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._connections: OrderedDict[int, Connection] = OrderedDict()
        """by descriptor, the oldest first"""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ending = threading.Event()
        self._news = threading.Condition()
        self._jobs: list[tuple[Connection, Request]] = []
        self._done: list[tuple[Connection, bytes]] = []
        self._threads: list[threading.Thread] = []
        self._deaf_until = 0.0

    @property
    def address(self) -> Address:
        """Where it really listens, once it is started."""
        if self._listener is None:
            return self._wanted
        host, port = self._listener.getsockname()[:2]
        return Address(host, port)

    def start(self) -> None:
        """Listens. Raises RunError with the next step."""
        try:
            self._listener = listen(self._wanted)
        except RunError:
            self.close()
            raise
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        for name, work in (("http", self._serve), ("http-metrics", self._make_metrics)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Hears no more; connections end at once. Harmless twice."""
        if self._ending.is_set():
            return
        self._ending.set()
        os.eventfd_write(self._wake, 1)
        with self._news:
            self._news.notify_all()
        for thread in self._threads:
            thread.join(2.0)
        for connection in list(self._connections.values()):
            self._drop(connection)
        if self._listener:
            self._listener.close()
        self._selector.close()
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self._wake)

    # ---- the thread that talks

    def _serve(self) -> None:
        while not self._ending.is_set():
            idle = not self._connections and not self._deaf_until
            for key, events in self._selector.select(None if idle else _TICK_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._wake)
                elif connection := self._connections.get(key.fd):
                    self._attend(connection, events)
            self._hand_out()
            now = time.monotonic()
            for connection in [c for c in self._connections.values() if c.deadline < now]:
                self._expire(connection)
            if self._deaf_until and now >= self._deaf_until and self._listener:
                self._deaf_until = 0.0
                self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        if self._listener is None:
            return
        for _ in range(_ACCEPTS):
            try:
                stream, _ = self._listener.accept()
            except OSError as e:
                if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    # It would be reported again at once: try later, when others may have been closed.
                    self._selector.unregister(self._listener)
                    self._deaf_until = time.monotonic() + _TICK_S
                return
            stream.settimeout(0)
            if len(self._connections) >= CONNECTIONS_MAX:
                self._make_room()
            connection = Connection(stream)
            self._connections[connection.fd] = connection
            self._selector.register(stream, selectors.EVENT_READ)

    def _make_room(self) -> None:
        """The oldest that has not finished its request goes; if there is none, the oldest."""
        oldest = next((c for c in self._connections.values() if c.is_asking), None)
        self._drop(oldest or next(iter(self._connections.values())))

    def _attend(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_READ and (request := connection.read()):
            self._handle(connection, request)
        self._write(connection)

    def _handle(self, connection: Connection, request: Request) -> None:
        head = request.method == "HEAD"
        if request.method not in ("GET", "HEAD"):
            status = HTTPStatus.METHOD_NOT_ALLOWED
            connection.answer(answer(status, words(status)))
        elif request.path not in _PATHS:
            status = HTTPStatus.NOT_FOUND
            connection.answer(answer(status, words(status, f"nothing here but {' '.join(sorted(_PATHS))}"), head=head))
        elif check := self._checks.get(request.path):
            connection.answer(_checked(check, head=head))
        else:
            with self._news:
                self._jobs.append((connection, request))
                self._news.notify_all()

    def _hand_out(self) -> None:
        with self._news:
            done, self._done = self._done, []
        for connection, raw in done:
            if not connection.closed:
                connection.answer(raw)
                self._write(connection)
        if done:
            self._forget_pages()

    def _forget_pages(self) -> None:
        """Who reads too slowly gives way: each keeps the page that it was given."""
        pages: dict[int, list[Connection]] = {}
        for connection in self._connections.values():
            if connection.has_answer:
                pages.setdefault(id(connection.page), []).append(connection)
        for readers in list(pages.values())[: max(0, len(pages) - _PAGES_MAX)]:
            for connection in readers:
                self._drop(connection)

    def _write(self, connection: Connection) -> None:
        connection.write()
        if connection.closed:
            self._drop(connection)
            return
        wanted = selectors.EVENT_READ if connection.may_say_more else 0
        wanted |= selectors.EVENT_WRITE if connection.has_answer else 0
        key = self._selector.get_map().get(connection.fd)
        if key and not wanted:
            self._selector.unregister(connection.stream)
        elif key and key.events != wanted:
            self._selector.modify(connection.stream, wanted)
        elif wanted and not key:
            self._selector.register(connection.stream, wanted)

    def _expire(self, connection: Connection) -> None:
        if connection.is_asking and connection.has_begun:
            status = HTTPStatus.REQUEST_TIMEOUT
            connection.answer(answer(status, words(status)))
            self._write(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if self._connections.pop(connection.fd, None) and connection.fd in self._selector.get_map():
            self._selector.unregister(connection.fd)
        connection.close()

    # ---- the thread that makes the metrics

    def _make_metrics(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._jobs or self._ending.is_set())
                if self._ending.is_set():
                    return
                jobs, self._jobs = self._jobs, []
            self._make_pages(jobs)

    def _make_pages(self, jobs: list[tuple[Connection, Request]]) -> None:
        """One page for all that want the same, whatever else their headers say: a page can have megabytes."""
        alike: dict[tuple[bool, bool], list[tuple[Connection, Request]]] = {}
        for connection, request in jobs:
            kind = wants_open_metrics(request.accept), request.method == "HEAD"
            alike.setdefault(kind, []).append((connection, request))
        for (_, head), asking in alike.items():
            status, body, content_type = self._page(asking[0][1].accept)
            page = answer(status, body, content_type, head=head)
            with self._news:
                self._done += [(connection, page) for connection, _ in asking]
            os.eventfd_write(self._wake, 1)

    def _page(self, accept: str) -> tuple[HTTPStatus, bytes, str]:
        try:
            return HTTPStatus.OK, *self._metrics(accept)
        except Exception as e:  # noqa: BLE001  # whatever it is, a scraper gets a status and the agent lives on
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return status, words(status, f"cannot tell the metrics: {type(e).__name__}"), "text/plain; charset=utf-8"


def _checked(check: Check, *, head: bool) -> bytes:
    try:
        why = check()
    except Exception as e:  # noqa: BLE001  # as above
        why = f"cannot tell: {type(e).__name__}"
    status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
    return answer(status, words(status, why or "ok"), head=head)


def listen(address: Address) -> socket.socket:
    """A listening socket; everywhere means IPv6 and IPv4, if there is IPv6. Raises RunError."""
    try:
        if address.host:
            family, _, _, _, where = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.create_server(where[:2], family=family, backlog=_BACKLOG)
        elif socket.has_dualstack_ipv6():
            listener = socket.create_server(
                ("", address.port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        else:
            listener = socket.create_server(("", address.port), backlog=_BACKLOG)
    except OSError as e:
        raise _cannot_listen(address, e) from e
    listener.settimeout(0)
    return listener


def _cannot_listen(address: Address, e: OSError) -> RunError:
    steps = {
        errno.EADDRINUSE: f"another sigtrace agent? choose another port: --http 127.0.0.1:{address.port + 1} "
        "(SIGTRACE_HTTP); `ss -ltnp` shows who has it",
        errno.EADDRNOTAVAIL: f"no interface of this host has that address; {DEFAULT} is always there",
        errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE; choose a higher one (--http, SIGTRACE_HTTP)",
    }
    why = (e.strerror or str(e)).lower().partition(" (while")[0]  # socket.create_server says the address again
    return RunError(f"cannot listen on {address} for HTTP: {why}", next_step=steps.get(e.errno or 0, f"try {DEFAULT}"))
