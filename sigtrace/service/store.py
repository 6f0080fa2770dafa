"""The last verdicts, in memory as the lines that readers get, and in a file that outlives the agent.

The file: a line for each verdict, ``CRC WALL_NS KIND JSON``, KIND ``f`` (finding), ``s`` (shutdown) or ``g`` (a gap: no
agent ran). It only grows by whole lines, and is written anew beside itself when most of it is out of date. Its time of
modification says until when an agent was alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sigtrace.model.finding import Verdict
from sigtrace.model.text import printable
from sigtrace.service.protocol import Gap, raw_line
from sigtrace.service.verdicts import VerdictDecoder

#: Verdicts that are kept, and bytes of them.
ROOM: Final = 1000
ROOM_BYTES: Final = 8 << 20
_GAPS: Final = 16
#: A file is written anew when it is so much larger than what is kept.
_GROWTH: Final = 2
_SLACK: Final = 1 << 16
#: No agent writes a larger file.
_FILE_MAX: Final = 64 << 20
_LINE: Final = re.compile(rb"([0-9a-f]{8}) (\d{1,19}) ([fsg]) (\{.*\})")
_NAME: Final = "verdicts"

FINDING: Final = "f"
SHUTDOWN: Final = "s"
_GAP: Final = "g"


@dataclass(frozen=True, slots=True)
class Kept:
    """A verdict as it is sent."""

    seq: int
    wall_ns: int
    kind: str
    line: bytes
    """a frame of the protocol"""


class Store:
    """Used by one thread. Whatever becomes of the file, what is in memory stays and is told."""

    def __init__(
        self,
        folder: str | None,
        tell: Callable[[str], None],
        *,
        room: int = ROOM,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        """``folder``: where the file is; None: only memory. ``tell``: takes a line for the log."""
        self._path = os.path.join(folder, _NAME) if folder else None
        self._tell = tell
        self._room = room
        self._room_bytes = room_bytes
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._fd = self._lock_fd = -1
        self._file_bytes = 0
        self._failed = False
        self.gaps: deque[Gap] = deque(maxlen=_GAPS)
        self.next_seq = 1
        self.last_shutdown_wall_ns = 0

    # ---- memory

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def first_seq(self) -> int:
        """Of the oldest that is kept."""
        return self.next_seq - len(self._kept)

    @property
    def oldest_wall_ns(self) -> int:
        """Of what is kept; 0 if that is nothing."""
        return self._kept[0].wall_ns if self._kept else 0

    def after(self, seq: int) -> Iterator[Kept]:
        """Those from this number on."""
        for at in range(max(seq - self.first_seq, 0), len(self._kept)):
            yield self._kept[at]

    def verdicts(self, boot_id: str) -> Iterator[Verdict]:
        """Those of this boot that are kept and can be read."""
        decoder = VerdictDecoder()
        for kept in list(self._kept):
            with contextlib.suppress(ValueError, RecursionError):
                verdict = decoder.verdict(json.loads(_json_in(kept.line)))
                if decoder.boot_id == boot_id:
                    yield verdict

    def add(self, kind: str, wall_ns: int, verdict: bytes) -> None:
        """``verdict``: its JSON, with no line break in it."""
        self._keep(kind, wall_ns, verdict)
        self._append(_file_line(kind, wall_ns, verdict))

    def add_gap(self, gap: Gap) -> None:
        """Something of this time was not seen."""
        self.gaps.append(gap)
        self._append(_gap_line(gap))

    def _keep(self, kind: str, wall_ns: int, verdict: bytes) -> None:
        kept = Kept(self.next_seq, wall_ns, kind, raw_line("verdict", verdict))
        self.next_seq += 1
        self._kept.append(kept)
        self._bytes += len(kept.line)
        if kind == SHUTDOWN:
            self.last_shutdown_wall_ns = max(self.last_shutdown_wall_ns, wall_ns)
        while len(self._kept) > self._room or self._bytes > self._room_bytes:
            self._bytes -= len(self._kept.popleft().line)

    # ---- the file

    def open(self, now_ns: int, *, unbroken: bool = False) -> None:
        """Takes over what an agent before this one kept; ``now_ns``: since the epoch, the gap between them ends.

        ``unbroken``: there is none, for the kernel went on.
        """
        if self._path is None:
            return
        try:
            folder = os.path.dirname(self._path)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if (owner := os.stat(folder).st_uid) not in (0, os.geteuid()):
                self._tell(
                    f"verdicts are not kept for the next agent: {printable(folder)} belongs to uid {owner}, who could "
                    "put others in their place"
                )
                self._path = None
                return
            if not self._lock(folder):
                self._tell(
                    f"verdicts are not kept for the next agent: another one keeps its own in {printable(folder)}"
                )
                self._path = None
                return
            self._read(self._path, 0 if unbroken else now_ns)
            self._write_anew(self._path)
        except OSError as error:
            self._fail(error)

    def _lock(self, folder: str) -> bool:
        """Agents at different sockets don't overwrite one another's file."""
        self._lock_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self, path: str, now_ns: int) -> None:
        try:
            # No link: as root we would read, and set aside, whatever somebody has put behind it.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        with open(fd, "rb") as file:
            raw = file.read(_FILE_MAX + 1)
            alive_ns = os.fstat(fd).st_mtime_ns
        *lines, torn = raw.split(b"\n")
        bad = 0
        for line in lines:
            bad += not self._take(line)
        if torn:
            self._tell("the last verdict was not wholly written: the agent before was killed, or the disk was full")
        if bad or len(raw) > _FILE_MAX:
            aside = f"{path}.damaged"
            os.replace(path, aside)
            self._tell(f"{bad} lines of {printable(path)} are damaged: it is now {printable(aside)}, the rest is kept")
        if 0 < alive_ns < now_ns:
            self.gaps.append(Gap(alive_ns, now_ns))

    def _take(self, line: bytes) -> bool:
        match = _LINE.fullmatch(line)
        if not match or int(match[1], 16) != zlib.crc32(line[9:]) or int(match[2]) >= 1 << 62:
            return False
        wall_ns, kind, value = int(match[2]), match[3].decode(), match[4]
        if kind != _GAP:
            self._keep(kind, wall_ns, value)
            return True
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
            said = json.loads(value)
            lost = said.get("lost")
            self.gaps.append(
                Gap(wall_ns, min(int(said["until_ns"]), 1 << 62), None if lost is None else min(int(lost), 1 << 62))
            )
        return True

    def _write_anew(self, path: str) -> None:
        """All that is kept, in a file that then takes the place of the old one."""
        fresh = f"{path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = 0
            for line in self._lines():
                _write(fd, line)
                size += len(line)
            os.fsync(fd)
            os.replace(fresh, path)
        except BaseException:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._file_bytes, self._failed = fd, size, False

    def _lines(self) -> Iterator[bytes]:
        """Of the file, one at a time: together they would take as much again as all that is kept."""
        for gap in self.gaps:
            yield _gap_line(gap)
        for kept in self._kept:
            yield _file_line(kept.kind, kept.wall_ns, _json_in(kept.line))

    def _append(self, line: bytes) -> None:
        if self._path is None:
            return
        try:
            if self._failed or self._fd < 0 or self._file_bytes > _GROWTH * self._bytes + _SLACK:
                self._write_anew(self._path)
            else:
                _write(self._fd, line)
                self._file_bytes += len(line)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Told once; with each verdict it is tried again."""
        if not self._failed and self._path:
            reason = error.strerror or str(error)
            self._tell(f"verdicts are not kept for the next agent: {printable(self._path)}: {reason}")
        self._failed = True

    def alive(self) -> None:
        """An agent is there still."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def close(self) -> None:
        """To the disk with it."""
        if self._fd >= 0:
            self.alive()
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _file_line(kind: str, wall_ns: int, value: bytes) -> bytes:
    checked = b"%d %s %s" % (max(wall_ns, 0), kind.encode(), value)
    return b"%08x %s\n" % (zlib.crc32(checked), checked)


def _gap_line(gap: Gap) -> bytes:
    lost = b"" if gap.lost is None else b',"lost":%d' % gap.lost
    return _file_line(_GAP, gap.from_ns, b'{"until_ns":%d%b}' % (gap.until_ns, lost))


def _json_in(line: bytes) -> bytes:
    return line[len(b'{"verdict":') : -len(b"}\n")]


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
