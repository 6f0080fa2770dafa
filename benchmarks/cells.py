# SPDX-License-Identifier: Apache-2.0
"""One cell of the table: one load beside one tracer, once."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import build, loads, process, tracers
from benchmarks.loads import Load, Receiver, Result
from benchmarks.tracers import Tracer


@dataclass(frozen=True)
class Cell:
    """What one run measured; None where it can't be known (no process, no count)."""

    round: int
    load: str
    tracer: str
    operations: int
    signals: int
    elapsed_ns: int
    load_cpu_ns: int
    rate: float  # operations a second
    cpu_s: float | None = None  # of the tracer's process, from ready until it has worked everything off
    cpu_s_per_million: float | None = None  # signals
    rss_mb: float | None = None  # when it has worked everything off
    peak_rss_mb: float | None = None
    start_s: float | None = None  # from exec until ready
    seen: int | None = None  # signals of this load that the tracer reported
    told: int | None = None  # events of any kind that the tracer says it lost

    @property
    def lost(self) -> float | None:
        """Share of the signals that the tracer did not report."""
        return None if self.seen is None else max(0.0, 1 - self.seen / self.signals)

    @property
    def silent(self) -> float | None:
        """Share of the signals that the tracer neither reported nor says it lost."""
        return None if self.seen is None else max(0.0, 1 - (self.seen + (self.told or 0)) / self.signals)


def measure(number: int, load: Load, tracer: Tracer, seconds: float) -> Cell:
    """Run *load* for *seconds* beside *tracer*, in round *number*."""
    with loads.started(load, "--seconds", str(seconds)) as running:
        if tracer.command is None:
            return _cell(number, tracer, running.load, running.go())
        with tempfile.TemporaryDirectory(dir=build.OUTPUT, prefix="run-") as directory:
            with tracers.started(tracer, running, Path(directory)) as (session, start_s):
                cpu_before, memory = process.cpu_seconds(session.pid), _memory(session.pid)
                result = running.go()
                cpu_s = tracers.settle(session) - cpu_before
                memory = _memory(session.pid) if process.rss_mb(session.pid) else memory  # strace ends with its load
            seen = tracer.count(session) if tracer.count and load.receiver is not Receiver.MANY else None
            told = tracer.told(session) if tracer.told else None
    cell = _cell(number, tracer, load, result)
    if tracer.stop is None:  # it only holds BPF links open and does nothing itself
        return cell
    per_million = cpu_s * 1e6 / result.signals
    rss, peak = memory
    return replace(
        cell,
        cpu_s=cpu_s,
        cpu_s_per_million=per_million,
        rss_mb=rss,
        peak_rss_mb=peak,
        start_s=start_s,
        seen=seen,
        told=told,
    )


def _memory(pid: int) -> tuple[float | None, float | None]:
    return process.rss_mb(pid), process.peak_rss_mb(pid)


def _cell(number: int, tracer: Tracer, load: Load, result: Result) -> Cell:
    return Cell(
        number,
        load.name,
        tracer.name,
        result.operations,
        result.signals,
        result.elapsed_ns,
        result.cpu_ns,
        result.rate,
    )
