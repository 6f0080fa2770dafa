"""What a sink is, and the bounded queue in front of one that may block."""

from __future__ import annotations

import contextlib
import queue
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

    def take_dropped(self) -> int:
        """How many records it had to drop since the last call."""

    def close(self) -> None:
        """Writes out what it still has, within a deadline."""


class LineWriter:
    """Lines to a stream that may block (a pipe into ``less``), through a thread and a bounded queue.

    What finds no room is dropped and counted. A closed stream ends it: ``closed`` becomes true.
    """

    def __init__(self, stream: TextIO, room: int = 10_000, on_closed: Callable[[], None] | None = None) -> None:
        """``room``: lines that may wait; ``on_closed``: called once, from the thread, when nobody reads any more."""
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(room)
        self._dropped = 0
        self._on_closed = on_closed
        self.closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """One or more whole lines, written together."""
        try:
            self._queue.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def take_dropped(self) -> int:
        """How many writes were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            if self.closed:
                continue
            try:
                self._stream.write(text)
                if self._queue.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                self.closed = True
                if self._on_closed:
                    self._on_closed()

    def close(self, deadline_s: float = 1.0) -> int:
        """Waits at most so long for the reader; returns how many writes were left."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=deadline_s)
        self._thread.join(deadline_s)
        return self._queue.qsize() if self._thread.is_alive() else 0
