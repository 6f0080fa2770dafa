"""The tables of a simulated node (scale.py), and of clusters of such nodes."""

from __future__ import annotations

import zlib

from benchmarks.scale import DEPLOY_S, LEAN_SCRAPE_S, METRICS_S, SCRAPE_S, TRACES_S, Node, Told
from sigtrace.sinks.otlp.settings import OtlpSettings

CLUSTERS = (10, 1_000, 5_000)


def packed(parts: list[bytes]) -> int:
    """Bytes, each by itself: the containers here differ too little for a batch to be a fair sample."""
    return sum(len(zlib.compress(part, 6)) for part in parts)


def amount(value: float, unit: str = "") -> str:
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def table(rows: list[tuple[str, ...]]) -> list[str]:
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|---" * len(rows[0]) + "|", *rest]


def report(node: Node, told: Told) -> str:
    before, amid = told.before, told.amid
    traces, lines = sum(map(len, told.traces)), sum(map(len, told.lines))
    zipped, scrape_zipped, otlp_zipped = packed(told.traces), packed([before.scrape]), packed([before.otlp])
    own = [
        ("one node", ""),
        ("series, at rest", f"{before.total:,}"),
        ("series, amid the deploy", f"{amid.total:,}"),
        ("series of the lean PodMonitor", f"{before.lean:,}"),
        ("one scrape", f"{amount(len(before.scrape), 'B')}, gzip {amount(scrape_zipped, 'B')}"),
        ("data points of an OTLP export", f"{before.points:,}"),
        ("its size", f"{amount(len(before.otlp), 'B')}, gzip {amount(otlp_zipped, 'B')}"),
        ("spans of the deploy", f"{told.spans:,}"),
        ("bytes a span", f"{traces / told.spans:.0f}, gzip {zipped / told.spans:.0f}"),
        ("lines on stdout", f"{len(told.lines):,}, {lines / len(told.lines):,.0f} bytes each"),
        (f"a queue of {OtlpSettings().queue:,} spans holds", f"{OtlpSettings().queue / told.spans * 10:.0f} min of it"),
    ]
    by_metric = [("series by metric, one node at rest", ""), *((n, f"{c:,}") for n, c in before.series.most_common())]
    rates = {
        "series, at rest": before.total,
        "series, lean": before.lean,
        "series that the deploy adds": amid.total - before.total,
        f"samples/s, scraped every {SCRAPE_S} s": before.total / SCRAPE_S,
        f"samples/s, lean, every {LEAN_SCRAPE_S} s": before.lean / LEAN_SCRAPE_S,
        "B/s scraped, gzip": scrape_zipped / SCRAPE_S,
        f"OTLP points/s, every {METRICS_S} s": before.points / METRICS_S,
        "OTLP metrics B/s": len(before.otlp) / METRICS_S,
        "OTLP metrics B/s, gzip": otlp_zipped / METRICS_S,
        "spans/s in the deploy": told.spans / DEPLOY_S,
        "OTLP traces B/s": traces / DEPLOY_S,
        "OTLP traces B/s, gzip": zipped / DEPLOY_S,
        "requests/s, metrics and traces": 1 / METRICS_S + min(1 / TRACES_S, node.total / DEPLOY_S),
        "stdout B/s": lines / DEPLOY_S,
        "spans of the whole deploy": told.spans,
    }
    cluster = [("nodes", *(f"{n:,}" for n in CLUSTERS))]
    cluster += [(what, *(amount(value * n) for n in CLUSTERS)) for what, value in rates.items()]
    said = f"{node.pods} pods of {node.containers} containers with {node.workers} workers, {node.names} names, all "
    said += f"replaced in {DEPLOY_S // 60} min"
    return "\n".join([said, "", *table(own), "", *table(cluster), "", *table(by_metric)])
