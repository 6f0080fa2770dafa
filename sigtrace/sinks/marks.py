"""How far each verdict has come, for the agent that takes over what is pinned.

What is told is kept, exported and counted by different threads at different times, so that each marks for itself what
it is done with. The marks are in a file beside the socket: pins don't outlive a boot, so that it need not outlive one.

The file: ``marks BOOT_ID``, then a line for each mark, the verdict's key and the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import IntFlag
from typing import Final

from sigtrace.model import ids
from sigtrace.model.finding import Finding, Verdict
from sigtrace.model.text import printable

#: Verdicts that are remembered: more than pinned rings hold records for.
ROOM: Final = 4096
#: The file is written anew when it has so many lines.
_LINES_MAX: Final = 8 * ROOM
_FILE_MAX: Final = 4 << 20
_LINE: Final = re.compile(rb"([0-9a-f]{32}) ([1-7])")
#: What is found by listing processes.
LISTED: Final = frozenset({"zombie-unreaped", "signal-pending", "stop-unanswered"})


class Way(IntFlag):
    """Where verdicts go, each at its own pace."""

    TOLD = 1
    """standard output, the socket and what is kept"""
    SENT = 2
    """a collector has it, or will never have it"""
    COUNTED = 4
    """it was in metrics that somebody has got"""


def key_of(boot_id: str, verdict: Verdict) -> str:
    """32 hexadecimal digits: the same for the same verdict, whoever makes it.

    What a listing shows, a successor's listing shows at another time: of that its time is no part.
    """
    trace_id = ids.verdict_trace_id(boot_id, verdict)
    if not isinstance(verdict, Finding):
        return trace_id
    whose = f"{trace_id} {verdict.time_ns}"
    if verdict.code in LISTED:
        tasks = [task.key if task else None for task in (verdict.subject, verdict.parent)]
        whose = f"{boot_id} {verdict.workload.cgroup_id if verdict.workload else 0} {tasks}"
    grown = len(str(verdict.count))  # repeats are told again at ten times the count
    about = f"{whose} {verdict.code} {verdict.cause} {verdict.signo} {grown} {verdict.closing}"
    return hashlib.sha256(about.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Marks:
    """For any thread. Whatever becomes of the file, nothing else is held up by it."""

    def __init__(self, path: str | None, boot_id: str, tell: Callable[[str], None]) -> None:
        """``path``: None: nobody takes over. ``tell``: takes a line for the log."""
        self._path = path
        self._boot_id = boot_id
        self._tell = tell
        self._lock = threading.Lock()
        self._marks: OrderedDict[str, int] = OrderedDict()
        self._fd = -1
        self._lines = 0
        self._failed = False

    def open(self, *, resumed: bool) -> Mapping[str, int]:
        """Those of the agent before us, if we take over what it had pinned."""
        if self._path is None:
            return {}
        if resumed:
            with contextlib.suppress(OSError):
                self._read(self._path)
        with self._lock:
            self._write(b"", anew=True)
        return dict(self._marks)

    def _read(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            head, *lines = file.read(_FILE_MAX).split(b"\n")
        if head == self._head():
            for line in lines:
                if match := _LINE.fullmatch(line):  # the last one may be torn
                    self._add(match[1].decode(), int(match[2]))

    def _head(self) -> bytes:
        return f"marks {self._boot_id}".encode("ascii", "replace")

    def _add(self, key: str, way: int) -> None:
        self._marks[key] = self._marks.get(key, 0) | way
        self._marks.move_to_end(key)
        if len(self._marks) > ROOM:
            self._marks.popitem(last=False)

    def add(self, verdicts: Iterable[Verdict], way: Way) -> None:
        """These have gone this way."""
        if self._path is not None:
            self.add_keys([key_of(self._boot_id, verdict) for verdict in verdicts], way)

    def add_keys(self, keys: Collection[str], way: Way) -> None:
        """Those with these keys have."""
        if self._path is None:
            return
        with self._lock:
            for key in keys:
                self._add(key, way)
            self._lines += len(keys)
            lines = "".join(f"{key} {int(way)}\n" for key in keys).encode()
            self._write(lines, anew=self._fd < 0 or self._lines > _LINES_MAX)

    def _write(self, lines: bytes, *, anew: bool) -> None:
        if self._path is None:
            return
        try:
            if anew:
                self._write_anew(self._path)
            else:
                os.write(self._fd, lines)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._tell(
                    f"an agent after this one may tell verdicts again: {printable(self._path)}: {error.strerror}"
                )
            self._failed = True
            self._shut()  # half a line may be in it

    def _write_anew(self, path: str) -> None:
        lines = [self._head(), *(f"{key} {way}".encode() for key, way in self._marks.items()), b""]
        fresh = f"{path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(fresh, flags, 0o600)
        try:
            with open(os.dup(fd), "wb") as file:
                file.write(b"\n".join(lines))
            os.replace(fresh, path)
        except BaseException:
            os.close(fd)
            raise
        self._shut()
        self._fd, self._lines = fd, len(self._marks)

    def _shut(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """The file stays."""
        with self._lock:
            self._shut()
            self._path = None
