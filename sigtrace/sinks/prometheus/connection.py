"""One connection of the HTTP server: reads a request, writes the answer, and leaves. Nothing here waits."""

from __future__ import annotations

import contextlib
import socket
import time
from enum import Enum, auto
from typing import Final

from sigtrace.sinks.prometheus.request import HEAD_MAX, Refused, Request, answer, parse_head, words

#: From the connection to the end of the request's head.
ASK_S: Final = 5.0
#: From there to the last byte of the answer.
ANSWER_S: Final = 15.0
#: A client whose own bytes were not read would lose the answer to a reset; so long it is listened to.
_LEAVE_S: Final = 1.0


class _State(Enum):
    ASKING = auto()
    WAITING = auto()
    """for the answer to be made"""
    ANSWERING = auto()
    LEAVING = auto()
    CLOSED = auto()


class Connection:
    """A socket that does not block, and how far it has come."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.fd = stream.fileno()
        self.deadline = time.monotonic() + ASK_S
        """when it is given up (time.monotonic)"""
        self._state = _State.ASKING
        self._in = b""
        self._ended = False
        self._out = memoryview(b"")

    @property
    def is_asking(self) -> bool:
        """Its request is not complete."""
        return self._state is _State.ASKING

    @property
    def has_begun(self) -> bool:
        """Something of its request has come."""
        return bool(self._in)

    @property
    def may_say_more(self) -> bool:
        """It has not closed its side; one that has may still want its answer."""
        return not self._ended

    @property
    def has_answer(self) -> bool:
        """There is something to write."""
        return self._state is _State.ANSWERING

    @property
    def page(self) -> object:
        """What it is given to read."""
        return self._out.obj

    @property
    def closed(self) -> bool:
        """It has ended."""
        return self._state is _State.CLOSED

    def read(self) -> Request | None:
        """Takes what has come; the request, once it is complete. What is none is answered here."""
        try:
            chunk = self.stream.recv(HEAD_MAX)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            self.close()
            return None
        if not chunk:
            self._ended = True
            if self._state in (_State.ASKING, _State.LEAVING):
                self.close()
            return None
        if self._state is not _State.ASKING:
            return None  # nobody reads a second request
        self._in += chunk
        try:
            request = parse_head(self._in)
        except Refused as refused:
            self.answer(answer(refused.status, words(refused.status)))
            return None
        if request:
            self._state = _State.WAITING
            self.deadline = time.monotonic() + ANSWER_S
        return request

    def answer(self, raw: bytes) -> None:
        """What is to be written."""
        self._state = _State.ANSWERING
        self._out = memoryview(raw)
        self.deadline = time.monotonic() + ANSWER_S

    def write(self) -> None:
        """As much as goes; when all is written it leaves."""
        if self._state is not _State.ANSWERING:
            return
        try:
            while self._out:
                self._out = self._out[self.stream.send(self._out) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._out = memoryview(b"")  # a page can have megabytes
        if self._ended:
            self.close()
            return
        self._state = _State.LEAVING
        self.deadline = time.monotonic() + _LEAVE_S
        try:
            self.stream.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self) -> None:
        """At once. Harmless twice."""
        self._state = _State.CLOSED
        with contextlib.suppress(OSError):
            self.stream.close()
