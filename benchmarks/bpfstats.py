# SPDX-License-Identifier: Apache-2.0
"""Time per invocation of a tracer's BPF programs, from the kernel's own statistics.

The statistics cost two clock readings a run themselves, and so does entering any program; both fall out when the
empty program's time on the same tracepoint and load is subtracted.
"""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import build, loads, process, tracers
from benchmarks.errors import BenchError
from benchmarks.loads import Load
from benchmarks.tracers import Tracer

_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True)
class Invocation:
    """One program during one run of a load."""

    round: int
    load: str
    tracer: str
    tracepoint: str
    program: str
    runs: int
    ns: float  # a run, the statistics' own price included


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Let the kernel account BPF run times; as it was before at the end."""
    before = _SWITCH.read_text()
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text(before)


def others() -> list[str]:
    """What is attached to signals and exits already, by anyone: it slows the load beside every tracer."""
    links = _bpftool("link", "show")
    names = [f"BPF link {link['id']} on {link['tp_name']}" for link in links if _ours(link.get("tp_name", ""))]
    tracing = Path("/sys/kernel/tracing")
    enables = [*tracing.glob("events/signal/*/enable"), *tracing.glob("instances/*/events/signal/*/enable")]
    return names + [f"ftrace: {file.parent}" for file in enables if file.read_text().strip() != "0"]


def _ours(tracepoint: str) -> bool:
    return tracepoint.startswith(("signal_", "sched_process_"))


def _bpftool(*arguments: str) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(["bpftool", "-j", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BenchError("bpftool is not installed (apt-get install bpftool)") from error
    if done.returncode:
        raise BenchError(f"cannot read BPF statistics: bpftool {' '.join(arguments)}: {done.stderr or done.stdout}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _programs() -> dict[int, tuple[str, int, int]]:
    """All BPF programs: id → name, total run time in ns, runs."""
    return {
        program["id"]: (program.get("name", "?"), program.get("run_time_ns", 0), program.get("run_cnt", 0))
        for program in _bpftool("prog", "show")
    }


def measure(number: int, load: Load, tracer: Tracer, count: int, churn: int = 0) -> list[Invocation]:
    """Run *load* with *count* operations beside *tracer*: each of its raw tracepoint programs that ran.

    With *churn*, so many cgroups come and go in the same session before that.
    Programs that ran less often than a tenth of *count* (a few exits, say) are left out: no figure.
    """
    with (
        enabled(),
        loads.started(load, "--count", str(count)) as running,
        tempfile.TemporaryDirectory(dir=build.OUTPUT, prefix="run-") as directory,
        tracers.started(tracer, running, Path(directory)) as (session, _),
    ):
        links = process.bpf_links(session.pid)
        if not links:
            raise BenchError(f"{tracer.name} holds no raw tracepoint links open: cannot tell its programs")
        if churn:
            with loads.started(loads.LOADS["churn"], "--count", str(churn)) as first:
                first.go()
        before = _programs()
        running.go()
        after = _programs()
        tracers.settle(session)
    found = []
    for tracepoint, identity in links.items():
        name, time_ns, runs = after[identity]
        runs -= before[identity][2]
        if runs > count / 10:
            ns = (time_ns - before[identity][1]) / runs
            found.append(Invocation(number, load.name, tracer.name, tracepoint, name, runs, ns))
    return found
