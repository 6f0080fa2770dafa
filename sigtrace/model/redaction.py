"""Records without what command lines may hide. Pure.

On wherever records leave the node or a privileged reader: OTLP, standard output and the socket of the agent.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from typing import Any, Final, TypeVar

from sigtrace.model.event import Task
from sigtrace.model.harmless import redacted_argv
from sigtrace.model.text import command_line
from sigtrace.model.workload import PreStop

__all__ = ["quoted_in_messages", "redacted", "redacted_argv"]

_T = TypeVar("_T")
#: Annotations of fields that hold no command line.
_PLAIN: Final = re.compile(r"(?:int|float|bool|str|None|[\s|])+")


def redacted(value: _T) -> _T:
    """A verdict, an audit, an observation: with each command line in it redacted, and where its texts quote one."""
    quoted: dict[str, str] = {}
    found: _T = _redacted(value, quoted)
    if not quoted or not dataclasses.is_dataclass(found) or isinstance(found, type):
        return found
    texts = {
        field.name: _rewritten(getattr(found, field.name), quoted)
        for field in dataclasses.fields(found)
        if field.name in ("message", "advice", "why")
    }
    return dataclasses.replace(found, **texts) if texts else found


def quoted_in_messages(argv: tuple[str, ...]) -> str:
    """A command line as the detectors quote it (detectors.words.what_of)."""
    return command_line((argv[0].rpartition("/")[2] or argv[0], *argv[1:]), 60)


def _rewritten(text: Any, quoted: dict[str, str]) -> Any:
    if isinstance(text, tuple):
        return tuple([_rewritten(one, quoted) for one in text])
    # The longest first: one command line may begin another.
    for before in sorted(quoted, key=len, reverse=True):
        text = text.replace(before, quoted[before])
    return text


def _redacted(value: Any, quoted: dict[str, str]) -> Any:
    """``quoted``: gets each command line as messages quote it, and what it is to be there."""
    kind = type(value)
    if kind is tuple:
        return tuple([_redacted(one, quoted) for one in value])
    if not dataclasses.is_dataclass(kind) or isinstance(value, enum.Enum):
        return value
    changed: dict[str, Any] = {}
    if kind is Task and value.argv:
        changed["argv"] = redacted_argv(value.argv)
        if changed["argv"] != value.argv:
            quoted[quoted_in_messages(value.argv)] = quoted_in_messages(changed["argv"])
    elif kind is PreStop:
        changed["command"] = redacted_argv(value.command)
    else:
        for name in _nested(kind):
            before = getattr(value, name)
            after = _redacted(before, quoted)
            if after is not before:
                changed[name] = after
    return dataclasses.replace(value, **changed) if changed else value


@functools.cache
def _nested(kind: type) -> tuple[str, ...]:
    """Fields that may hold a command line somewhere: those that are no plain value by their annotation."""
    return tuple(f.name for f in dataclasses.fields(kind) if not _PLAIN.fullmatch(str(f.type)))
