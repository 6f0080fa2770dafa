# SPDX-License-Identifier: Apache-2.0
"""The tracers of the comparison: nothing, an empty program, the peers, and sigtrace.

Every peer gets its cheapest set-up that sees each generated signal once (signal_generate only), with its
default buffers, and writes to a file, as its users do. sigtrace does more (deliveries, exits) in its rows.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import build, process
from benchmarks.loads import RunningLoad
from benchmarks.tracers import Session, Tracer, says

SIGTRACE = build.ROOT / ".venv/bin/sigtrace"
TRACEFS = Path("/sys/kernel/tracing")
INSTANCE = TRACEFS / "instances" / f"sigtrace-bench-{os.getpid()}"


def _lines(session: Session, *needles: str) -> int:
    """Lines of the output that contain all *needles*, with {signo} and {pid} filled in."""
    load = session.load
    wanted = [needle.format(signo=load.load.signo, pid=load.signalled).encode() for needle in needles]
    with session.out.open("rb") as file:
        return sum(all(needle in line for needle in wanted) for line in file)


def _with_lines(*needles: str) -> Callable[[Session], int]:
    return lambda session: _lines(session, *needles)


def _losses(pattern: bytes) -> Callable[[Session], int]:
    """What the tracer says it lost: the sum of *pattern*'s numbers in its output and on its stderr."""

    def told(session: Session) -> int:
        total = 0
        for path in (session.out, session.err):
            if path.exists():
                with path.open("rb") as file:
                    total += sum(int(number) for line in file for number in re.findall(pattern, line))
        return total

    return told


def _map_total(session: Session) -> int:
    """Sum of bpftrace's @[pid, signo, result]: count."""
    load = session.load
    pattern = rf"^@\[{load.signalled}, {int(load.load.signo)}, \d+\]: (\d+)$"
    return sum(int(count) for count in re.findall(pattern, session.out.read_text(), re.MULTILINE))


def _samples(session: Session) -> int:
    """All samples that perf record kept: its own count, the few signals of other processes included."""
    command = ["perf", "report", "--stats", "-i", str(session.out)]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"SAMPLE events: +(\d+)", report)
    return int(match[1]) if match else 0


def _strace_lines(session: Session) -> int:
    return _lines(session, f"--- {signal.Signals(session.load.load.signo).name} ") if session.out.exists() else 0


def _json_events(session: Session) -> int:
    """Our records of kind signal_generate with the load's signal and receiver."""
    load = session.load
    count = 0
    with session.out.open("rb") as file:
        for line in file:
            if b"signal_generate" in line:
                event = json.loads(line)
                target = event.get("target") or {}
                count += event["signo"] == load.load.signo and target.get("pid") == load.signalled
    return count


@contextlib.contextmanager
def _trace_instance() -> Iterator[None]:
    """An ftrace instance of our own with signal_generate on."""
    INSTANCE.mkdir()
    try:
        (INSTANCE / "events/signal/signal_generate/enable").write_text("1")
        yield
    finally:
        INSTANCE.rmdir()


def _traced(session: Session) -> bool:
    """Ready: strace has attached to every process of the load."""
    load = session.load
    return all(process.tracer_of(pid) == session.pid for pid in (load.pid, load.target))


def _strace(load: RunningLoad, out: Path) -> list[str]:
    pids = dict.fromkeys((load.pid, load.target))
    attach = [part for pid in pids for part in ("-p", str(pid))]
    return ["strace", "-f", "-e", "trace=none", "-e", "signal=all", "-o", str(out), *attach]


def _bpftrace(program: str) -> Callable[[RunningLoad, Path], list[str]]:
    return lambda _load, _out: ["bpftrace", "-e", f"tracepoint:signal:signal_generate {{ {program} }}"]


def _perf(verb: str, *options: str) -> Callable[[RunningLoad, Path], list[str]]:
    command = ["perf", verb, "-a", "-e", "signal:signal_generate", *options, "-o"]
    return lambda _load, out: [*command, str(out)]


NONE = "none"
EMPTY = "empty"
WATCH = "sigtrace watch"
TRACE = "sigtrace trace --all"


def tracers(sigtrace: Path = SIGTRACE) -> dict[str, Tracer]:
    """All tracers in the order they run in, by name; *sigtrace* is our command."""
    apt = "apt-get install {}".format
    attach = [str(build.path("attach")), str(build.path("empty.bpf.o"))]
    trace = [str(sigtrace), "trace", "--all", "-o", "json"]
    ours = partial(Tracer, program=sigtrace, package="make setup", ready=says("sigtrace: ready"))
    bpftrace = partial(Tracer, program="bpftrace", package=apt("bpftrace"))
    perf = partial(Tracer, program="perf", package=apt("linux-perf"))
    every = [
        Tracer(NONE),
        Tracer(EMPTY, command=lambda _load, _out: attach, ready=says("attach: ready"), stop=None),
        ours(WATCH, command=lambda _load, _out: [str(sigtrace), "watch"]),
        ours(TRACE, command=lambda _load, _out: trace, discards=True),
        ours(
            f"{TRACE} >file",
            command=lambda _load, _out: trace,
            count=_json_events,
            told=_losses(rb'"kind": ?"lost".*"count": ?(\d+)'),
        ),
        bpftrace(
            "bpftrace map",
            command=_bpftrace("@[args->pid, args->sig, args->result] = count();"),
            count=_map_total,
        ),
        bpftrace(
            "bpftrace print",
            command=_bpftrace(r'printf("sig=%d pid=%d result=%d\n", args->sig, args->pid, args->result);'),
            count=_with_lines("sig={signo} ", "pid={pid} "),
            told=_losses(rb"Lost (\d+) events"),
        ),
        Tracer(
            "sigsnoop",
            told=_losses(rb"lost (\d+) events"),
            command=lambda _load, _out: ["sigsnoop"],
            count=_with_lines(" {signo} ", " {pid} "),
            program="sigsnoop",
            package=apt("libbpf-tools"),
        ),
        perf("perf record", command=_perf("record", "-B", "-N"), count=_samples),
        perf(
            "perf trace",
            command=_perf("trace"),
            count=_with_lines("(sig: {signo},", "pid: {pid} "),
            told=_losses(rb"LOST (\d+) events"),
        ),
        Tracer(
            "strace -f", command=_strace, ready=_traced, count=_strace_lines, program="strace", package=apt("strace")
        ),
        Tracer(
            "ftrace pipe",
            command=lambda _load, _out: ["cat", str(INSTANCE / "trace_pipe")],
            ready=lambda session: process.holds(session.pid, "trace_pipe"),
            count=_with_lines("sig={signo} ", "pid={pid} "),
            told=_losses(rb"\[LOST (\d+) EVENTS\]"),
            prepare=_trace_instance,
            program="cat",
            package=apt("coreutils"),
        ),
    ]
    return {tracer.name: tracer for tracer in every}
