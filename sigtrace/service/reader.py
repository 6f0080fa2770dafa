"""One connection to the agent's socket, as the agent sees it: what it asked for, and what it has been sent."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sigtrace.service.protocol import (
    AUDIT,
    REQUEST_MAX,
    SNAPSHOTS,
    STATUS,
    VERDICTS,
    Request,
    frame_line,
    raw_line,
    request_of,
)
from sigtrace.service.store import Store

#: Bytes that are taken out of the store at once: what a reader that stands still holds on to, beside one snapshot.
_CHUNK: Final = 1 << 16
_END: Final = frame_line("end", value=True)


@dataclass(slots=True)
class Newest:
    """The last snapshot, one for all readers."""

    number: int = 0
    line: bytes = b""


class Reader:
    """Never waits for its reader: what that one has not taken in time it loses, and is told how much."""

    def __init__(self, sock: socket.socket, hello: bytes, deadline: float) -> None:
        """``deadline``: its request has to be there by then (monotonic, s)."""
        self.sock = sock
        self.deadline = deadline
        self.request: Request | None = None
        self.asks = ""
        """what the server has yet to do for it: status or audit"""
        self._in = b""
        self._out = memoryview(hello)
        self._waiting: list[bytes] = []
        self._ending = False
        self._seq = 0
        self._number = 0

    # ---- from the reader

    def receive(self) -> bool:
        """Takes what it has sent; false: it is gone, or sends what it must not."""
        try:
            received = self.sock.recv(REQUEST_MAX + 1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not received or self.request is not None or self._ending:
            return False
        self._in += received
        if len(self._in) > REQUEST_MAX:
            self.fail(f"a request of more than {REQUEST_MAX} bytes")
        elif b"\n" in self._in:
            self._understand(self._in.partition(b"\n")[0])
        return True

    def _understand(self, line: bytes) -> None:
        try:
            self.request = request = request_of(line)
        except ValueError as error:
            self.fail(f"that is no request: {error}")
            return
        if request.get in (STATUS, AUDIT):
            self.asks = request.get

    # ---- to the reader

    def answer(self, frames: list[bytes]) -> None:
        """All that it gets; then it ends."""
        self._waiting += [*frames, _END]
        self._ending = True

    def fail(self, reason: str) -> None:
        """Why it gets nothing."""
        self._waiting.append(frame_line("error", reason))
        self._ending = True

    def begin(self, store: Store) -> None:
        """Verdicts: from which on."""
        request = self.request
        if request and request.get == VERDICTS:
            only_new = request.follow and not request.since_ns
            self._seq = store.next_seq if only_new else store.first_seq
            self._waiting.append(frame_line("begin", value=True))

    def wants_snapshots(self) -> bool:
        """Whether one is to be made for it."""
        return self.request is not None and self.request.get == SNAPSHOTS

    def wants_to_send(self, store: Store, newest: Newest) -> bool:
        """Whether there is something for it."""
        if self._out or self._waiting or self._ending:
            return True
        request = self.request
        if request is None:
            return False
        if request.get == VERDICTS:
            return self._seq < store.next_seq or not request.follow
        return request.get == SNAPSHOTS and self._number < newest.number

    def send(self, store: Store, newest: Newest) -> bool:
        """As much as it takes now; false: it is gone, or has got all."""
        while True:
            if not self._out:
                self._out = memoryview(b"".join(self._next(store, newest)))
                if not self._out:
                    return not self._ending
            try:
                sent = self.sock.send(self._out)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._out = self._out[sent:]

    def _next(self, store: Store, newest: Newest) -> Iterator[bytes]:
        if self._waiting:
            yield self._waiting.pop(0)
        elif self._ending or self.request is None:
            return
        elif self.request.get == VERDICTS:
            yield from self._verdicts(self.request, store)
        elif self.request.get == SNAPSHOTS and self._number < newest.number:
            if self._number and (skipped := newest.number - self._number - 1):
                yield frame_line("lost", skipped)
            self._number = newest.number
            yield newest.line

    def _verdicts(self, request: Request, store: Store) -> Iterator[bytes]:
        if (lost := store.first_seq - self._seq) > 0:
            self._seq = store.first_seq
            yield frame_line("lost", lost)
        size = 0
        for kept in store.after(self._seq):
            self._seq = kept.seq + 1
            if kept.wall_ns >= request.since_ns:
                size += len(kept.line)
                yield kept.line
            if size > _CHUNK:
                return
        if not request.follow:
            self._ending = True
            yield _END

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            self.sock.close()


def snapshot_line(snapshot: bytes) -> bytes:
    """A frame of a snapshot's JSON."""
    return raw_line("snapshot", snapshot)
