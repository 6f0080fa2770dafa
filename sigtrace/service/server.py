"""Serves the agent's socket from a thread of its own. No reader can slow the agent, nor another reader."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from sigtrace.model.finding import Verdict
from sigtrace.service.keeper import Keeper
from sigtrace.service.listening import listen, unlink_if_ours
from sigtrace.service.protocol import AUDIT, STATUS, Gap, Hello, Request, Status, frame_line, hello_line, raw_line
from sigtrace.service.reader import Newest, Reader, snapshot_line
from sigtrace.service.store import Store
from sigtrace.service.work import Work

READERS_MAX: Final = 64
#: A reader has to say so soon (s) what it wants.
HANDSHAKE_S: Final = 5.0
SNAPSHOT_S: Final = 1.0
_AUDITS_MAX: Final = 4
#: How often the file is marked: after kill -9 an agent is taken to have lived so much longer at most.
_ALIVE_S: Final = 10.0
#: With no descriptor left, and until one may be free again.
_REFUSED_S: Final = 1.0


class Server:
    """``start``, ``offer`` verdicts from any thread, ``close``."""

    def __init__(
        self,
        path: str,
        store: Store,
        hello: Hello,
        *,
        status: Callable[[Status], Status],
        tell: Callable[[str], None],
        snapshot: Callable[[], bytes] | None = None,
        audit: Callable[[Request], Iterable[bytes]] | None = None,
        kept: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        """``status``: fills in what only the agent knows.

        ``snapshot``: one as JSON, while somebody reads them. ``audit``: rows as JSON. Both are called in a thread of
        their own, and may take their time. ``tell``: takes a line for the log. ``kept``: takes what is kept
        now.
        """
        self._path = path
        self._store = store
        self._hello = hello
        self._status = status
        self._tell = tell
        self._snapshot = snapshot
        self._audit = audit
        self._keeper = Keeper(store, hello.boot_id, tell, kept)
        self._work = Work(self._ring)
        self._readers: dict[socket.socket, Reader] = {}
        self._selector = selectors.DefaultSelector()
        self._newest = Newest()
        self.watched = False
        """somebody reads snapshots"""
        self._making_snapshot = False
        self._audits = 0
        self._snapshot_at = self._accept_at = 0.0
        self._alive_at = time.monotonic() + _ALIVE_S
        self._ending = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self._listener: socket.socket | None = None
        self._inode = 0

    def start(self) -> None:
        """Listens. Raises RunError, HostError."""
        self._listener = listen(self._path)
        self._inode = os.lstat(self._path).st_ino
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def offer(self, verdict: Verdict) -> None:
        """Keep it, and send it to those who follow. Never blocks: what finds no room is dropped and counted."""
        if self._keeper.offer(verdict):
            self._ring()

    def offer_gap(self, gap: Gap) -> None:
        """Something of this time was not seen. Never blocks."""
        self._keeper.offer_gap(gap)
        self._ring()

    def take_dropped(self) -> int:
        """How many verdicts found no room since the last call. Call it from the thread that offers."""
        return self._keeper.take_dropped()

    def close(self, deadline_s: float = 1.0) -> None:
        """Keeps what was offered, then ends."""
        self._ending.set()
        self._ring()
        if self._thread.is_alive():
            self._thread.join(deadline_s)
        unlink_if_ours(self._path, self._inode)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already
            os.eventfd_write(self._wake, 1)

    # ---- the thread

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._step()
            self._keeper.keep()
        except Exception as error:  # noqa: BLE001 -- `alive` shows it, and liveness asks for that
            self._tell(f"the socket is no longer served: {type(error).__name__}: {error}")
        finally:
            for reader in list(self._readers.values()):
                self._drop(reader)
            if self._listener:
                self._listener.close()
            self._store.close()
            self._selector.close()

    def _step(self) -> None:
        for key, events in self._selector.select(self._patience()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj == self._wake:
                with contextlib.suppress(OSError):
                    os.eventfd_read(self._wake)
            elif (reader := self._readers.get(key.fileobj)) and events & selectors.EVENT_READ:  # type: ignore[call-overload]
                self._received(reader)
        self._work.finish()
        self._keeper.keep()
        self._pass_time(time.monotonic())
        for reader in list(self._readers.values()):
            self._serve(reader)

    def _patience(self) -> float:
        due = [self._alive_at, *(r.deadline for r in self._readers.values() if r.request is None)]
        if any(r.wants_snapshots() for r in self._readers.values()):
            due.append(self._snapshot_at)
        if self._accept_at:
            due.append(self._accept_at)
        return max(min(due) - time.monotonic(), 0.0)

    def _pass_time(self, now: float) -> None:
        if now >= self._alive_at:
            self._alive_at = now + _ALIVE_S
            self._store.alive()
        if self._accept_at and now >= self._accept_at and self._listener:
            self._accept_at = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)
        for reader in list(self._readers.values()):
            if reader.request is None and now >= reader.deadline:
                self._drop(reader)
        self.watched = any(r.wants_snapshots() for r in self._readers.values())
        if now >= self._snapshot_at and self.watched:
            self._snapshot_at = now + SNAPSHOT_S
            self._make_snapshot()

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self._selector.unregister(self._listener)
            self._accept_at = time.monotonic() + _REFUSED_S
            return
        sock.setblocking(False)  # noqa: FBT003 -- its only argument
        reader = Reader(sock, hello_line(self._hello), time.monotonic() + HANDSHAKE_S)
        self._readers[sock] = reader
        self._selector.register(sock, selectors.EVENT_READ)
        if len(self._readers) > READERS_MAX:
            reader.fail(f"{READERS_MAX} readers are connected already")

    def _received(self, reader: Reader) -> None:
        fresh = reader.request is None
        if not reader.receive():
            self._drop(reader)
        elif fresh and reader.request is not None:
            reader.begin(self._store)
            if reader.asks == STATUS:
                reader.answer([frame_line(STATUS, self._status(self._keeper.status(self._hello)))])
            elif reader.asks == AUDIT:
                self._make_audit(reader, reader.request)
            elif reader.wants_snapshots() and self._snapshot is None:
                reader.fail("this agent makes no snapshots")

    def _serve(self, reader: Reader) -> None:
        if reader.wants_to_send(self._store, self._newest) and not reader.send(self._store, self._newest):
            self._drop(reader)
            return
        # What it did not take now, it is sent as soon as it can.
        wants = selectors.EVENT_READ
        if reader.wants_to_send(self._store, self._newest):
            wants |= selectors.EVENT_WRITE
        if self._selector.get_key(reader.sock).events != wants:
            self._selector.modify(reader.sock, wants)

    def _drop(self, reader: Reader) -> None:
        self._readers.pop(reader.sock, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(reader.sock)
        reader.close()

    # ---- what takes its time

    def _make_snapshot(self) -> None:
        def done(found: bytes | Exception) -> None:
            self._making_snapshot = False
            if isinstance(found, bytes):
                if found and b"\n" not in found:
                    self._newest = Newest(self._newest.number + 1, snapshot_line(found))
                return
            for reader in self._readers.values():
                if reader.wants_snapshots():
                    reader.fail(f"no snapshot could be made: {found}")

        if self._snapshot and not self._making_snapshot:
            self._making_snapshot = True
            self._work.begin(self._snapshot, done)

    def _make_audit(self, reader: Reader, request: Request) -> None:
        def done(found: list[bytes] | Exception) -> None:
            self._audits -= 1
            if isinstance(found, list):
                reader.answer([raw_line(AUDIT, row) for row in found])
            else:
                reader.fail(f"the audit failed: {found}")

        audit = self._audit
        if audit is None:
            reader.fail("this agent makes no audits")
        elif self._audits >= _AUDITS_MAX:
            reader.fail(f"{_AUDITS_MAX} audits are being made already: ask again in a moment")
        else:
            self._audits += 1
            self._work.begin(lambda: list(audit(request)), done)
