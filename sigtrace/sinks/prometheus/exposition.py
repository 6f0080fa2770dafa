"""Prometheus's text exposition (0.0.4) and OpenMetrics (1.0.0) of what was collected.

Names follow from OpenTelemetry's as its compatibility document has it: dots become underscores, the unit and ``_total``
are appended. A scraper knows a container by the labels namespace, pod and container: where a container was restarted,
both have the same and are told as one, so that a total goes on growing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from sigtrace.model.metrics import (
    CONTAINER,
    METRICS,
    NAMESPACE,
    OVERFLOW,
    ZOMBIES,
    Collected,
    Distribution,
    Family,
    Metric,
    MetricKind,
    identity_of,
)
from sigtrace.model.text import printable
from sigtrace.model.workload import Workload

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_UNITS: Final = {"s": "seconds", "By": "bytes"}
_OURS: Final = {NAMESPACE: "namespace", CONTAINER: "container"}
_VALUE_MAX: Final = 1024
_INFO: Final = "sigtrace_container_info"


def wants_open_metrics(accept: str) -> bool:
    """Whether a scraper's Accept header prefers it to the text format (RFC 9110, 12.5.1)."""
    quality = {"open": 0.0, "text": 0.0}
    for part in accept.split(",")[:32]:
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        q = next((_quality(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        if media == "application/openmetrics-text":
            version = next((p[8:].strip('"') for p in parameters if p.startswith("version=")), "1.0.0")
            if version in {"0.0.1", "1.0.0"}:
                quality["open"] = max(quality["open"], q)
        elif media in {"text/plain", "text/*", "*/*"}:
            quality["text"] = max(quality["text"], q)
    return quality["open"] > 0 and quality["open"] >= quality["text"]


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 0.0


class Scrape:
    """Answers a scrape: ``scrape(accept)`` is the body and its content type."""

    def __init__(self, collect: Callable[[], Collected], info: Mapping[str, str]) -> None:
        """``info``: what target_info tells of the agent, by OpenTelemetry's names."""
        self._collect = collect
        self._info = dict(info)

    def __call__(self, accept: str) -> tuple[bytes, str]:
        """``accept``: the header, or nothing."""
        open_metrics = wants_open_metrics(accept)
        text = exposition(self._collect(), self._info, open_metrics=open_metrics)
        return text.encode("utf-8", "replace"), OPEN_METRICS if open_metrics else TEXT


def exposition(collected: Collected, info: Mapping[str, str], *, open_metrics: bool = False) -> str:
    """All families, each metric's lines together."""
    page = _Page(open_metrics=open_metrics)
    page.info("target", "sigtrace itself.", [{_label(key): value for key, value in info.items()}])
    page.info(
        "sigtrace_container",
        "Containers, with their ids.",
        (_container_info(one.workload) for one in collected.containers if one.workload),
    )
    by_name = _joined(collected)
    for metric in METRICS:
        if metric.name in by_name:
            page.metric(metric, by_name[metric.name])
    return page.text()


def _container_info(workload: Workload) -> dict[str, str]:
    labels = {**identity_of(workload)._asdict(), "id": workload.container_id or "", "cgroup": workload.cgroup or ""}
    return {**labels, "runtime": workload.runtime or "", "image": workload.image or ""}


_Series = dict[str, float | Distribution]
"""values by what stands between the braces"""


def _joined(collected: Collected) -> dict[str, _Series]:
    """The series of each metric; what has the same labels is one."""
    joined: dict[str, _Series] = {}

    def add(labels: str, families: Iterable[Family]) -> None:
        for family in families:
            series = joined.setdefault(family.metric.name, {})
            names = [_label(attribute) for attribute in family.metric.attributes]
            for point in family.points:
                own = _REST if point.overflow else _inside(zip(names, point.values, strict=True))
                key = f"{labels},{own}" if labels and own else labels or own
                series[key] = _sum(family.metric.kind, series.get(key), point.value)

    for one in collected.containers:
        add(_inside(identity_of(one.workload)._asdict().items()) if one.workload else "", one.families)
    for carried in collected.carried:
        add(_inside(carried.identity._asdict().items()), carried.families)
    add("", collected.agent)
    return joined


def _inside(labels: Iterable[tuple[str, str | None]]) -> str:
    """Labels as they stand between the braces; an empty one is none."""
    return ",".join([f'{name}="{escape(clean(value))}"' for name, value in labels if value])


def _sum(kind: MetricKind, one: float | Distribution | None, other: float | Distribution) -> float | Distribution:
    if one is None:
        return other
    if isinstance(one, Distribution) or isinstance(other, Distribution):
        return one.plus(other) if isinstance(one, Distribution) and isinstance(other, Distribution) else one
    return max(one, other) if kind is MetricKind.GAUGE else one + other


class _Page:
    """Lines, so far."""

    def __init__(self, *, open_metrics: bool) -> None:
        self._open = open_metrics
        self._lines: list[str] = []

    def text(self) -> str:
        """All of them."""
        return "\n".join([*self._lines, *(["# EOF"] if self._open else [])]) + "\n"

    def info(self, name: str, description: str, series: Iterable[dict[str, str]]) -> None:
        """Facts as labels; the value says nothing."""
        if self._open:
            self._head(name, "info", description)
        else:
            self._head(f"{name}_info", "gauge", description)
        self._lines += dict.fromkeys(f"{name}_info{_braces(_inside(labels.items()))} 1" for labels in series)

    def metric(self, metric: Metric, series: _Series) -> None:
        """One metric with all its series."""
        name = prometheus_name(metric)
        counter = metric.kind is MetricKind.COUNTER
        kind = metric.kind.value if counter or metric.kind is MetricKind.HISTOGRAM else "gauge"
        head = name.removesuffix("_total") if self._open and counter else name
        unit = _UNITS.get(metric.unit, "") if self._open else ""
        self._head(head, kind, metric.description, unit)
        for labels, value in series.items():
            if isinstance(value, Distribution):
                self._lines += _histogram(name, labels, value, metric.bounds)
            else:
                self._lines.append(f"{name}{_braces(labels)} {_number(value)}")

    def _head(self, name: str, kind: str, description: str, unit: str = "") -> None:
        self._lines += [f"# HELP {name} {_help(description)}", f"# TYPE {name} {kind}"]
        if unit:
            self._lines.append(f"# UNIT {name} {unit}")


def _histogram(name: str, labels: str, value: Distribution, bounds: tuple[float, ...]) -> Iterator[str]:
    so_far = 0
    before = f"{labels}," if labels else ""
    for bound, count in zip((*(repr(float(b)) for b in bounds), "+Inf"), value.buckets, strict=True):
        so_far += count
        yield f'{name}_bucket{{{before}le="{bound}"}} {so_far}'
    yield f"{name}_sum{_braces(labels)} {_number(value.total)}"
    yield f"{name}_count{_braces(labels)} {so_far}"


def prometheus_name(metric: Metric) -> str:
    """``sigtrace_container_shutdowns_total``."""
    if metric is ZOMBIES:
        return "sigtrace_zombies"  # to Prometheus, what ends in _count is a part of a histogram
    name = re.sub(r"[^a-zA-Z0-9_:]", "_", metric.name)
    unit = _UNITS.get(metric.unit, "")
    if unit and not name.endswith(f"_{unit}"):
        name += f"_{unit}"
    return f"{name}_total" if metric.kind is MetricKind.COUNTER else name


@functools.lru_cache(maxsize=256)
def _label(attribute: str) -> str:
    """A label's name: ours is short, as Kubernetes' own exporters have it."""
    name = _OURS.get(attribute) or re.sub(r"[^a-zA-Z0-9_]", "_", attribute)
    return name if re.match(r"[a-zA-Z]|_[a-zA-Z0-9]", name) else f"key_{name}"  # __ is Prometheus's own


_REST: Final = f'{_label(OVERFLOW)}="true"'


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def clean(value: str) -> str:
    """A label's value: what others named, printable and of a sane length. Series that it makes equal are one."""
    return printable(value[:_VALUE_MAX])


def escape(value: str) -> str:
    """As it stands between quotes: only backslash, quote and newline have a meaning there."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
