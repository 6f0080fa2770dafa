"""Colour for a terminal, and nothing but text for everything else."""

from __future__ import annotations

import os
import shutil
from typing import Final, TextIO

from sigtrace.model.text import columns

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Style:
    """Paints words, or leaves them. NO_COLOR (no-color.org) and a stream that is no terminal leave them."""

    def __init__(self, *, colour: bool = False, width: int = 80) -> None:
        self.colour = colour
        self.width = width

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        """What the stream can show: at most 100 columns of a terminal, else 80."""
        terminal = stream.isatty()
        width = min(shutil.get_terminal_size((80, 24)).columns, 100) if terminal else 80
        return cls(colour=terminal and not os.environ.get("NO_COLOR"), width=max(width, 40))

    def __call__(self, text: str, *names: str) -> str:
        """The text in these styles."""
        if not self.colour or not names:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"

    def wrap(self, text: str, indent: int, first: str = "") -> list[str]:
        """Lines of at most the width in columns, each indented so far; ``first`` stands in the first one's indent."""
        room = self.width - indent
        lines = [""]
        for word in text.split(" "):
            joined = f"{lines[-1]} {word}" if lines[-1] else word
            if columns(joined) <= room:
                lines[-1] = joined
                continue
            pieces = _pieces(word, room)
            if not lines[-1]:
                lines.pop()
            lines += pieces
        margins = [first + " " * (indent - columns(first)), *[" " * indent] * (len(lines) - 1)]
        return [margin + line for margin, line in zip(margins, lines, strict=True)]


def _pieces(word: str, room: int) -> list[str]:
    """A word too long for a line, broken where it must be."""
    pieces = [""]
    for char in word:
        if columns(pieces[-1] + char) > room:
            pieces.append("")
        pieces[-1] += char
    return pieces
