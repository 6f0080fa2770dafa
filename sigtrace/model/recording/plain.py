"""Numbers, text and enum members out of JSON that anyone may have written.

Each reader gives the value, or UNKNOWN, or raises ValueError.
"""

from __future__ import annotations

import enum
import math
import unicodedata
from collections.abc import Callable
from typing import Any, Final

from sigtrace.model.text import printable

#: JSON as the json module gives and takes it.
Json = Any
Read = Callable[[Json], Any]


class _Unknown(enum.Enum):
    UNKNOWN = enum.auto()


#: Something that this version has no word for. A field takes its default instead, or None; failing both, what has the
#: field is itself unknown.
UNKNOWN: Final = _Unknown.UNKNOWN

#: 146 years, in ns.
TIME_MAX: Final = 1 << 62
#: Any counter, id or mask of the kernel.
ANY: Final = (-(1 << 63), (1 << 64) - 1)
#: A date can be made of it, and of the sum of some.
_TIMES: Final = (-TIME_MAX, TIME_MAX)
#: 1 is shifted by it.
_SIGNALS: Final = (0, 64)
#: Characters that a terminal acts on. Text is printable when it is recorded; not every Python knows every character, so
#: those that are unknown to this one stay as they are.
_ACTING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def limits_of(name: str) -> tuple[int, int]:
    """Of the numbers in a field of this name."""
    return _SIGNALS if name in {"signo", "stop_signal"} else _TIMES if name.endswith("_ns") else ANY


def shown(value: Json) -> str:
    """For a message."""
    if isinstance(value, list | dict):
        return type(value).__name__
    words = printable(str(value))
    return words if len(words) < 40 else words[:39] + "…"


def member_of(kind: type[enum.Enum]) -> Read:
    """A reader of an enum's values."""

    def read(value: Json) -> Any:
        try:
            return kind(value)
        except ValueError:
            return UNKNOWN

    return read


def integer(value: Json, least: int, most: int) -> Any:
    """An int within these limits; a bool is one."""
    if value is None:
        return UNKNOWN
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"is {shown(value)}")
    return value


def real(value: Json) -> Any:
    """A finite number. An int stays one: the JSON of a record shows the difference."""
    if value is None:
        return UNKNOWN
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1 << 62:
        raise ValueError(f"is {shown(value)}")
    return value


def anything(value: Json) -> Any:
    """JSON of any form; text in it made printable."""
    if isinstance(value, dict):
        return {text(key): anything(one) for key, one in value.items()}
    if isinstance(value, list):
        return [anything(one) for one in value]
    return text(value) if isinstance(value, str) else value


def text(value: Json) -> Any:
    """A str that a terminal does nothing with."""
    if value is None:
        return UNKNOWN
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}")  # noqa: TRY004 - whoever reads has one error to expect
    if value.isascii() and value.isprintable():
        return value
    return printable(value) if any(unicodedata.category(c) in _ACTING for c in value) else value
