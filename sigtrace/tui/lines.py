"""Styled text without a terminal: a line is a list of (text, style) spans, as wide as they say. All text is printable.

A style is words out of: bold dim reverse red green yellow cyan blue.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from rich.cells import cell_len, set_cell_size

from sigtrace.model.text import printable

Span = tuple[str, str]
Line = list[Span]

_COLOUR: Final = re.compile(r"\x1b\[([0-9;]*)m")
_CODES: Final = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}
#: So many characters of a text can ever be seen: what is longer is cut before it is measured.
_LONGEST: Final = 8_192
#: Combining marks on one letter.
_MARKS_MAX: Final = 2
#: Terminals don't agree on the width of these: Hangul vowels and finals, variation selectors, halves of flags, skin
#: tones, the keycap.
_UNSTEADY: Final = (
    (0x1160, 0x11FF),
    (0x20E3, 0x20E3),
    (0xD7B0, 0xD7FF),
    (0xFE00, 0xFE0F),
    (0x1F1E6, 0x1F1FF),
    (0x1F3FB, 0x1F3FF),
    (0xE0000, 0xE0FFF),
)
#: Letters from right to left: a terminal that knows about them would turn the columns beside them round.
_TURNING: Final = frozenset({"R", "AL", "AN"})


def width_of(text: str) -> int:
    """Columns that the terminal needs, by the table that textual itself lays out with."""
    return cell_len(text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly ``width`` columns of it: cut with ``…``, or padded."""
    if width <= 0:
        return ""
    text = clean(text)
    need = cell_len(text)
    if need > width:
        # A wide character that would stand half outside becomes a blank in set_cell_size.
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - need) + text if right else text + " " * (width - need)


def clean(text: str) -> str:
    """Printable, and only characters that every terminal gives the same width and leaves where they are."""
    return text if text.isascii() and text.isprintable() else _cleaned(text[:_LONGEST])


@lru_cache(1024)
def _cleaned(text: str) -> str:
    found: list[str] = []
    marks = 0
    for char in printable(text):
        combining = not char.isascii() and unicodedata.combining(char) != 0
        marks = marks + 1 if combining else 0
        # A mark without a letter would go to whatever stands before it; many on one reach into the lines around it.
        if (combining and (not found or marks > _MARKS_MAX)) or _is_unsteady(char):
            code = ord(char)
            found.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
            marks = 0
        else:
            found.append(char)
    return "".join(found)


def _is_unsteady(char: str) -> bool:
    if char.isascii():
        return False
    code = ord(char)
    return any(low <= code <= high for low, high in _UNSTEADY) or unicodedata.bidirectional(char) in _TURNING


def length(line: Line) -> int:
    """Columns of a line."""
    return sum(cell_len(text) for text, _ in line)


def fit_line(line: Line, width: int, fill: str = "") -> Line:
    """Exactly ``width`` columns of a line, clean; what is missing is blank, in the style ``fill``."""
    found: Line = []
    room = width
    for raw, style in line:
        text = clean(raw)
        need = cell_len(text)
        if need > room:
            found.append((fit(text, room), style))
            return found
        found.append((text, style))
        room -= need
    if room:
        found.append((" " * room, fill))
    return found


def styled(line: Line, style: str) -> Line:
    """The line with a style more."""
    return [(text, f"{own} {style}".strip()) for text, own in line]


def plain(line: Line) -> str:
    """Its text alone."""
    return "".join(text for text, _ in line)


def of_ansi(line: str) -> Line:
    """A line as sinks.style paints it."""
    found: Line = []
    style = ""
    at = 0
    for match in _COLOUR.finditer(line):
        if match.start() > at:
            found.append((clean(line[at : match.start()]), style))
        style = " ".join(_CODES[code] for code in match[1].split(";") if code in _CODES)
        at = match.end()
    if at < len(line):
        found.append((clean(line[at:]), style))
    return found


def wrapped(text: str, width: int, indent: int = 0, first: str = "", style: str = "", most: int = 0) -> list[Line]:
    """Lines of a text, broken at blanks and where they must be; ``most`` of them at most (0: all)."""
    room = max(width - indent, 8)
    rows = [""]
    for word in clean(text).split(" "):
        joined = f"{rows[-1]} {word}" if rows[-1] else word
        if cell_len(joined) <= room:
            rows[-1] = joined
            continue
        pieces = _pieces(word, room)
        if not rows[-1]:
            rows.pop()
        rows += pieces
        if most and len(rows) > most:
            break
    if most and len(rows) > most:
        rows = [*rows[: most - 1], fit(rows[most - 1] + " …", room).rstrip() if most else ""]
    heads = [fit(first, indent), *[" " * indent] * (len(rows) - 1)]
    return [[(head, "dim"), (row, style)] for head, row in zip(heads, rows, strict=True)]


def _pieces(word: str, room: int) -> Iterable[str]:
    pieces = [""]
    width = 0
    for char in word:
        one = cell_len(char)
        if width + one > room:
            pieces.append("")
            width = 0
        pieces[-1] += char
        width += one
    return pieces
