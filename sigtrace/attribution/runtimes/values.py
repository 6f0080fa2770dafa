"""Values out of other people's JSON: bounded, of the type that was asked for, or None. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from sigtrace.errors import RunError
from sigtrace.model.text import printable

#: Characters of a name, an image, a label that are kept.
TEXT_MAX: Final = 256
#: Bytes of one JSON document. containerd's verbose status has about 30 KB, of which the OCI spec is most.
JSON_MAX: Final = 4 << 20

#: PID_MAX_LIMIT on 64-bit kernels, include/linux/threads.h.
PID_MAX: Final = 1 << 22

_CONTAINER_ID: Final = re.compile("[0-9a-f]{64}")


class NoAnswer(RunError):  # noqa: N818 -- it says what came back: nothing that could be used
    """A runtime did not answer, too late, too much or no sense. Costs names; never reaches a user but in a status."""


def is_container_id(value: object) -> bool:
    """64 hexadecimal digits, as every runtime's ids are. Nothing else is ever put into a request or a path."""
    return isinstance(value, str) and _CONTAINER_ID.fullmatch(value) is not None


def parse_json(raw: bytes | str) -> object:
    """Raises NoAnswer for what is too large, too deep or no JSON."""
    if len(raw) > JSON_MAX:
        raise NoAnswer(f"an answer of {len(raw):,} bytes of JSON, more than {JSON_MAX:,}")
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"an answer that is no JSON: {clean(str(error))}") from error
    return value


def at(value: object, *keys: str) -> object:
    """The value below these keys; None where there is none, or no object on the way."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def clean(value: object) -> str:
    """Text that is safe to print and not longer than TEXT_MAX characters before escaping; empty for no text."""
    if isinstance(value, bytes):
        return printable(value[:TEXT_MAX])
    return printable(value[:TEXT_MAX]) if isinstance(value, str) else ""


def text(value: object) -> str | None:
    """As clean; None for the empty one."""
    return clean(value) or None


def number(value: object, most: int) -> int | None:
    """An integer from 0 to ``most``; JSON's true is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    return None


def pid(value: object) -> int | None:
    """A process id of the host; runtimes say 0 for a container that does not run."""
    return number(value, PID_MAX) or None


def strings(value: object, keys: frozenset[str]) -> dict[str, str]:
    """Those members of an object that have one of these names and are strings; unprinted, so not yet safe to show."""
    if not isinstance(value, Mapping):
        return {}
    return {key: member for key in keys if isinstance(member := value.get(key), str)}
