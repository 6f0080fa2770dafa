"""Verdicts on their way from the pipeline into the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sigtrace.model.finding import Finding, Verdict
from sigtrace.service.protocol import Gap, Hello, Status
from sigtrace.service.store import FINDING, SHUTDOWN, Store
from sigtrace.service.verdicts import VerdictEncoder

#: Verdicts that may wait for the service's thread.
_ROOM: Final = 10_000


class Keeper:
    """``offer`` in the pipeline's thread, all else in the service's."""

    def __init__(
        self, store: Store, boot_id: str, tell: Callable[[str], None], kept: Callable[[Verdict], None]
    ) -> None:
        """``boot_id``: of this boot; ``tell``: takes a line for the log; ``kept``: takes each that is kept now."""
        self._store = store
        self._tell = tell
        self._kept = kept
        self._encoder = VerdictEncoder(boot_id)
        self._waiting: deque[Verdict] = deque()
        self._gaps: deque[Gap] = deque()
        self._dropped = 0
        self._counts = {FINDING: 0, SHUTDOWN: 0}

    def offer(self, verdict: Verdict) -> bool:
        """Never blocks; false: there was no room, and it is counted."""
        if len(self._waiting) >= _ROOM:
            self._dropped += 1
            return False
        self._waiting.append(verdict)
        return True

    def offer_gap(self, gap: Gap) -> None:
        """Likewise: something of this time was not seen."""
        self._gaps.append(gap)

    def take_dropped(self) -> int:
        """How many found no room since the last call; in the pipeline's thread, too."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def keep(self) -> None:
        """What was offered is in the store now."""
        while self._gaps:
            self._store.add_gap(self._gaps.popleft())
        while self._waiting:
            verdict = self._waiting.popleft()
            kind = FINDING if isinstance(verdict, Finding) else SHUTDOWN
            try:
                raw = self._encoder.json(verdict)
            except (TypeError, ValueError) as error:
                self._tell(f"a verdict is not kept: {error}")
                continue
            self._counts[kind] += 1
            self._store.add(kind, verdict.wall_ns, raw)
            self._kept(verdict)

    def status(self, hello: Hello) -> Status:
        """As far as it is known here."""
        store = self._store
        return Status(
            version=hello.sigtrace,
            pid=hello.pid,
            node=hello.node,
            shutdowns=self._counts[SHUTDOWN],
            findings=self._counts[FINDING],
            kept=len(store),
            oldest_wall_ns=store.oldest_wall_ns,
            last_shutdown_wall_ns=store.last_shutdown_wall_ns,
            gaps=tuple(store.gaps),
        )
