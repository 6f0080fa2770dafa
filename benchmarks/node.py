# SPDX-License-Identifier: Apache-2.0
"""What the whole agent costs on a node: CPU of its process, and what its programs take in the kernel, under loads.

    .venv/bin/python -m benchmarks.node                                   # 7 rounds; three quarters of an hour; root
    .venv/bin/python -m benchmarks.node --rounds 1 --seconds 5            # shows that all works, decides nothing

Exit status: 0 all ran, 2 wrong usage, 3 the host can't.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import bpfstats, build
from benchmarks.errors import BenchError
from benchmarks.report import show
from benchmarks.soak_agent import Agent, Collector
from benchmarks.soak_cases import target
from benchmarks.soak_factory import Box, Factory, program
from benchmarks.soak_report import table
from benchmarks.statistic import Summary, Target, summarize
from sigtrace.errors import SigtraceError

#: After the agent is ready, and after a load has begun, until figures are taken, s.
_AGENT_SETTLES_S, _LOAD_SETTLES_S = 5.0, 2.0
#: With exporters: metrics over OTLP twice as often as by default, so that each figure has one; a scrape as is usual.
_EXPORT_MS, _SCRAPE_S = 30_000, 15.0
#: What a load really did may be so much less than is said here.
_RATE_TOLERANCE = 0.02
_SIGNALS, _EXITS = "rate 100 [ self SIGURG ]", "rate 10 [ fork [ ] reap 1 ]"
_BOTH = f"handle SIGTERM take SIGURG fork [ {_SIGNALS} ] ready {_EXITS} tell SIGTERM reap 0"


@dataclass(frozen=True)
class Load:
    """Containers at work."""

    name: str
    title: str
    containers: int
    words: str
    per_s: int
    """signals and exits of all containers"""
    target_percent: float
    """the most that the agent may take of a core"""


LOADS = {
    load.name: load
    for load in (
        Load("idle", "an idle node", 0, "", 0, 0.1),
        Load("signals", "10,000 signals a second, counted",
             1, "handle SIGTERM take SIGURG ready rate 10000 [ self SIGURG ]", 10_000, 0.5),
        Load("exits", "1,000 processes a second, exit 0",
             1, "handle SIGTERM ready rate 1000 [ fork [ ] reap 1 ]", 1_000, 1.0),
        Load("node", "100 containers, 10,000 signals and 1,000 processes a second", 100, _BOTH, 11_000, 1.0),
    )
}  # fmt: skip
_OPTIONS = {"alone": ("--http", "off"), "exporting": ("--http", "127.0.0.1:0")}
MODES = tuple(_OPTIONS)
#: Of a cell: its digits, and what it is multiplied by.
_COLUMNS = (
    ("cpu_percent", 3, 1.0), ("bpf_percent", 3, 1.0), ("wakeups_per_s", 0, 1.0), ("rss_mb", 0, 1.0),
    ("operations_per_s", 1, 1e-3),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One load beside one agent, once."""

    round: int
    mode: str
    load: str
    seconds: float
    cpu_percent: float
    """of a core: user and system time of the agent's process"""
    bpf_percent: float
    """of a core: what its programs took inside the kernel, on whoever's time; the statistics' own price included"""
    wakeups_per_s: float
    """voluntary context switches of all its threads"""
    rss_mb: float
    operations_per_s: float
    """that the load did"""


def _bpf_ns(pid: int) -> int:
    """Run time of all BPF programs that a process has open."""
    programs: dict[str, int] = {}
    for entry in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/fdinfo/{entry}").read_text().splitlines()
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            if "run_time_ns" in fields:
                programs[fields["prog_id"]] = int(fields["run_time_ns"])
    return sum(programs.values())


def _wakeups(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            lines = (task / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return total


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@asynccontextmanager
async def _working(factory: Factory, load: Load) -> AsyncIterator[list[Box]]:
    """The load, at work; at the end its containers are stopped, and have said how much they did."""
    boxes: list[Box] = []
    try:
        for number in range(load.containers):
            boxes.append(await factory.start(f"{load.name}-{number}", target(str(program()), load.words)))
            await factory.wait(boxes[-1], boxes[-1].up, "up")
        yield boxes
    finally:
        for box in boxes:
            factory.kill(box, signal.SIGTERM)
        for box in boxes:
            await factory.wait(box, box.ended, "ended")
            factory.forget(box)


async def _measure(number: int, mode: str, load: Load, agent: Agent, factory: Factory, seconds: float) -> Cell:
    async with _working(factory, load) as boxes:
        await asyncio.sleep(_LOAD_SETTLES_S)
        began, cpu, bpf, wakeups = time.monotonic(), agent.cpu_ns(), _bpf_ns(agent.pid), _wakeups(agent.pid)
        scrapes = asyncio.create_task(_scrape(agent)) if mode == "exporting" else None
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        cpu, bpf, wakeups = agent.cpu_ns() - cpu, _bpf_ns(agent.pid) - bpf, _wakeups(agent.pid) - wakeups
        rss = _rss_mb(agent.pid)
        if scrapes:
            scrapes.cancel()
            await asyncio.wait([scrapes])
    rate = sum(count * 1e9 / ns for box in boxes for count, ns in box.rates)
    if rate < load.per_s * (1 - _RATE_TOLERANCE):
        _say(f"WARNING too busy a machine: {load.name} did {rate:.0f} operations a second in place of {load.per_s}")
    return Cell(number, mode, load.name, took, cpu / took / 1e7, bpf / took / 1e7, wakeups / took, rss, rate)


async def _scrape(agent: Agent) -> None:
    while True:
        await asyncio.sleep(_SCRAPE_S / 2)
        await agent.scrape()
        await asyncio.sleep(_SCRAPE_S / 2)


async def _run(parsed: argparse.Namespace, cells: list[Cell]) -> None:
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me
    for signo in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signo, me.cancel)
    async with Factory(f"node-{os.getpid()}") as factory:
        for number in range(1, parsed.rounds + 1):
            for mode in parsed.modes:
                with tempfile.TemporaryDirectory(prefix="sigtrace-node-") as folder, Collector() as collector:
                    to = ("--otlp-endpoint", collector.url) if mode == "exporting" else ()
                    every = {"OTEL_METRIC_EXPORT_INTERVAL": str(_EXPORT_MS)}
                    async with Agent(parsed.sigtrace, Path(folder), (*_OPTIONS[mode], *to), every) as agent:
                        await asyncio.sleep(_AGENT_SETTLES_S)
                        for name in parsed.loads:
                            cell = await _measure(number, mode, LOADS[name], agent, factory, parsed.seconds)
                            cells.append(cell)
                            figures = f"{cell.cpu_percent:.3f} %, BPF {cell.bpf_percent:.3f} %"
                            _say(f"round {number}: {mode}: {name}: {figures}, {cell.wakeups_per_s:.0f} wake-ups/s")


def _say(line: str) -> None:
    print(f"node: {line}", file=sys.stderr, flush=True)


def of(cells: Sequence[Cell], mode: str, load: str, field: str) -> Summary | None:
    """Over the rounds."""
    return summarize(getattr(cell, field) for cell in cells if (cell.mode, cell.load) == (mode, load))


def tables(cells: Sequence[Cell]) -> str:
    """One row for each load and mode."""
    head = ("load", "agent", "CPU, % of a core", "BPF, % of a core", "wake-ups/s", "RSS MB", "load, k/s")
    rows = []
    for load in LOADS.values():
        for mode in MODES:
            if of(cells, mode, load.name, "cpu_percent"):
                row = [show(of(cells, mode, load.name, field), digits, by) for field, digits, by in _COLUMNS]
                rows.append([load.title, mode, *row])
    return table(head, rows)


def verdicts(cells: Sequence[Cell]) -> list[str]:
    """One line for each target that was measured."""
    found = []
    for load in LOADS.values():
        for mode in MODES:
            if summary := of(cells, mode, load.name, "cpu_percent"):
                bound = Target(load.title, load.target_percent, at_least=False)
                done = of(cells, mode, load.name, "operations_per_s")
                weak = done is not None and done.least < load.per_s * (1 - _RATE_TOLERANCE)
                verdict = "not decided, the load was less in a round" if weak else bound.verdict(summary)
                words = f"{show(summary)} %: {verdict}"
                found.append(f"{load.title}, {mode} ≤ {load.target_percent:g} %: {words}")
    return found


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.node", description="What the agent costs on a node.")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--seconds", type=float, default=30.0, help="that a load is measured for (30)")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS), help="some of the loads")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="without and with exporters")
    parser.add_argument("--sigtrace", type=Path, default=build.ROOT / ".venv/bin/sigtrace", help="our command")
    parser.add_argument("--output", type=Path, default=build.ROOT / "build" / "node.json", help="where the JSON goes")
    parsed = parser.parse_args(arguments)
    if parsed.rounds < 1 or parsed.seconds <= 0:
        parser.error("--rounds and --seconds are positive")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parsed = _arguments(arguments)
    cells: list[Cell] = []
    if os.geteuid():
        _say("needs root, to attach BPF programs and make PID namespaces")
        return 3
    try:
        for other in bpfstats.others():
            _say(f"WARNING every figure suffers from what is attached already: {other}")
        with bpfstats.enabled():
            asyncio.run(_run(parsed, cells))
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say("interrupted; nothing was written")
        return 130
    except (BenchError, SigtraceError, OSError) as error:
        _say(str(error))
        return 3
    decided = verdicts(cells)
    record = {
        "time": datetime.now(UTC).isoformat(),
        "machine": {"kernel": platform.release(), "architecture": platform.machine(), "cpus": os.cpu_count()},
        "arguments": {key: str(value) for key, value in vars(parsed).items() if not isinstance(value, Path)},
        "cells": [dataclasses.asdict(cell) for cell in cells],
        "verdicts": decided,
    }
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    parsed.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{parsed.rounds} interleaved rounds of {parsed.seconds:g} s: median (least–most)\n")
    print(tables(cells), "", *decided, f"every round is in {parsed.output}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
