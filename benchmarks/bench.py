# SPDX-License-Identifier: Apache-2.0
"""make bench: interleaved rounds of every load beside every tracer; one table, the targets, and JSON."""

import argparse
import compileall
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import bpfstats, build, cells, drain, peers, report
from benchmarks.bpfstats import Invocation
from benchmarks.cells import Cell
from benchmarks.errors import BenchError
from benchmarks.loads import LOADS, Load
from benchmarks.tracers import Tracer

_DEFAULT_LOADS = ("usr1", "urg", "fork", "init")
_NS_LOADS = ("urg", "init", "spread")
_NS_TRACERS = (peers.EMPTY, peers.WATCH, peers.TRACE)


def _say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = list(peers.tracers())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds: shows that all works, decides nothing")
    parser.add_argument("--rounds", type=int, help="rounds (7; with --quick 3)")
    parser.add_argument("--seconds", type=float, help="duration of a load (1; with --quick 0.3)")
    parser.add_argument("--count", type=int, help="signals a run for the ns a program takes (1000000; 100000)")
    parser.add_argument("--loads", nargs="*", choices=LOADS, default=_DEFAULT_LOADS, help="loads of the throughput")
    parser.add_argument("--ns-loads", nargs="*", choices=LOADS, default=_NS_LOADS, help="loads of the ns; none: skip")
    parser.add_argument("--churn", type=int, default=0, help="also: ns of spread after so many cgroups came and went")
    parser.add_argument("--tracers", nargs="+", choices=names, default=names, help="tracers; none and empty always run")
    parser.add_argument("--sigtrace", type=Path, default=peers.SIGTRACE, help="our command (.venv/bin/sigtrace)")
    parser.add_argument("--output", type=Path, default=build.ROOT / "build" / "bench.json", help="where the JSON goes")
    parsed = parser.parse_args(arguments)
    parsed.rounds = parsed.rounds or (3 if parsed.quick else 7)
    parsed.seconds = parsed.seconds or (0.3 if parsed.quick else 1.0)
    parsed.count = parsed.count or (100_000 if parsed.quick else 1_000_000)
    return parsed


def _installed(names: Sequence[str], sigtrace: Path) -> tuple[list[Tracer], list[str]]:
    """The tracers to run, and why the others can't."""
    wanted = [tracer for name, tracer in peers.tracers(sigtrace).items() if name in {*names, peers.NONE, peers.EMPTY}]
    skipped = [f"{tracer.name}: {reason}" for tracer in wanted if (reason := tracer.missing())]
    return [tracer for tracer in wanted if not tracer.missing()], skipped


class _Run:
    """Runs everything in turn; a tracer that fails is left out from then on, and said."""

    def __init__(self, arguments: argparse.Namespace, tracers: list[Tracer]) -> None:
        self.arguments = arguments
        self.tracers = tracers
        self.cells: list[Cell] = []
        self.invocations: list[Invocation] = []
        self.failures: list[str] = []
        self.drains: list[drain.Drain] = []

    def throughput(self) -> None:
        for number in range(1, self.arguments.rounds + 1):
            for load in self.arguments.loads:
                for tracer in list(self.tracers):
                    try:
                        cell = cells.measure(number, LOADS[load], tracer, self.arguments.seconds)
                    except (BenchError, OSError) as error:
                        self._fail(tracer, error)
                        continue
                    self.cells.append(cell)
                    lost = "" if cell.lost is None else f", lost {cell.lost:.1%}, silently {cell.silent:.1%}"
                    _say(f"round {number}: {load}: {tracer.name}: {cell.rate / 1e3:.1f} k ops/s{lost}")

    def nanoseconds(self) -> None:
        for number in range(1, self.arguments.rounds + 1):
            for load in self.arguments.ns_loads:
                self._nanoseconds(number, LOADS[load])
            if churn := self.arguments.churn:
                self._nanoseconds(number, dataclasses.replace(LOADS["spread"], name=f"spread, {churn} gone"), churn)

    def _nanoseconds(self, number: int, load: Load, churn: int = 0) -> None:
        for tracer in [tracer for tracer in self.tracers if tracer.name in _NS_TRACERS]:
            try:
                found = bpfstats.measure(number, load, tracer, self.arguments.count, churn)
            except (BenchError, OSError) as error:
                self._fail(tracer, error)
                continue
            self.invocations += found
            for i in found:
                _say(f"round {number}: {load.name}: {tracer.name}: {i.program} on {i.tracepoint}: {i.ns:.1f} ns")

    def _fail(self, tracer: Tracer, error: Exception) -> None:
        if tracer.name in (peers.NONE, peers.EMPTY):
            raise error
        _say(f"bench: FAILED, left out from here on: {tracer.name}: {error}")
        self.failures.append(f"{tracer.name}: {error}")
        self.tracers.remove(tracer)


def _prepare() -> None:
    if os.geteuid():
        raise BenchError("needs root, to attach BPF programs and make PID namespaces: sudo make bench")
    if not (peers.TRACEFS / "events").exists():
        done = subprocess.run(
            ["mount", "-t", "tracefs", "nodev", peers.TRACEFS], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"cannot mount tracefs, which the peers need: {done.stderr.strip()}")
    build.build()
    # As an installation does; where PYTHONDONTWRITEBYTECODE is set each start would compile 130 modules.
    compileall.compile_dir(build.ROOT / "sigtrace", quiet=1)
    for other in bpfstats.others():
        _say(f"bench: WARNING every figure suffers from what is attached already: {other}")


def _write(run: _Run, skipped: list[str], verdicts: list[str]) -> None:
    arguments = {key: value for key, value in vars(run.arguments).items() if not isinstance(value, Path)}
    record = {
        "time": datetime.now(UTC).isoformat(),
        "machine": {"kernel": platform.release(), "architecture": platform.machine(), "cpus": os.cpu_count()},
        "arguments": arguments,
        "skipped": skipped,
        "failures": run.failures,
        "cells": [dataclasses.asdict(cell) | {"lost": cell.lost, "silent": cell.silent} for cell in run.cells],
        "invocations": [dataclasses.asdict(invocation) for invocation in run.invocations],
        "drains": [dataclasses.asdict(one) for one in run.drains],
        "verdicts": verdicts,
    }
    output: Path = run.arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all ran, 1 a tracer failed, 2 wrong usage, 3 the host can't, 130 interrupted."""
    parsed = _arguments(arguments)
    # Both unwind, so that nothing is left behind; also where a background job started us with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prepare()
        tracers, skipped = _installed(parsed.tracers, parsed.sigtrace)
        for reason in skipped:
            _say(f"bench: SKIPPED {reason}")
        run = _Run(parsed, tracers)
        run.throughput()
        run.nanoseconds()
        run.drains = drain.measure(parsed.rounds)
    except BenchError as error:
        _say(f"bench: {error}")
        return 3
    except KeyboardInterrupt:
        _say("bench: interrupted; nothing was written")
        return 130
    verdicts = list(report.verdicts(run.cells, run.invocations))
    _write(run, skipped, verdicts)
    print(f"{parsed.rounds} interleaved rounds of {parsed.seconds:g} s: median (least–most); ratios within a round\n")
    print(report.throughput_table(run.cells))
    if run.invocations:
        print(f"\nns a BPF program takes, of the kernel's statistics, {parsed.count} operations a run\n")
        print(report.invocation_table(run.invocations))
    print(f"\nour reader: {report.drain_line(run.drains)}")
    print("", *verdicts, *(f"SKIPPED {reason}" for reason in skipped), sep="\n")
    print(*(f"FAILED {reason}" for reason in run.failures), f"every round is in {parsed.output}", sep="\n")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
