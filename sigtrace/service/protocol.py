"""What goes over the agent's socket: one line of JSON a frame, one request a connection, nothing that changes anything.

    agent    {"sigtrace": "0.1", "protocol": 1, "pid": 9, "node": "n1", "boot_id": "…"}
    reader   {"get": "verdicts", "since_ns": 0, "follow": true}
    agent    {"verdict": {…}}  {"snapshot": {…}}  {"audit": {…}}  {"status": {…}}
             {"begin": true}   of verdicts, first: none of those that come from here on is missed
             {"lost": 3}       so many frames were not sent: the reader was too slow for them
             {"error": "…"}    and then the connection ends
             {"end": true}     that was all

Either side may be anyone: each line is bounded, and each value is checked. What one side doesn't know it passes over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from sigtrace.model.recording import plain, values

_T = TypeVar("_T")

#: Both sides must have the same; new topics, arguments and fields don't change it.
PROTOCOL: Final = 1
#: Bytes of a reader's line.
REQUEST_MAX: Final = 4096
#: Bytes of an agent's line: the snapshot of a node with thousands of containers is the longest.
FRAME_MAX: Final = 8 << 20

VERDICTS: Final = "verdicts"
SNAPSHOTS: Final = "snapshots"
AUDIT: Final = "audit"
STATUS: Final = "status"
TOPICS: Final = (VERDICTS, SNAPSHOTS, AUDIT, STATUS)

#: The longest that an agent looks for an audit; meanwhile it answers nobody else who wants one.
LASTING_MAX_S: Final = 10

_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Hello:
    """The agent's first line."""

    sigtrace: str
    """its version"""
    protocol: int
    pid: int = 0
    node: str = ""
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A reader's line."""

    get: str
    since_ns: int = 0
    """verdicts: none that are older (ns since the epoch)"""
    follow: bool = False
    """verdicts: and those to come"""
    signo: int = 0
    """audit: ask about this signal; 0: about each container's own stop signal"""
    lasting_s: float = 0.0
    """audit: look for so long (s); 0: as usual"""


@dataclass(frozen=True, slots=True)
class Gap:
    """No agent ran; ns since the epoch."""

    from_ns: int
    until_ns: int
    lost: int | None = None
    """what was pinned went on, and so many events found no room; None: nothing was, and all is unknown"""


@dataclass(frozen=True, slots=True)
class Status:
    """How the agent is. Times are ns since the epoch, 0 if it never happened."""

    version: str = ""
    pid: int = 0
    node: str = ""
    backend: str = ""
    started_wall_ns: int = 0
    shutdowns: int = 0
    """told since it started, likewise findings"""
    findings: int = 0
    kept: int = 0
    """verdicts that can be asked for, those of agents before it too"""
    oldest_wall_ns: int = 0
    """of what is kept"""
    last_shutdown_wall_ns: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    """what could not be told, by cause"""
    gaps: tuple[Gap, ...] = ()
    """when no agent ran, as far as what is kept reaches back"""
    chosen: str = ""
    """the options that say which containers it tells of; empty: of all"""


@dataclass(frozen=True, slots=True)
class Frame:
    """An agent's line."""

    kind: str
    """verdict, snapshot, audit, status, begin, lost, error or end"""
    value: plain.Json


def frame_line(kind: str, value: Any) -> bytes:
    """A line of the agent; ``value`` is JSON, or a dataclass of the protocol."""
    return _line({kind: _plain(value)})


def hello_line(hello: Hello) -> bytes:
    """The agent's first line."""
    return _line(_plain(hello))


def request_line(request: Request) -> bytes:
    """A reader's line."""
    return _line(_plain(request))


def raw_line(kind: str, value: bytes) -> bytes:
    """A line of the agent whose value is JSON already, with no line break in it."""
    return b'{"%s":%s}\n' % (kind.encode(), value)


def hello_of(line: bytes) -> Hello:
    """Raises ValueError for what is no agent's first line."""
    return _read(Hello, _json(line))


def request_of(line: bytes) -> Request:
    """Raises ValueError, with words for the reader, for what is no request."""
    request = _read(Request, _json(line))
    if request.get not in TOPICS:
        raise ValueError(f"{plain.shown(request.get)} is no topic; there are {', '.join(TOPICS)}")
    if request.since_ns < 0 or not 0 <= request.lasting_s <= LASTING_MAX_S:
        raise ValueError(f"since_ns is negative, or lasting_s is not between 0 and {LASTING_MAX_S}")
    return request


def status_of(value: plain.Json) -> Status:
    """Of a frame's value. Raises ValueError."""
    return _read(Status, value)


def frame_of(line: bytes) -> Frame:
    """Raises ValueError for what no agent wrote."""
    value = _json(line)
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("a frame is an object with one member")
    ((kind, inner),) = value.items()
    if kind == "error":
        inner = plain.text(inner)
    elif kind == "lost":
        inner = plain.integer(inner, 0, plain.ANY[1])
    if inner is plain.UNKNOWN:
        raise ValueError(f"{kind} of nothing")
    return Frame(kind, inner)


def _plain(value: Any) -> plain.Json:
    return values.Encoder({}).value(value)


def _line(value: plain.Json) -> bytes:
    return _ENCODE(value).encode("ascii") + b"\n"


def _json(line: bytes) -> plain.Json:
    try:
        return json.loads(line, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("lists in lists in lists") from None


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _read(kind: type[_T], value: plain.Json) -> _T:
    found = values.Decoder({}).object(kind, value)
    if found is plain.UNKNOWN:
        raise ValueError(f"{kind.__name__.lower()}: something is missing")
    return cast("_T", found)
