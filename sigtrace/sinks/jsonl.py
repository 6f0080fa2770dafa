"""Records as JSON, one object a line, flushed at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from sigtrace.model.finding import Verdict
from sigtrace.model.record import Record, event_record, verdict_record
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter

_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Jsonl:
    """A :class:`sigtrace.sinks.base.Sink`."""

    def __init__(
        self,
        writer: LineWriter,
        *,
        events: Callable[[Observation], bool] | None,
        verdicts: bool = True,
        boot_id: str = "",
    ) -> None:
        """``events``: which observations to write, None for none. ``boot_id``: for the ids of traces."""
        self._writer = writer
        self._events = events
        self._verdicts = verdicts
        self._boot_id = boot_id
        self._seq = 0

    def _write(self, record: Record) -> None:
        self._seq += 1
        record["seq"] = self._seq
        self._writer.write(_ENCODE(record) + "\n")

    def observation(self, observation: Observation) -> None:
        """An event, attributed."""
        if self._events and self._events(observation):
            self._write(event_record(observation))

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        if self._verdicts:
            self._write(verdict_record(verdict, self._boot_id))

    def pass_time(self, now_ns: int) -> None:
        """It holds nothing back."""

    def take_dropped(self) -> int:
        """Lines that the reader was too slow for."""
        return self._writer.take_dropped()

    def close(self) -> None:
        """The writer is closed by its owner."""
