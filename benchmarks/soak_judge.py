# SPDX-License-Identifier: Apache-2.0
"""What the agent told, held against what the harness did; and whether the agent grew. Pure."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Growth is judged from this long a run on, s: a container's series stay for five minutes after its end, and the last
#: thousand verdicts are kept for as long. The second half begins when all of that came and went once (docs/soak.md).
GROWTH_FROM_S = 1140.0
#: How much memory may grow in the second half of the run, by the line of least squares: what an allocator's arenas
#: come and go by.
GROWTH_BYTES = 1 << 20
#: Losses that a storm of the harness's own causes; any other is one too many.
_EXPECTED_LOSSES = {"rate-limited"}


@dataclass(frozen=True)
class Truth:
    """What the harness did to one container, and saw of it."""

    number: int
    case: str
    cgroup_id: int
    pid: int
    outcome: str
    """with its cause after a slash; this, and the rest, is what should be told"""
    code: int
    findings: frozenset[str]
    seen: int
    """the exit code that it really had"""


@dataclass
class Judgement:
    """Of all that was told."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """that were not expected, or expected and not told, or told twice"""
    odd: list[str] = field(default_factory=list)
    """containers that were not what the harness meant them to be: nothing can be said of their verdicts"""
    foreign: int = 0
    """shutdowns of containers that are not the harness's"""
    losses: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[str, str, int]] = field(default_factory=list)
    """when, why, how many: of each line that tells a loss"""
    by_case: dict[str, Counter[str]] = field(default_factory=dict)
    """case → right, wrong, …"""
    evidence: list[Mapping[str, Any]] = field(default_factory=list)
    """all that was told of containers whose verdict was not right"""

    @property
    def unexpected_losses(self) -> dict[str, int]:
        """cause → events."""
        return {cause: n for cause, n in self.losses.items() if cause not in _EXPECTED_LOSSES}

    @property
    def failures(self) -> list[str]:
        """All that should not be."""
        losses = [f"{n} events were lost: {cause}" for cause, n in self.unexpected_losses.items()]
        return [*self.wrong, *self.missing, *self.double, *self.findings, *self.odd, *losses]


def judge(truths: Iterable[Truth], records: Iterable[Mapping[str, Any]], folder: str) -> Judgement:
    """``records``: all that the agent told, in order; ``folder``: the part of a cgroup's path that makes it ours."""
    found = Judgement()
    shutdowns: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    findings: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        ours = folder in ((record.get("workload") or {}).get("cgroup") or "")
        if record["type"] == "shutdown" and ours:
            shutdowns[record["task"]["cgroup_id"]].append(record)
        elif record["type"] == "shutdown":
            found.foreign += 1
        elif record["code"] == "events-lost":
            found.losses[record["cause"]] += record["count"]
            found.lost.append((record["time"], record["cause"], record["count"]))
        elif ours:
            findings[(record["subject"] or {}).get("cgroup_id", 0)].append(record)
    for truth in truths:
        told = shutdowns.pop(truth.cgroup_id, []), findings.pop(truth.cgroup_id, [])
        verdict, words = _verdict(truth, *told)
        found.by_case.setdefault(truth.case, Counter())[verdict] += 1
        if verdict == "right":
            found.right += 1
        else:
            getattr(found, verdict).append(f"#{truth.number} {truth.case} (pid {truth.pid}): {words}")
            found.evidence += [*told[0], *told[1]]
    for cgroup_id, left in shutdowns.items():
        found.double.append(f"a shutdown of cgroup {cgroup_id}, which nobody stopped: {_outcome(left[0])}")
    for cgroup_id, left in findings.items():
        found.findings.append(f"a finding about cgroup {cgroup_id}, which nobody knows: {left[0]['message']}")
    found.evidence += [record for left in (*shutdowns.values(), *findings.values()) for record in left]
    return found


def _outcome(record: Mapping[str, Any]) -> str:
    return "/".join(filter(None, (record["outcome"], record["cause"])))


def _verdict(
    truth: Truth, shutdowns: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    """The name of the field it belongs to, and why."""
    if truth.seen != truth.code:
        return "odd", f"it ended with {truth.seen}, where {truth.code} was meant"
    if not shutdowns:
        return "missing", "no shutdown was told"
    if len(shutdowns) > 1:
        return "double", f"{len(shutdowns)} shutdowns: {', '.join(map(_outcome, shutdowns))}"
    told = shutdowns[0]
    wrong = []
    if _outcome(told) != truth.outcome:
        wrong.append(f"{_outcome(told)} instead of {truth.outcome}")
    if told["status_code"] != truth.seen:
        wrong.append(f"status {told['status_code']} instead of {truth.seen}")
    if told["task"]["pid"] != truth.pid:
        wrong.append(f"main process {told['task']['pid']} instead of {truth.pid}")
    if wrong:
        return "wrong", "; ".join(wrong)
    got = Counter((f["code"], f["cause"], f["count"], f["closing"]) for f in findings)
    differs = sorted({f"{code}/{cause}" for code, cause, *_ in got} ^ truth.findings)
    if differs:
        names = sorted(f"{code}/{cause}" for code, cause, *_ in got)
        return "findings", f"findings {names} instead of {sorted(truth.findings)}"
    if twice := [key for key, n in got.items() if n > 1]:
        return "findings", f"told twice: {twice}"
    return "right", ""


@dataclass(frozen=True)
class Level:
    """Whether something stays where it is."""

    what: str
    words: str
    flat: bool | None
    """None: the run was too short to tell"""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line of least squares; 0.0 where there is none."""
    if len(points) < 2 or len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def levels(
    at_s: Sequence[float], rss: Sequence[int], descriptors: Sequence[int], threads: Sequence[int]
) -> list[Level]:
    """Memory: what it grows in the second half, by its slope there. Descriptors and threads: the median of the last
    quarter is that of the second. A scrape or an export has a connection for a moment, which a median does not see.
    """
    if len(at_s) < 8:
        return []
    long_enough = at_s[-1] - at_s[0] >= GROWTH_FROM_S * 0.95
    half = [(t, b) for t, b in zip(at_s, rss, strict=True) if t >= (at_s[0] + at_s[-1]) / 2]
    growth = slope(half) * (half[-1][0] - half[0][0])
    words = f"{growth / 1e3:+,.0f} kB in the second half, {slope(half) * 3600 / 1e6:+.2f} MB an hour"
    found = [Level("memory", words, growth <= GROWTH_BYTES if long_enough else None)]
    quarter = len(at_s) // 4
    for what, values in (("descriptors", descriptors), ("threads", threads)):
        before, after = (statistics.median(v) for v in (values[quarter : 2 * quarter], values[-quarter:]))
        words = f"{before:g} in the second quarter, {after:g} in the last"
        found.append(Level(what, words, before == after if long_enough else None))
    return found
