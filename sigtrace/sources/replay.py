"""Reads a recording: the items in it, as long as it makes sense, and where it ceases to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO, Final, NoReturn, Self

from sigtrace.errors import RunError, UsageError
from sigtrace.model.recording import frames
from sigtrace.model.recording.frames import DamageError, End, Header, NewerError, Part
from sigtrace.model.recording.items import Item, ItemDecoder
from sigtrace.model.text import printable
from sigtrace.model.workload import Observation

STANDARD_INPUT: Final = "-"


def open_recording(path: str) -> Replay:
    """A recording by its path, or ``-``. Raises UsageError if it can't be opened, RunError if it is none."""
    shown = printable(path)
    if path == STANDARD_INPUT:
        if sys.stdin is None:  # started with <&-
            raise UsageError("cannot read standard input: it is closed")
        return Replay(sys.stdin.buffer, "standard input")
    try:
        file = open(path, "rb")  # noqa: SIM115 - whoever uses it closes it
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read {shown}: {reason}") from error
    try:
        return Replay(file, shown)
    except BaseException:
        file.close()
        raise


class Replay:
    """A recording that is open. Everything in it was written by anyone; no frame or table grows beyond its bound."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Reads the header. Raises RunError."""
        self._file = file
        self.name = name
        self._unpacker = frames.Unpacker()
        self._decoder = ItemDecoder()
        self._offset = self._next = 0
        self._items = 0
        self.events = 0
        """read so far"""
        self.end: End | None = None
        """the end mark, once it was reached"""
        try:
            self._unpacker.start(self._take(frames.START.size))
            self.header = self._header()
        except NewerError as error:
            raise RunError(f"{name}: {error}", next_step="replay it with a newer sigtrace") from None
        except DamageError as error:
            self._damaged(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def unknown(self) -> int:
        """Observations of a kind that this version doesn't know."""
        return self._decoder.unknown

    def items(self) -> Iterator[Item]:
        """Each item up to the end mark. Raises RunError, naming the offset, behind the last that makes sense."""
        try:
            while self.end is None:
                part, raw = self._frame()
                if part == Part.LINES:
                    yield from self._lines(raw)
                elif part == Part.END:
                    self.end = self._ended(frames.end_of(raw))
        except DamageError as error:
            self._damaged(error)

    def _lines(self, raw: bytes) -> Iterator[Item]:
        for at, line in enumerate(raw.split(b"\n"), 1):
            try:
                item = self._decoder.item(line)
            except ValueError as error:
                raise DamageError(f"line {at} of the frame: {error}") from error
            if item is not None:
                self._items += 1
                self.events += isinstance(item, Observation)
                yield item

    def _header(self) -> Header:
        part, raw = self._frame()
        if part != Part.HEADER:
            raise DamageError("the first frame is no header")
        return frames.header_of(raw)

    def _ended(self, end: End) -> End:
        if end.items != self._items:
            raise DamageError(f"the end mark counts {end.items} items, and there are {self._items}")
        self._offset = self._next
        if self._take(1):
            raise DamageError("something follows the end mark")
        return end

    def _frame(self) -> tuple[int, bytes]:
        self._offset = self._next
        head = self._take(frames.HEAD.size)
        return self._unpacker.frame(head, self._take(self._unpacker.length(head)))

    def _take(self, size: int) -> bytes:
        """So many bytes, or fewer at the end of the file."""
        try:
            raw = self._file.read(size)
        except OSError as error:
            raise DamageError(f"cannot be read: {error.strerror}") from error
        self._next += len(raw)
        return raw

    def _damaged(self, error: DamageError) -> NoReturn:
        before = f"the {self.events:,} events before that are whole" if self._items else "nothing before that is whole"
        raise RunError(f"{self.name}: offset {self._offset}: {error}; {before}") from error
