"""What is counted at a container's end: it stays when the container is gone, so that an alert can see it.

A series begins with 0 when a container of that name is first seen: one that was born with 1 would show no increase. The
zeros are those of the names that live now; what has counted stays, and is bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sigtrace.model import signals
from sigtrace.model.codes import CODES, OUTCOMES, UNKNOWN
from sigtrace.model.metrics import CRASHES, DROPPED, DURATION, KILLS, SHUTDOWNS, Distribution, Family, Metric, Point

Name = tuple[str | None, str]
"""namespace and name of a container; its instances share them"""
Values = tuple[str | None, ...]

#: So many of the least lately counted are looked at when room is needed.
_LOOKED_AT: Final = 64


@dataclass(slots=True)
class _Series:
    start_wall_ns: int
    count: int = 0
    buckets: list[int] = field(default_factory=list)
    total: float = 0.0


class Table:
    """The series of one metric that have counted something."""

    def __init__(self, metric: Metric, limit: int, on_evicted: Callable[[Name], object] = lambda _: None) -> None:
        """``limit``: series at most; the counts of others go to one series together.

        ``on_evicted``: told whose series gave way, so that one that begins anew has a start of its own.
        """
        self.metric = metric
        self._on_evicted = on_evicted
        self.refused = 0
        """counts that went there"""
        self._limit = limit
        self._series: OrderedDict[Values, _Series] = OrderedDict()
        self._rest: _Series | None = None

    def __contains__(self, values: Values) -> bool:
        return values in self._series

    def add(self, values: Values, count: int, start_wall_ns: int, living: Collection[Name]) -> None:
        """Counts; ``start_wall_ns``: since when this series was 0. ``living``: names that are not to give way."""
        self._at(values, start_wall_ns, living).count += count

    def observe(self, values: Values, value: float, start_wall_ns: int, living: Collection[Name]) -> None:
        """A value of a histogram."""
        series = self._at(values, start_wall_ns, living)
        if not series.buckets:
            series.buckets = [0] * (len(self.metric.bounds) + 1)
        series.buckets[bisect_left(self.metric.bounds, value)] += 1
        series.total += value

    def _at(self, values: Values, start_wall_ns: int, living: Collection[Name]) -> _Series:
        series = self._series.get(values)
        if series is None:
            if len(self._series) >= self._limit and not self._make_room(living):
                self.refused += 1
                if self._rest is None:
                    self._rest = _Series(start_wall_ns)
                return self._rest
            series = self._series[values] = _Series(start_wall_ns)
        else:
            self._series.move_to_end(values)
        return series

    def _make_room(self, living: Collection[Name]) -> bool:
        """What has not counted for the longest time gives way, if no such container lives."""
        for _, values in zip(range(_LOOKED_AT), self._series, strict=False):
            if (name := (values[0], values[1] or "")) not in living:
                del self._series[values]
                self._on_evicted(name)
                return True
        return False

    def names(self) -> set[Name]:
        """Whose series they are."""
        return {(values[0], values[1] or "") for values in self._series}

    def family(self, zeros: Iterable[Point] = ()) -> Family:
        """All series; ``zeros``: of those that have counted nothing."""
        points = [Point(values, self._value(one), one.start_wall_ns) for values, one in self._series.items()]
        points += [zero for zero in zeros if zero.values not in self._series]
        if self._rest:
            none: Values = (None,) * len(self.metric.attributes)
            points.append(Point(none, self._value(self._rest), self._rest.start_wall_ns, overflow=True))
        return Family(self.metric, tuple(points))

    def _value(self, series: _Series) -> int | Distribution:
        return Distribution(tuple(series.buckets), series.total) if self.metric.bounds else series.count


class Zeros:
    """The points that a container's name begins with."""

    def __init__(self, room: int) -> None:
        """``room``: names at most."""
        self._room = room
        self._points: dict[tuple[Name, int], dict[str, list[Point]]] = {}

    def of(self, living: dict[Name, tuple[int, int]]) -> dict[str, list[Point]]:
        """By metric. ``living``: each name's stop signal, and since when it is known (wall ns)."""
        kept: dict[tuple[Name, int], dict[str, list[Point]]] = {}
        joined: dict[str, list[Point]] = {}
        for _, (name, (signo, start_wall_ns)) in zip(range(self._room), living.items(), strict=False):
            key = (name, signo)
            kept[key] = made = self._points.get(key) or {
                metric.name: [Point((*name, *rest), 0, start_wall_ns) for rest in _first(metric, signo)]
                for metric in (SHUTDOWNS, KILLS, DROPPED, CRASHES)
            }
            for metric_name, points in made.items():
                joined.setdefault(metric_name, []).extend(points)
        self._points = kept
        return joined


def _first(metric: Metric, signo: int) -> Iterator[Values]:
    """All that may come, but for ends that are no trouble and of which ptrace could not see the reason."""
    if metric is SHUTDOWNS:
        for outcome in OUTCOMES.values():
            yield from (
                (outcome.name, cause) for cause in outcome.causes if not (outcome.may_be_null and cause == UNKNOWN)
            )
            if outcome.may_be_null:
                yield outcome.name, None
    elif metric is KILLS:
        yield from ((cause,) for cause in CODES["killed"].causes)
    elif metric is DROPPED:
        yield from ((signals.name(signo), cause) for cause in CODES["signal-dropped"].causes)
    elif metric is CRASHES:
        yield ()


def tables(limit: int, on_evicted: Callable[[Name], object]) -> dict[str, Table]:
    """By metric."""
    return {metric.name: Table(metric, limit, on_evicted) for metric in (SHUTDOWNS, DURATION, KILLS, DROPPED, CRASHES)}
