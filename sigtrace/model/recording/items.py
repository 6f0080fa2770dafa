"""What is recorded, item by item, as lines of JSON.

    ["observation", {…}]     an event was fed
    ["advance", ns]          time had come to so many ns, and a detector had waited for it
    ["Task", {…}]            the next number in the table of tasks; likewise ["Workload", {…}]
    ["forget"]               the tables are empty again

Tasks and workloads come again and again: each is told once and from then on goes by its number. A reader passes over
lines of a kind that it doesn't know.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from sigtrace.model.event import Task
from sigtrace.model.recording import plain, values
from sigtrace.model.workload import Observation, Workload

#: Bytes of a line. A reader refuses longer ones, a writer drops their item.
LINE_MAX: Final = 1 << 16
#: Definitions, and bytes of them, after which a writer empties the tables; a reader keeps no more than twice as many.
TABLE_MAX: Final = 4096
TABLE_BYTES_MAX: Final = 1 << 20

_TABLES: Final = (Task, Workload)
_OBSERVATION: Final = "observation"
_ADVANCE: Final = "advance"
_FORGET: Final = "forget"
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Advance:
    """Time had come to ``now_ns`` (CLOCK_BOOTTIME), and detectors were told."""

    now_ns: int


Item = Observation | Advance


class ItemTooLongError(ValueError):
    """A line would be longer than a reader takes."""


class ItemEncoder:
    """Items to lines."""

    def __init__(self) -> None:
        self._numbers: dict[type, dict[Any, int]] = {kind: {} for kind in _TABLES}
        self._values = values.Encoder({kind: self._numberer(kind) for kind in _TABLES})
        self._lines: list[bytes] = []
        self._count = self._bytes = 0

    def lines(self, item: Item) -> list[bytes]:
        """The item's line, and before it what it refers to.

        Raises ItemTooLongError; what the item refers to then comes with the next one.
        """
        if self._count > TABLE_MAX or self._bytes > TABLE_BYTES_MAX:
            for numbers in self._numbers.values():
                numbers.clear()
            self._count = self._bytes = 0
            self._add(_FORGET)
        if isinstance(item, Advance):
            self._add(_ADVANCE, item.now_ns)
        else:
            self._add(_OBSERVATION, self._values.object(item))
        lines, self._lines = self._lines, []
        return lines

    def _add(self, *line: Any) -> None:
        raw = _ENCODE(line).encode("ascii")
        if len(raw) > LINE_MAX:
            raise ItemTooLongError(f"{len(raw)} bytes")
        self._lines.append(raw)

    def _numberer(self, kind: type) -> Callable[[Any], int]:
        numbers = self._numbers[kind]

        def number(value: Any) -> int:
            known = numbers.get(value)
            if known is None:
                self._add(kind.__name__, self._values.object(value))
                known = numbers[value] = len(numbers)
                self._count += 1
                self._bytes += len(self._lines[-1])
            return known

        return number


class ItemDecoder:
    """Lines to items. Raises ValueError for a line that no writer wrote."""

    def __init__(self) -> None:
        self.unknown = 0
        """observations of a kind that this version doesn't know; each reads as the time at which it was"""
        self._tables: dict[type, list[Any]] = {kind: [] for kind in _TABLES}
        self._named = {kind.__name__: (kind, table) for kind, table in self._tables.items()}
        self._values = values.Decoder(self._tables)
        self._count = self._bytes = 0

    def item(self, line: bytes) -> Item | None:
        """The item; None if the line only told something that items refer to, or is of no known kind."""
        word, *rest = _words(line)
        if word == _OBSERVATION:
            return self._observation(_only(rest))
        if word == _ADVANCE:
            return _advance(_only(rest))
        if word in self._named:
            kind, table = self._named[word]
            self._count += 1
            self._bytes += len(line)
            if self._count > 2 * TABLE_MAX or self._bytes > 2 * TABLE_BYTES_MAX:
                raise ValueError("more definitions than a writer makes")
            found = self._values.object(kind, _only(rest))
            table.append(None if found is plain.UNKNOWN else found)
        elif word == _FORGET:
            self._count = self._bytes = 0
            for table in self._tables.values():
                table.clear()
        return None

    def _observation(self, value: plain.Json) -> Item:
        found = self._values.object(Observation, value)
        if found is not plain.UNKNOWN:
            return cast("Observation", found)
        self.unknown += 1
        event = value.get("event")
        return _advance(event.get("time_ns") if isinstance(event, dict) else None)


def _words(line: bytes) -> list[Any]:
    if len(line) > LINE_MAX:
        raise ValueError(f"a line of {len(line)} bytes")
    try:
        words = json.loads(line, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("lists in lists in lists") from None
    if not isinstance(words, list) or not words or not isinstance(words[0], str):
        raise ValueError("a line that is no list with its kind in front")
    return words


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _only(rest: list[Any]) -> plain.Json:
    if not rest:
        raise ValueError("a line with nothing in it")
    return rest[0]  # what may stand behind it is of a later version


def _advance(now_ns: plain.Json) -> Advance:
    if type(now_ns) is not int or not 0 <= now_ns <= plain.TIME_MAX:
        raise ValueError("a time that is none")
    return Advance(now_ns)
