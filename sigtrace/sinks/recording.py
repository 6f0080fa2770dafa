"""Writes a recording: a bounded queue, a thread that packs what is in it, and a file that is readable at any moment."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from typing import Final

from sigtrace.errors import RunError, UsageError
from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Verdict
from sigtrace.model.recording.frames import End, Header, Packer
from sigtrace.model.recording.items import Advance, Item, ItemEncoder, ItemTooLongError
from sigtrace.model.text import printable
from sigtrace.model.workload import Observation

#: What a kill -9 costs at most, but for what the disk takes.
_FLUSH_S: Final = 0.5
#: So many items are written without waiting for more.
_PLENTY: Final = 1000
#: Bytes of lines in a frame, but for its last item.
_FRAME: Final = 1 << 18
STANDARD_OUTPUT: Final = "-"


def create(path: str, *, force: bool) -> int:
    """A descriptor to write to, for its owner alone to read: command lines may hold secrets.

    ``-``: standard output. A file that exists is opened with ``force`` only, and keeps its content until the first
    write. Raises UsageError.
    """
    shown = printable(path)
    if path == STANDARD_OUTPUT:
        if os.isatty(1):
            raise UsageError("a recording is nothing for a terminal", next_step="give a file, or | to a program")
        return os.dup(1)
    how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO without a reader must not hold us up
    try:
        # With force no symbolic link: as root we would empty whatever somebody has put behind it.
        fd = os.open(path, how | (os.O_NOFOLLOW if force else os.O_EXCL), 0o600)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchmod(fd, 0o600)
    except FileExistsError:
        raise UsageError(f"{shown} exists, will not overwrite without --force") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot record to {shown}: {reason}") from error
    os.set_blocking(fd, True)
    return fd


class Recording:
    """A :class:`sigtrace.pipeline.Recorder`. Never blocks: what finds no room is dropped and counted."""

    def __init__(
        self,
        fd: int,
        path: str,
        *,
        chosen: WorkloadFilter | None = None,
        room: int = 20_000,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """``fd``, ``path``: see :func:`create`; ``room``: items that may wait.

        ``on_failure``: called once, from the thread, when nothing more can be written.
        """
        self._fd = fd
        self._name = "standard output" if path == STANDARD_OUTPUT else printable(path)
        self._own = path != STANDARD_OUTPUT
        self._chosen = chosen or WorkloadFilter()
        self._room = room
        self._on_failure = on_failure
        self._packer = Packer()
        self._encoder = ItemEncoder()
        self._waiting: list[Item] = []
        self._writing = 0
        self._dropped = self._dropped_ever = 0
        self._now_ns = 0
        self._ending = self._whole = False
        self._news = threading.Condition()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        self.events = 0
        """written so far, likewise items and bytes"""
        self.items = self.bytes = 0

    def start(self, header: Header) -> None:
        """Begins to write; what the file had in it is gone."""
        self._thread = threading.Thread(target=self._run, args=(header,), name="recording", daemon=True)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether the file was written to, or was going to be."""
        return self._thread is not None

    def observation(self, observation: Observation) -> None:
        """This was fed. With a filter, what is known to be others' is left out."""
        chosen, kind = self._chosen, observation.event.kind
        if chosen.is_open or observation.workload is None or kind in _EVERYBODYS or chosen.observation(observation):
            self._put(observation)
        self._now_ns = max(self._now_ns, observation.event.time_ns)

    def advance(self, now_ns: int) -> None:
        """Time came to ``now_ns``, and a deadline was due."""
        self._now_ns = max(self._now_ns, now_ns)
        self._put(Advance(now_ns))

    def _put(self, item: Item) -> None:
        with self._news:
            if len(self._waiting) + self._writing >= self._room:
                self._dropped += 1
                self._dropped_ever += 1
                return
            self._waiting.append(item)
            if len(self._waiting) in {1, _PLENTY}:
                self._news.notify()

    def take_dropped(self) -> int:
        """How many items were dropped, once there is room again to say so; else 0."""
        with self._news:
            if len(self._waiting) + self._writing > self._room // 2:
                return 0
            dropped, self._dropped = self._dropped, 0
            return dropped

    def close(self, deadline_s: float = 1.0) -> None:
        """Writes the rest and the end mark.

        Raises RunError if the file could not be written, or not in time; up to there it can be read.
        """
        self._whole = True
        late = not self._end(deadline_s)
        upto = f"the first {self.events:,} events are in it"
        if isinstance(self._failure, OSError):
            if isinstance(self._failure, BrokenPipeError):
                return  # who read it has gone: that is no failure
            raise RunError(
                f"cannot write to {self._name}: {self._failure.strerror}; {upto}",
                next_step="make room, or write elsewhere",
            ) from self._failure
        if self._failure is not None:
            raise self._failure
        if late:
            raise RunError(f"cannot write to {self._name} fast enough: {upto}", next_step="write to a faster disk")

    def abandon(self) -> None:
        """Writes the rest, and no end mark: something went wrong. After :meth:`close` it waits for nothing."""
        self._end(0.0 if self._ending else 1.0)

    def _end(self, deadline_s: float) -> bool:
        """Whether the thread ended in time."""
        with self._news:
            self._ending = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(deadline_s)
            if self._thread.is_alive():
                return False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return True

    def _run(self, header: Header) -> None:
        try:
            self._cut()
            self._write(self._packer.start(header))
            while items := self._next():
                self._pack(items)
            if self._whole:
                self._write(self._packer.end(End(self.items, self._now_ns, self._dropped_ever)))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that closes it
            self._failure = error
            if self._on_failure:
                self._on_failure()

    def _next(self) -> list[Item]:
        """What there is, a while after the first came; nothing when nothing more comes."""
        with self._news:
            self._writing = 0
            self._news.wait_for(lambda: self._waiting or self._ending)
            self._news.wait_for(lambda: len(self._waiting) >= _PLENTY or self._ending, _FLUSH_S)
            items, self._waiting = self._waiting, []
            self._writing = len(items)
            return items

    def _pack(self, items: list[Item]) -> None:
        lines: list[bytes] = []
        size = events = count = 0
        for at, item in enumerate(items, 1):
            try:
                new = self._encoder.lines(item)
            except ItemTooLongError:
                with self._news:
                    self._dropped += 1
                    self._dropped_ever += 1
                new = []
            else:
                count += 1
                events += isinstance(item, Observation)
            lines += new
            size += sum(map(len, new)) + len(new)
            if lines and (size > _FRAME or at == len(items)):
                self._write(self._packer.lines(lines))
                self.events += events
                self.items += count
                lines, size, events, count = [], 0, 0, 0

    def _write(self, raw: bytes) -> None:
        """A whole frame or, but for what has no end to cut off, nothing of it."""
        try:
            view = memoryview(raw)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._cut()
            raise
        self.bytes += len(raw)

    def _cut(self) -> None:
        """The file ends where we are; standard output may have had something in it before us."""
        if self._own:
            with contextlib.suppress(OSError):  # no file, but a FIFO or a device
                os.ftruncate(self._fd, self.bytes)


#: Told of no container, and needed by all: a loss; the OOM killer's mark, which older kernels give with a pid alone.
_EVERYBODYS: Final = frozenset({Kind.LOST, Kind.OOM_KILL})


class Losses:
    """A :class:`sigtrace.sinks.base.Sink` that only tells what a recording dropped."""

    def __init__(self, recording: Recording) -> None:
        self.take_dropped = recording.take_dropped

    def observation(self, observation: Observation) -> None:
        """The pipeline gives it to the recording itself."""

    def verdict(self, verdict: Verdict) -> None:
        """A replay finds it again."""

    def pass_time(self, now_ns: int) -> None:
        """It holds nothing back."""

    def close(self) -> None:
        """The recording is closed by its owner."""
