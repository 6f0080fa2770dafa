"""One request to a collector: sent until it has it, won't have it, or time is over; and what is told of that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from sigtrace.sinks.otlp.answers import Accepted, Client, Later, Refused, pause_s
from sigtrace.sinks.otlp.endpoint import Endpoint
from sigtrace.sinks.otlp.ledger import Ledger, Reason

Tell = Callable[[str], None]

#: What a collector puts off for so long it is not going to take: it must not stand in the way for ever.
_GIVE_UP_S: Final = 3600.0
#: The same trouble is told again after this time at the earliest.
_QUIET_S: Final = 60.0


class End(Enum):
    """What became of a request."""

    ACCEPTED = auto()
    REFUSED = auto()
    TOO_LARGE = auto()
    EXPIRED = auto()
    CLOSED = auto()


class Ending:
    """Whether we are asked to end, and until when. For any thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._over = threading.Event()
        self._deadline = float("inf")

    @property
    def asked(self) -> bool:
        """What is there may still be sent, until the deadline."""
        return self._asked.is_set()

    def ask(self, deadline_s: float) -> None:
        """There is so much time left."""
        self._deadline = time.monotonic() + deadline_s
        self._asked.set()

    def finish(self) -> None:
        """There is none."""
        self._over.set()
        self._asked.set()

    @property
    def left_s(self) -> float:
        """Infinite until somebody asks."""
        return 0.0 if self._over.is_set() else max(self._deadline - time.monotonic(), 0.0)

    def pause(self, seconds: float, *, wanted: bool) -> bool:
        """Waits; false if there is no time for that. ``wanted``: the collector asked for it.

        A pause of our own ends when we are asked to end: that is worth a try.
        """
        until = time.monotonic() + seconds
        if not self.asked and self._asked.wait(seconds) and not wanted:
            return self.left_s > 0
        left = until - time.monotonic()
        if left > self.left_s:
            return False
        return left <= 0 or not self._over.wait(left)


class Delivery:
    """To one endpoint, from one thread."""

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        ledger: Ledger,
        unit: str,
        ending: Ending,
        tell: Tell,
        backoff_s: float,
    ) -> None:
        """``unit``: what is counted, as text says it; ``tell``: takes a line for a person."""
        self._client = client
        self._endpoint = endpoint
        self._ledger = ledger
        self._unit = unit
        self._ending = ending
        self._tell = tell
        self._backoff_s = backoff_s
        self._told_at = -_QUIET_S
        self._trouble_since: float | None = None
        self._lost_before = 0
        self.why = ""
        """what the collector, or the way to it, said last; empty if all is well"""

    def deliver(self, body: bytes, count: int) -> End:
        """``count`` is in the ledger's ``waiting``; it stays there but for an End.ACCEPTED."""
        began = time.monotonic()
        tries = 0
        while (left_s := self._ending.left_s) > 0:
            if tries:
                self._ledger.retried(count)
            answer = self._client.send(body, min(self._endpoint.timeout_s, left_s))
            if isinstance(answer, Accepted):
                self._accepted(answer, count)
                return End.ACCEPTED
            self.why = answer.why
            if isinstance(answer, Refused):
                if not answer.too_large:
                    self._say(f"{self._endpoint} refused {count:,} {self._unit}: {answer.why}")
                return End.TOO_LARGE if answer.too_large else End.REFUSED
            self._put_off(answer)
            if time.monotonic() - began > _GIVE_UP_S:
                return End.EXPIRED
            wanted = answer.after_s is not None
            if not self._ending.pause(pause_s(answer, tries, self._backoff_s), wanted=wanted):
                return End.CLOSED
            tries += 1
        return End.CLOSED

    def close(self) -> None:
        """Nothing more comes; for the thread that delivers."""
        self._client.close()

    def _accepted(self, answer: Accepted, count: int) -> None:
        self._ledger.exported(count, answer.rejected)
        self.why = answer.why if answer.rejected else ""
        if answer.rejected:
            what = f"{min(answer.rejected, count):,} of {count:,} {self._unit}"
            self._say(f"{self._endpoint} rejected {what}{': ' if answer.why else ''}{answer.why}")
        elif answer.why:  # a warning: all were accepted (OTLP specification, partial success)
            self._say(f"{self._endpoint} says: {answer.why}")
        if self._trouble_since is not None:
            took = time.monotonic() - self._trouble_since
            lost = self._ledger.tally().lost - self._lost_before
            kept = f"{lost:,} {self._unit} were dropped meanwhile" if lost else "nothing was dropped"
            self._tell(f"OTLP: {self._endpoint} answers again after {took:.0f} s; {kept}")
            self._trouble_since = None

    def _put_off(self, answer: Later) -> None:
        if self._ending.left_s <= 0:
            return  # it is not tried again, and who ends us says what is lost
        if self._trouble_since is None and self._say(
            f"{self._endpoint}: {answer.why}; {self._ledger.tally().waiting:,} {self._unit} wait, it is tried again"
        ):
            self._trouble_since = time.monotonic()
            self._lost_before = self._ledger.tally().lost

    def _say(self, line: str) -> bool:
        """Whether it was not too soon after the last."""
        now = time.monotonic()
        if now - self._told_at < _QUIET_S:
            return False
        self._told_at = now
        self._tell(f"OTLP: {line}")
        return True


#: Why what a request held is dropped, by its end.
REASONS: Final = {
    End.REFUSED: Reason.REJECTED,
    End.TOO_LARGE: Reason.TOO_LARGE,
    End.EXPIRED: Reason.EXPIRED,
    End.CLOSED: Reason.CLOSED,
}
