"""Whether the pipeline is alive, and whether nothing can be missed any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

#: The pipeline takes a step five times a second. So long (s) without one, and it is stuck.
STUCK_S: Final = 10.0
#: Before its first step the kernel checks our programs and runtimes are asked for names.
_BEGINNING_S: Final = 60.0


class Health:
    """Any thread may ask; each answer is None if all is well, or says why not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds."""
        self._clock = clock
        self._beat = clock()
        self.ready = threading.Event()
        self.ending = threading.Event()
        self.failure: BaseException | None = None
        """what ended the pipeline"""
        self.parts: dict[str, Callable[[], bool]] = {}
        """other parts by name, and whether each is alive"""

    def beat(self) -> None:
        """The pipeline takes a step."""
        self._beat = self._clock()

    def healthy(self) -> str | None:
        """For liveness: restart it if it is not."""
        if self.failure is not None:
            return f"the pipeline has ended: {self.failure}"
        still = self._clock() - self._beat
        if still > (STUCK_S if self.ready.is_set() else _BEGINNING_S):
            return f"the pipeline has been stuck for {still:.0f} s"
        for name, alive in self.parts.items():
            if not self.ending.is_set() and not alive():
                return f"the {name} has ended"
        return None

    def is_ready(self) -> str | None:
        """For readiness: nothing that happens is missed."""
        if self.ending.is_set():
            return "it is ending"
        return self.healthy() if self.ready.is_set() else "it is starting: what happens now may be missed"
