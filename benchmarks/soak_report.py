# SPDX-License-Identifier: Apache-2.0
"""What came of a soak: a table, a plot, JSON, and the part of docs/soak.md that is generated."""

import dataclasses
import itertools
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmarks import build
from benchmarks.plot import Line, Panel, svg
from benchmarks.soak_agent import Collector, Sample
from benchmarks.soak_judge import Judgement, Level, levels

if TYPE_CHECKING:
    from benchmarks.soak import Soak

_DOCS = build.ROOT / "docs" / "soak.md"
_IMAGE = build.ROOT / "docs" / "img" / "soak.svg"
_BEGIN, _END = "<!-- the last run -->\n", "<!-- end -->\n"
_SHOWN = 30
#: Samples that come so soon after one that was late say nothing of a rate.
_SHORT_S = 2.0


@dataclass(frozen=True)
class Result:
    """All that is known at the end."""

    arguments: Any
    soak: "Soak"
    judgement: Judgement
    collector: Collector

    @property
    def failures(self) -> list[str]:
        """Why the exit status is 1."""
        grown = [f"{level.what} grew: {level.words}" for level in self.levels if level.flat is False]
        return [*self.soak.failures, *self.judgement.failures, *grown]

    @property
    def levels(self) -> list[Level]:
        """Of memory, descriptors and threads."""
        samples = self.soak.samples
        return levels(
            [s.at_s for s in samples],
            [s.rss_bytes for s in samples],
            [s.descriptors for s in samples],
            [s.threads for s in samples],
        )


def write(result: Result) -> int:
    """Into the output folder, and what matters to stdout; returns the exit status."""
    folder = result.arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    (folder / "soak.json").write_text(json.dumps(_json(result, now), indent=1) + "\n")
    (folder / "soak.svg").write_text(plot(result.soak.samples, result.soak.losses))
    text = markdown(result, now)
    (folder / "soak.md").write_text(text)
    if result.arguments.docs:
        before, _, rest = _DOCS.read_text().partition(_BEGIN)
        _DOCS.write_text(before + _BEGIN + text + _END + rest.partition(_END)[2])
        _IMAGE.write_text((folder / "soak.svg").read_text())
    print(text)
    for failure in result.failures[:_SHOWN]:
        print(f"FAILED {failure}")
    if (more := len(result.failures) - _SHOWN) > 0:
        print(f"FAILED and {more} more, see soak.json")
    print(f"results: {folder}", file=sys.stderr)
    return 1 if result.failures else 0


def rates(samples: Sequence[Sample]) -> list[tuple[float, float, float]]:
    """(s, share of a core, verdicts a second) between one sample and the next."""
    found = []
    for one, two in itertools.pairwise(samples):
        took = two.at_s - one.at_s
        if took < _SHORT_S:
            continue
        told = two.shutdowns + two.findings - one.shutdowns - one.findings
        found.append((two.at_s, (two.cpu_ns - one.cpu_ns) / 1e9 / took, told / took))
    return found


def plot(samples: Sequence[Sample], losses: Sequence[tuple[float, float]]) -> str:
    """As SVG: over minutes."""

    def over(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(at_s / 60, value) for at_s, value in points]

    between = rates(samples)
    panels = [
        Panel(
            "memory, MB",
            [
                Line("resident", over([(s.at_s, s.rss_bytes / 1e6) for s in samples])),
                Line("proportional", over([(s.at_s, s.pss_bytes / 1e6) for s in samples])),
            ],
        ),
        Panel("CPU, % of a core", [Line("CPU", over([(at, share * 100) for at, share, _ in between]))]),
        Panel("verdicts told a second", [Line("verdicts", over([(at, told) for at, _, told in between]))]),
        Panel(
            "open descriptors, threads",
            [
                Line("descriptors", over([(s.at_s, s.descriptors) for s in samples])),
                Line("threads", over([(s.at_s, s.threads) for s in samples])),
            ],
        ),
        Panel("events that the storms lost, and were told as lost", [Line("lost", over(losses))]),
    ]
    return svg(panels, "minutes", "The agent's memory, CPU, verdicts, descriptors, threads and losses during a soak")


def markdown(result: Result, now: datetime) -> str:
    """The tables."""
    soak, judged, samples = result.soak, result.judgement, result.soak.samples
    total = len(soak.truths)
    share = f"{judged.right / total:.2%}" if total else "–"
    late = sorted(t.late_s for t in soak.agent.told if t.record["type"] == "shutdown")
    cpu = [share for _, share, _ in rates(samples)]
    rows = [
        ("containers stopped", f"{total:,} in {result.arguments.minutes:g} minutes, of {len(judged.by_case)} kinds"),
        ("**right verdicts**", f"**{judged.right:,} ({share})**"),
        ("wrong, missing, double", f"{len(judged.wrong)}, {len(judged.missing)}, {len(judged.double)}"),
        ("findings too many or too few", str(len(judged.findings))),
    ]
    if judged.odd:
        rows.append(("containers that did something else", str(len(judged.odd))))
    if late:
        rows.append(("from the end to the line on stdout", f"median {_ms(late, 0.5)}, 99 % {_ms(late, 0.99)}"))
    losses = ", ".join(f"{n:,.0f} {cause}" for cause, n in sorted(judged.losses.items())) or "none"
    rows += [
        ("events lost, and told", losses),
        ("spans of shutdowns exported", f"{result.collector.roots:,}"),
        ("other containers' shutdowns meanwhile", f"{judged.foreign:,}"),
    ]
    if samples:
        last = samples[-1]
        memory = f"{samples[0].rss_bytes / 1e6:.1f} → {last.rss_bytes / 1e6:.1f} MB, PSS {last.pss_bytes / 1e6:.1f} MB"
        rows.append(("resident memory", memory))
    rows += [(level.what, f"{_FLAT[level.flat]}: {level.words}") for level in result.levels]
    if cpu:
        rows.append(("CPU of the agent", f"{statistics.fmean(cpu):.1%} of a core, most {max(cpu):.1%} for 5 s"))
    head = f"{now:%Y-%m-%d %H:%M} UTC, Linux {platform.release()}, {os.cpu_count()} CPUs, seed {result.arguments.seed}"
    facts = table(("", ""), rows)
    kinds = [
        (name, str(sum(counts.values())), str(counts["right"]), _others(counts))
        for name, counts in sorted(judged.by_case.items())
    ]
    return f"{head}\n\n{facts}\n\n{table(('kind', 'stops', 'right', 'else'), kinds)}\n"


_FLAT = {True: "flat", False: "**grew**", None: "too short a run to tell"}


def _others(counts: "dict[str, int]") -> str:
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if verdict != "right")


def _ms(ordered: Sequence[float], share: float) -> str:
    return f"{ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e3:.0f} ms"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _json(result: Result, now: datetime) -> dict[str, Any]:
    judged = {**vars(result.judgement), "by_case": {k: dict(v) for k, v in result.judgement.by_case.items()}}
    arguments = {key: str(value) for key, value in vars(result.arguments).items()}
    return {
        "time": now.isoformat(),
        "machine": {"kernel": platform.release(), "architecture": platform.machine(), "cpus": os.cpu_count()},
        "arguments": arguments,
        "failures": result.failures,
        "judgement": judged,
        "levels": [dataclasses.asdict(level) for level in result.levels],
        "collector": {"requests": result.collector.requests, "bytes": result.collector.bytes},
        "shutdowns_by_metrics": result.soak.counted,
        "samples": [dataclasses.asdict(one) for one in result.soak.samples],
        "losses": result.soak.losses,
    }
