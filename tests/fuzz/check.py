"""What must hold of whatever is told, whoever wrote the bytes that it was made of."""

from __future__ import annotations

import contextlib
import io
import json
import re
import unicodedata

#: Control, format (bidi), surrogate, line and paragraph separators: what a terminal acts on.
ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class BrokenError(AssertionError):
    """A property does not hold."""


def harmless(*texts: str | None) -> None:
    """No character in them that a terminal acts on, and no line break."""
    for text in texts:
        if (
            text
            and not (text.isascii() and text.isprintable())
            and (bad := {unicodedata.category(c) for c in text} & ACTING)
        ):
            raise BrokenError(f"{bad} in {text!r}")


def harmless_lines(text: str) -> None:
    """The same of what goes to a terminal: lines, with our own colours."""
    for line in _COLOUR.sub("", text).split("\n"):
        harmless(line)


def one_line(line: bytes | str) -> object:
    """JSON of one line, that any parser takes; returned."""
    text = line.decode("ascii") if isinstance(line, bytes) else line
    if not text.endswith("\n") or "\n" in text[:-1] or "\r" in text:
        raise BrokenError(f"no line: {text[:200]!r}")
    value = json.loads(text, parse_constant=_no_constant)
    _harmless_json(value)
    return value


def _no_constant(word: str) -> None:
    raise BrokenError(f"{word} is no JSON")


def _harmless_json(value: object) -> None:
    if isinstance(value, str):
        harmless(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            harmless(key)
            _harmless_json(one)
    elif isinstance(value, list):
        for one in value:
            _harmless_json(one)


def equal(one: object, other: object) -> None:
    """They are."""
    if one != other:
        raise BrokenError(f"{one!r} is not {other!r}")


class Writer:
    """In place of a LineWriter: what is written is checked at once."""

    closed = False

    def __init__(self, *, json_lines: bool) -> None:
        self._json = json_lines

    def write(self, text: str) -> None:
        text.encode("utf-8")
        if self._json:
            one_line(text)
        else:
            harmless_lines(text)

    def take_dropped(self) -> int:
        return 0


@contextlib.contextmanager
def files(module, contents):
    """``open`` in a module reads from here, by the end of the path; what is not here is not there."""

    def fake(path, mode="r", encoding=None, errors=None, **_):
        raw = next((raw for end, raw in contents.items() if str(path).endswith(end)), None)
        if raw is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        stream = io.BytesIO(raw)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding=encoding, errors=errors)

    module.open = fake
    try:
        yield
    finally:
        del module.open


def parts(data: bytes, count: int) -> list[bytes]:
    """The input in so many parts, as a corpus file can show them: between lines of four dashes."""
    found = data.split(b"\n----\n", count - 1)
    return found + [b""] * (count - len(found))
