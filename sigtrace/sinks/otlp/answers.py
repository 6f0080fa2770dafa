"""What a collector can answer, and what follows from it (OTLP specification: failures, throttling)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

from sigtrace.model.text import cut, printable

#: Nobody is waited for longer than this, whatever they ask for.
PAUSE_MAX_S: Final = 300.0
#: Our own pauses grow up to this.
BACKOFF_MAX_S: Final = 30.0
_WHY_MAX: Final = 160


@dataclass(frozen=True, slots=True)
class Accepted:
    """It has them, but for those that it rejected."""

    rejected: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: the same bytes may be sent again."""

    why: str
    after_s: float | None = None
    """so long the collector wants to be left alone, s"""


@dataclass(frozen=True, slots=True)
class Refused:
    """Never: it is no use to send them again."""

    why: str
    too_large: bool = False


Answer = Accepted | Later | Refused


class Client(Protocol):
    """Sends to one endpoint. For one thread, but for ``abort``."""

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """One request, for at most so long. Never raises."""

    def close(self) -> None:
        """Nothing more is sent; for the thread that sends."""

    def abort(self) -> None:
        """Ends a request that is on its way; from any thread."""


def said(raw: bytes | str, secrets: Iterable[str] = ()) -> str:
    """What a collector says, in a line that can be printed. ``secrets``: it may say back what it was sent."""
    text = raw[: 4 * _WHY_MAX].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[: 4 * _WHY_MAX]
    for secret in secrets:
        text = text.replace(secret, "…")
    return cut(printable(" ".join(text.split())), _WHY_MAX)


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the user's headers and their words, the longest first; what is shorter than 4 is no secret."""
    words = {word for value in headers.values() for word in (value, *value.split()) if len(word) >= 4}
    return tuple(sorted(words, key=len, reverse=True))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds, of ``Retry-After`` (RFC 9110, 10.2.3: a number, or a date); None if it makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            seconds = (at - (now or datetime.now(UTC))).total_seconds()
        except (TypeError, ValueError, OverflowError):  # a year of thirty digits
            return None
    return min(max(seconds, 0.0), PAUSE_MAX_S) if math.isfinite(seconds) else None


def pause_s(answer: Later, tries: int, first_s: float) -> float:
    """So long to wait before the next try, the collector's wish first; else twice as long each time, jittered."""
    if answer.after_s is not None:
        return min(answer.after_s, PAUSE_MAX_S)
    # All nodes lose their collector at the same moment, and must not come back at one.
    spread = random.uniform(0.8, 1.2)  # noqa: S311 - no secret
    return float(min(first_s * 2.0 ** min(tries, 16), BACKOFF_MAX_S)) * spread
