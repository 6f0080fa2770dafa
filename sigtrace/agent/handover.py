"""From an agent to the one that takes over what it had pinned: nothing goes twice the same way, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sigtrace.agent.settings import Settings
from sigtrace.model.finding import Verdict
from sigtrace.service.log import Log
from sigtrace.service.store import Store
from sigtrace.sinks.base import Sink
from sigtrace.sinks.marks import Marks, Way, key_of
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.metrics.leaving import Leaving
from sigtrace.sinks.once import Once, Told


class Handover:
    """Both sides of it: what the agent before us did, and marks for the one after us. Without pins there is none."""

    def __init__(self, settings: Settings, boot_id: str, metrics: Metrics, log: Log) -> None:
        path = os.path.join(os.path.dirname(settings.socket), "told") if settings.pin else None
        self._marks = Marks(path, boot_id, log.warning)
        self._told = Told(boot_id)
        self._boot_id = boot_id
        self._metrics = metrics
        self.counted = Leaving(
            metrics,
            lambda verdict: key_of(boot_id, verdict),
            (lambda keys: self._marks.add_keys(keys, Way.COUNTED)) if path else None,
        )
        self.close = self._marks.close

    def once(self, told: Iterable[Sink], exported: Sink) -> list[Sink]:
        """These sinks, and the metrics, each without what went its way before."""
        return [
            Once(told, self._told),
            Once([self.counted], self._told, Way.COUNTED, lambda repeat: self._metrics.known(repeat, again=True)),
            Once([exported], self._told, Way.SENT),
        ]

    def resume(self, store: Store, until_ns: int, exported: Sink) -> None:
        """What was kept and did not go all its ways goes them now: its records may be gone from the rings.

        ``until_ns``: up to here (CLOCK_BOOTTIME) the agent before us had told everything; 0: there was none.
        """
        kept = list(store.verdicts(self._boot_id)) if until_ns else []
        self._told.by(kept, until_ns, self._marks.open(resumed=until_ns > 0))
        for verdict in kept:
            if self._told.has(verdict, Way.COUNTED):
                self._metrics.known(verdict)
            else:
                self.counted.verdict(verdict)
            if not self._told.has(verdict, Way.SENT):
                exported.verdict(verdict)
        self._told.went(kept, Way.COUNTED | Way.SENT)

    def kept(self, verdict: Verdict, *, sends: bool) -> None:
        """It is kept; ``sends``: it goes to a collector, too."""
        self._marks.add([verdict], Way.TOLD if sends else Way.TOLD | Way.SENT)

    def sent(self, verdicts: Iterable[Verdict]) -> None:
        """The collector has these, or will never have them."""
        self._marks.add(verdicts, Way.SENT)
