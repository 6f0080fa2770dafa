"""What the tracer tells: never waited for, and counted where it finds no room."""

from __future__ import annotations

import os
import time
from typing import Final

from sigtrace.sources.ptrace.wire import REPORT, Report

#: Bytes of reports that wait for a reader; of signals more are counted and dropped.
_ROOM: Final = 8 << 20
#: A write for each signal would cost a storm more than the signal: not more often than this, or this much at once.
_INTERVAL_NS: Final = 1_000_000
_CHUNK: Final = 32 << 10


class Reports:
    """The writing end of a pipe."""

    def __init__(self, fd: int) -> None:
        """``fd``: of the pipe."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._told = bytearray()
        self._dropped = 0
        self._next_ns = 0
        self._newest_ns = 0
        self.limited = 0
        """signals that were not told, since that was last told"""

    @property
    def waiting(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._told)

    def is_due(self) -> bool:
        """Whether to write now, as far as what was said last knows the time."""
        return bool(self._told) and (len(self._told) >= _CHUNK or self._newest_ns >= self._next_ns)

    def say(
        self,
        kind: Report,
        tgid: int,
        tid: int = 0,
        *,
        now_ns: int = 0,
        masks: tuple[int, int, int] = (0, 0, 0),
        value: int = 0,
        other: int = 0,
        uid: int = 0,
        number: int = 0,
    ) -> None:
        """One report; see wire.py. ``masks``: caught, ignored, blocked."""
        if len(self._told) > _ROOM and kind is Report.SIGNAL:
            self._dropped += 1
            return
        now_ns = self._newest_ns = now_ns or time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._told += REPORT.pack(now_ns, *masks, tgid, tid, value, other, uid, kind, number)

    def flush(self) -> bool:
        """Write what there is room for; False if nobody reads any more."""
        if self.limited or (self._dropped and len(self._told) < _ROOM):
            self.say(Report.LOST, 0, value=self.limited, other=self._dropped)
            self.limited = self._dropped = 0
        self._next_ns = self._newest_ns + _INTERVAL_NS
        while self._told:
            try:
                del self._told[: os.write(self._fd, self._told)]
            except BlockingIOError:
                return True
            except BrokenPipeError:
                return False
        return True
