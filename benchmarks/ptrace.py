# SPDX-License-Identifier: Apache-2.0
"""What tracing by ptrace costs a program, beside strace: ``python -m benchmarks.ptrace [--rounds N] [--seconds S]``.

Each tracer has each load once a round, one after the other; ratios are taken to no tracer within one round. All start
their program, because strace's --seccomp-bpf works only so; all see every signal of it, and write it to a file, but for
the default mode, which limits what is told of one process (and counts the rest) as it does on a node.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import build
from benchmarks.errors import BenchError
from benchmarks.statistic import summarize
from sigtrace.model.event import Event

LOADS = ("usr1", "urg", "syscalls")
_STRACE = ["strace", "-f", "-e", "trace=none", "-e", "signal=all"]
_ROOT = Path(__file__).parents[1]


def _traced(mode: str) -> Callable[[list[str], Path], list[str]]:
    return lambda command, out: [sys.executable, "-m", "benchmarks.ptrace", "--under", mode, str(out), *command]


TRACERS: dict[str, Callable[[list[str], Path], list[str]]] = {
    "none": lambda command, _out: command,
    "strace": lambda command, out: [*_STRACE, "-o", str(out), *command],
    "strace --seccomp-bpf": lambda command, out: [*_STRACE, "--seccomp-bpf", "-o", str(out), *command],
    "sigtrace, every signal": _traced("all"),
    "sigtrace, default": _traced("default"),
}


def under(mode: str, out: str, command: list[str]) -> int:
    """Runs the command as a tracee of the ptrace source, and writes a line for each event."""
    from sigtrace.sources.command import Command
    from sigtrace.sources.ptrace.options import PtraceOptions
    from sigtrace.sources.ptrace.source import PtraceSource
    from sigtrace.sources.ptrace.wire import Want

    started = Command(command)
    if mode == "all":
        source = PtraceSource(PtraceOptions(follow=(started.pid,), children=True))
    else:
        source = PtraceSource(PtraceOptions(below=1 << 30))  # nobody else
    source.open()
    if mode != "all" and source._tracing:  # noqa: SLF001  # as a container's main process
        source._tracing.tracer.seize(started.pid, Want.MAIN)  # noqa: SLF001
        time.sleep(0.1)
    with open(out, "w", encoding="utf-8") as file:
        started.release()
        while not started.poll():
            file.writelines(map(_line, source.read(0.1).events))
        for batch in source.finish(5):
            file.writelines(map(_line, batch.events))
    print(source.ledger(), file=sys.stderr)
    return started.status.code if started.status else 1


def _line(event: Event) -> str:
    return f"{event.time_ns} {event.kind} {event.task.pid if event.task else ''} {event.signo}\n"


def compile_load() -> Path:
    """The load, compiled."""
    build.OUTPUT.mkdir(parents=True, exist_ok=True)
    target, source = build.path("ptrace_load"), Path(__file__).with_name("ptrace_load.c")
    done = subprocess.run(["cc", "-O2", "-Wall", "-o", target, source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"cannot build {target.name}:\n{done.stderr}")
    return target


def rate(tracer: str, command: list[str], seconds: float) -> float:
    """Operations a second of the load under this tracer."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            TRACERS[tracer](command, Path(folder) / "out"), cwd=_ROOT, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise BenchError(f"{tracer}: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[0]) / seconds


def main() -> int:
    """All rounds, then the table."""
    if sys.argv[1:2] == ["--under"]:
        return under(sys.argv[2], sys.argv[3], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    load = compile_load()
    tracers = [name for name in TRACERS if not name.startswith("strace") or shutil.which("strace")]
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(1, arguments.rounds + 1):
        for name in LOADS:
            for tracer in tracers:
                found = rate(tracer, [str(load), name, str(arguments.seconds)], arguments.seconds)
                rates.setdefault((name, tracer), []).append(found)
                print(f"round {number} {name:9} {tracer:24} {found:12,.0f}/s", file=sys.stderr, flush=True)
    print(f"| load | tracer | k ops/s | kept, median (range) |\n|---|---|---|---|  <!-- {os.uname().release} -->")
    for name in LOADS:
        for tracer in tracers:
            pairs = zip(rates[name, tracer], rates[name, "none"], strict=True)
            kept, speed = summarize(a / b for a, b in pairs), summarize(rates[name, tracer])
            if kept and speed:
                spread = f"{kept.median:.3f} ({kept.least:.3f}–{kept.most:.3f})"
                print(f"| {name} | {tracer} | {speed.median / 1000:.1f} | {spread} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
