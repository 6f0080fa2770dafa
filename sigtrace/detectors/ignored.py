"""signal-ignored: the main process ignores a fatal signal from outside, by choice or by inheritance (SIG_IGN)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sigtrace.detectors.base import ProcessKey, Timers
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.fold import Fold, Folds
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.words import finding_on, what_of
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Kind, Result, Task
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "signal-ignored"


def is_ignored(event: Event) -> bool:
    """A fatal signal that was thrown away as the process had asked."""
    return (
        event.kind is Kind.SIGNAL_GENERATE
        and (event.result is Result.IGNORED or event.ptraced)  # for a tracer it is queued, and thrown away after it
        and event.disposition is Disposition.IGNORE
        and signals.is_fatal(event.signo)
        and not event.exiting
    )


class Ignored:
    """A :class:`sigtrace.detectors.base.Detector`."""

    def __init__(self, containers: Containers, timers: Timers) -> None:
        self._containers = containers
        self._timers = timers
        self._folds: Folds[tuple[ProcessKey, int]] = Folds()

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation. What a process sends itself, or its children send, is between them."""
        event = observation.event
        if event.task is None or not (observation.main and event.outside and is_ignored(event)):
            return
        if self._containers.of(observation) is None:
            return
        key = (event.task.key, event.signo)
        fold = self._folds.get(key)
        if fold and self._folds.is_quiet(key, event.time_ns):
            if ended := self._folds.close(key):
                yield self._tell(ended)
            fold = None
        if fold is None:
            yield self._tell(self._folds.open(key, observation))
            self._timers.at(event.time_ns + self._folds.quiet_ns, self, key)
        elif fold.add(event):
            yield self._tell(fold)

    def due(self, token: Any, now_ns: int) -> Iterable[Finding]:
        """It may have ended."""
        key: tuple[ProcessKey, int] = token
        if self._folds.is_quiet(key, now_ns):
            if fold := self._folds.close(key):
                yield self._tell(fold)
        elif fold := self._folds.get(key):
            self._timers.at(fold.last_ns + self._folds.quiet_ns, self, key)

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """The last counts."""
        for fold in self._folds.close_all():
            yield self._tell(fold)

    def _tell(self, fold: Fold) -> Finding:
        fold.told = fold.count
        container = self._containers.of(fold.first)
        main = fold.first.event.task or Task(0, 0)
        main = container.known(main) if container else main
        name = signals.name(fold.first.event.signo)
        again = f", {fold.count} times" if fold.count > 1 else ""
        return finding_on(
            fold.first,
            CODE,
            "sig-ign",
            certainty=Certainty.OBSERVED,
            subject=main,
            time_ns=fold.last_ns,
            wall_ns=fold.wall_ns,
            count=fold.count,
            window_s=fold.window_s,
            message=f"{what_of(main)} ignores {name} (SIG_IGN), so the kernel threw it away{again}",
            evidence=fold.evidence,
            sender_role=role_of(fold.first),
        )
