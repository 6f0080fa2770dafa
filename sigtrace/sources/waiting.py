"""How long a source sleeps between two reads: until it is woken, and while records come for some milliseconds."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Final

#: A CPU that woke the reader may add records for 1 ms without waking it again (bpf/include/ring.h): after each record
#: the reader therefore polls twice before it sleeps. A vCPU may be taken away between its clock and its record, so it
#: waits for longer than the 1 ms; a poll costs what some records cost. The smaller ring has room for 3,000 records: for
#: 4 ms of 790,000 a second.
_POLL_S: Final = 0.004
_LINGERING_POLLS: Final = 2
_BUSY_POLL_S: Final = 0.002
_BUSY: Final = 64


class Waker:
    """Ends a poll that waits on ``fd``, from any thread; ringing it after its end does nothing."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def ring(self) -> None:
        """The poll that waits ends, or else the next one that would."""
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def hear(self) -> None:
        """It has ended: the next one waits."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """Harmless twice."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1


class Waiting:
    """Of the reader of the kernel's rings."""

    def __init__(self) -> None:
        self.waker = Waker()
        self._poll = select.epoll()
        self._poll.register(self.waker.fd, select.EPOLLIN)
        self._idle_polls = _LINGERING_POLLS
        self._poll_s = _POLL_S

    def register(self, fd: int) -> None:
        """A ring's. Edges only: a pinned ring keeps what was read, and would always be ready."""
        self._poll.register(fd, select.EPOLLIN | select.EPOLLET)

    def wait(self, timeout_s: float, *, more: bool = False) -> None:
        """At most so long. ``more``: there is something to read, though its edge may have passed."""
        if more or self._idle_polls < _LINGERING_POLLS:
            # Records may be there or come without waking us: sleep, whatever the rings say, so that a trickle of
            # records costs one read a poll and not one each.
            time.sleep(min(self._poll_s, timeout_s))
        elif any(fd == self.waker.fd for fd, _ in self._poll.poll(timeout_s)):
            self.waker.hear()

    def came(self, records: int) -> None:
        """So many by the last read."""
        self._idle_polls = 0 if records else self._idle_polls + 1
        self._poll_s = _BUSY_POLL_S if records >= _BUSY else _POLL_S

    def rest(self) -> None:
        """Nothing is expected any more."""
        self._idle_polls = _LINGERING_POLLS

    def close(self) -> None:
        """Harmless twice."""
        self._poll.close()
        self.waker.close()
