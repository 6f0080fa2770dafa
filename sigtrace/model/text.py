"""Text that others wrote (comm, argv, cgroup names) made harmless: it can go to a terminal or into JSON."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence

#: Categories that move the cursor, hide, reorder or break a line: control, format (bidi), surrogate, private use,
#: unassigned, line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(raw: bytes | str) -> str:
    r"""UTF-8 with every byte that is none, and every character a terminal could act on, as ``\x1b`` or ``\u202e``."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def columns(text: str) -> int:
    """How many columns of a terminal it takes: wide characters two, combining ones none (Unicode TR11)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    return 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """At most ``width`` columns of it; what was cut ends in ``…``."""
    taken = end = 0
    for at, char in enumerate(text):
        taken += _width(char)
        if taken < width:
            end = at + 1
        elif taken > width:
            return text[:end] + "…"
    return text


def argv_of(raw: bytes, *, truncated: bool = False) -> tuple[str, ...]:
    """Words of a NUL-separated argument block, printable; a truncated last word ends in ``…``."""
    if not raw:
        return ()
    words = [printable(word) for word in raw.removesuffix(b"\0").split(b"\0")]
    if truncated:
        words[-1] += "…"
    return tuple(words)


def command_line(argv: Sequence[str], width: int = 0) -> str:
    """One line a person can read and a shell would take; cut to ``width`` columns if given."""
    words = " ".join(argv[:1] and [_quote(argv[0])] + [_quote(word) for word in argv[1:]])
    return cut(words, width) if width else words


def _quote(word: str) -> str:
    if word and not any(c in word for c in " \t\"'$&|;<>()[]{}!*?#~`\\"):
        return word
    if "'" not in word and '"' in word:
        return f"'{word}'"
    if '"' not in word and "$" not in word and "`" not in word and "\\" not in word:
        return f'"{word}"'
    return shlex.quote(word)
