"""A feed from a recording: played at any speed, held, and sought in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final, cast

from sigtrace import recorder
from sigtrace.errors import SigtraceError
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Verdict
from sigtrace.model.overview import Row, Snapshot
from sigtrace.model.recording.items import Advance, Item
from sigtrace.sinks.chosen import Filtered
from sigtrace.sinks.overview.aggregate import Overview
from sigtrace.sources.replay import Replay, open_recording
from sigtrace.top.live import Chosen
from sigtrace.tui.feed import Inside, Player

#: How often the clock is looked at (s).
_STEP_S: Final = 0.05
_SECOND_NS: Final = 1_000_000_000


class Played:
    """Plays a recording in a thread. Seeking back begins anew and goes through what comes before as fast as it can."""

    failure: BaseException | None = None

    def __init__(self, path: str, chosen: WorkloadFilter, speed: float = 1.0) -> None:
        """Raises UsageError or RunError if the recording can't be opened."""
        self._path = path
        self._chosen = Chosen(chosen)
        self.player: Player | None = self
        self.speed = speed
        self.paused = False
        self._wanted_ns: int | None = None
        """a place that was sought, since the beginning"""
        self._at_ns = 0
        self._whole_ns: int | None = None
        self._state = ""
        self._end = threading.Event()
        self._overview: Overview | None = None
        with open_recording(path):
            pass  # what is wrong with it is told before there is a screen
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    # In its own thread.

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._once()
            except SigtraceError as error:
                self._state = str(error)
            # At its end, or where it is damaged: what was shown stays, until somebody seeks back.
            while not self._end.is_set() and not self._is_back():
                self._wanted_ns = None
                self._end.wait(_STEP_S)

    def _is_back(self) -> bool:
        return self._wanted_ns is not None and self._wanted_ns < self._at_ns

    def _once(self) -> None:
        """From the beginning to the end, or until somebody seeks back."""
        with open_recording(self._path) as recording:
            overview = Overview(source="replay", node=recording.header.node)
            paced = _Paced(self, recording, overview)
            try:
                recorder.run(cast("Replay", paced), [Filtered(overview, WorkloadFilter())], paced.is_left)
            finally:
                if not paced.is_left():
                    self._overview = None
                    self._show(overview, paced.at_ns, paced.start_ns)
                    self._whole_ns = paced.at_ns

    def _show(self, overview: Overview, at_ns: int, start_ns: int) -> None:
        overview.newest(0)
        if self._overview is not overview or at_ns == self._at_ns or self.paused:
            overview.publish(start_ns + at_ns)
        self._overview = overview
        self._at_ns = at_ns

    def go_on(self, overview: Overview, at_ns: int, until_ns: int, start_ns: int) -> int | None:
        """Time since the beginning after a step towards ``until_ns``; None: somebody seeks back, or it is the end."""
        wanted = self._wanted_ns
        if self._end.is_set() or (self._overview is overview and self._is_back()):
            return None
        if wanted is not None and at_ns < wanted:
            return min(until_ns, wanted)
        self._wanted_ns = None
        self._show(overview, at_ns, start_ns)
        began = time.monotonic()
        self._end.wait(_STEP_S)
        passed_s = 0.0 if self.paused else (time.monotonic() - began) * self.speed
        return min(until_ns, at_ns + int(passed_s * _SECOND_NS))

    # In any thread.

    @property
    def place(self) -> tuple[float, float | None]:
        """Seconds since the beginning, and of how many once the end was seen."""
        whole = self._whole_ns
        return self._at_ns / _SECOND_NS, None if whole is None else whole / _SECOND_NS

    def seek(self, seconds: float) -> None:
        """So many seconds on, or back."""
        self._wanted_ns = max(self._at_ns + int(seconds * _SECOND_NS), 0)

    def newest(self) -> Snapshot | None:
        """As Feed says."""
        overview = self._overview
        return self._chosen.of(overview.newest(0)) if overview else None

    @property
    def state(self) -> str:
        """As Feed says."""
        return self._state

    def verdicts(self) -> list[Verdict]:
        """As Feed says."""
        return self._overview.verdicts() if self._overview else []

    def inside(self, row: Row) -> Inside:
        """A recording has no more than it told."""
        del row
        return Inside(note="Handlers and processes are looked up in a container that runs; a recording has none.")

    def close(self) -> None:
        """Ends it."""
        self._end.set()
        self._thread.join()


class _Paced:
    """A recording whose items come when it is their time; between them time passes."""

    def __init__(self, played: Played, recording: Replay, overview: Overview) -> None:
        self._played = played
        self._recording = recording
        self._overview = overview
        self._left = False
        self.header = recording.header
        self.name = recording.name
        self.start_ns = 0
        self.at_ns = 0
        """since the beginning"""

    @property
    def end(self) -> object:
        """The end mark, once it was reached."""
        return self._recording.end

    def is_left(self) -> bool:
        """Nobody wants the rest."""
        return self._left

    def items(self) -> Iterator[Item]:
        """As Replay says; where the rest is not wanted, one more, for the pipeline to ask :meth:`is_left`."""
        for item in self._recording.items():
            time_ns = item.now_ns if isinstance(item, Advance) else item.event.time_ns
            self.start_ns = self.start_ns or time_ns
            yield from self._until(time_ns)
            if self._left:
                return
            yield item
        if self._recording.end:
            yield from self._until(self._recording.end.ended_ns)

    def _until(self, time_ns: int) -> Iterator[Item]:
        until = time_ns - self.start_ns
        while self.at_ns < until:
            at = self._played.go_on(self._overview, self.at_ns, until, self.start_ns)
            if at is None:
                self._left = True
            else:
                self.at_ns = at
            yield Advance(self.start_ns + self.at_ns)
            if self._left:
                return
