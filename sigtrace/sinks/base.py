"""What a sink is, and the bounded queue in front of one that may block."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TextIO

from sigtrace.model.finding import Verdict
from sigtrace.model.workload import Observation


class Sink(Protocol):
    """Takes what the pipeline made. Never blocks: capture does not wait for a reader."""

    def observation(self, observation: Observation) -> None:
        """An event, attributed."""

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""

    def pass_time(self, now_ns: int) -> None:
        """Time has come to ``now_ns`` (CLOCK_BOOTTIME), whether there are events or not."""

    def take_dropped(self) -> int:
        """How many records it had to drop since the last call."""

    def close(self) -> None:
        """Writes out what it still has, within a deadline."""


class LineWriter:
    """Lines to a stream that may block (a pipe into ``less``), through a thread and a bounded buffer.

    What finds no room is dropped and counted. A closed stream ends it: ``closed`` becomes true.
    """

    def __init__(self, stream: TextIO, room: int = 10_000, on_closed: Callable[[], None] | None = None) -> None:
        """``room``: writes that may wait; ``on_closed``: called once, from the thread, when nobody reads any more."""
        self._stream = stream
        self._room = room
        self._on_closed = on_closed
        self._waiting: list[str] = []
        self._writing = 0
        self._dropped = 0
        self._ending = False
        self._news = threading.Condition()
        self.closed = False
        self.failure: OSError | None = None
        """what ended it, if it was no reader's leaving (a full disk)"""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """One or more whole lines, written together."""
        with self._news:
            if len(self._waiting) + self._writing >= self._room:
                self._dropped += 1
                return
            self._waiting.append(text)
            self._news.notify()

    def take_dropped(self) -> int:
        """How many writes were dropped, once there is room again to say so; else 0."""
        with self._news:
            if len(self._waiting) + self._writing > self._room // 2:
                return 0
            dropped, self._dropped = self._dropped, 0
            return dropped

    def _run(self) -> None:
        while True:
            with self._news:
                self._writing = 0
                self._news.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    return
                lines, self._waiting = self._waiting, []
                self._writing = len(lines)
            try:
                self._write("".join(lines))
            except (OSError, ValueError) as e:
                self.closed = True
                if isinstance(e, OSError) and not isinstance(e, BrokenPipeError):
                    self.failure = e
                if self._on_closed:
                    self._on_closed()
                return

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:  # a stream that cannot write "→"
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()

    def close(self, deadline_s: float = 1.0) -> int:
        """Waits at most so long for the reader; returns how many writes were dropped or left and nobody was told."""
        with self._news:
            self._ending = True
            self._news.notify()
        self._thread.join(deadline_s)
        with self._news:
            return len(self._waiting) + (self._writing if self._thread.is_alive() else 0) + self._dropped
