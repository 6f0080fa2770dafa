"""What takes its time, away from the thread that serves all readers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class Work:
    """Each piece has a thread of its own; what is to be done with what it gave is done in the thread of ``finish``."""

    def __init__(self, ring: Callable[[], None]) -> None:
        """``ring``: called from any thread when there is something to finish."""
        self._ring = ring
        self._done: deque[Callable[[], None]] = deque()

    def begin(self, work: Callable[[], _T], then: Callable[[_T | Exception], None]) -> None:
        """``then`` gets what ``work`` returned or raised."""

        def run() -> None:
            found: _T | Exception
            try:
                found = work()
            except Exception as error:  # noqa: BLE001 -- told to who asked
                found = error
            self._done.append(lambda: then(found))
            self._ring()

        threading.Thread(target=run, name="service-work", daemon=True).start()

    def finish(self) -> None:
        """What has come to an end."""
        while self._done:
            self._done.popleft()()
