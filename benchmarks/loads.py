# SPDX-License-Identifier: Apache-2.0
"""The loads: each runs load.c in one way, in cgroups of the benchmark's own."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from benchmarks import build
from benchmarks.errors import BenchError


class Receiver(Enum):
    """Who gets the signals of a load."""

    ITSELF = auto()
    TARGET = auto()
    MANY = auto()  # processes that come and go, or a hundred: a tracer's output can't be counted by pid


@dataclass(frozen=True)
class Load:
    """One way to raise signals: `signo` to `receiver`."""

    name: str
    mode: str
    signo: int
    receiver: Receiver
    own_cgroup: str | None = None  # the option of load.c that takes a fresh cgroup, if the load wants one
    options: tuple[str, ...] = ()


# usr1 on one CPU: across two, the race for the receiver's lock makes rounds differ by half.
_LAST_CPU = str(max(os.sched_getaffinity(0)))
_ONE_CPU = ("--cpu", _LAST_CPU, "--target-cpu", _LAST_CPU)

LOADS = {
    load.name: load
    for load in (
        Load("usr1", "usr1", signal.SIGUSR1, Receiver.TARGET, options=_ONE_CPU),
        Load("urg", "urg", signal.SIGURG, Receiver.ITSELF),
        Load("fork", "fork", signal.SIGCHLD, Receiver.ITSELF),
        Load("init", "init", signal.SIGTERM, Receiver.TARGET, "--init-cgroup"),
        Load("nested", "init", signal.SIGTERM, Receiver.TARGET),
        Load("spread", "spread", signal.SIGRTMIN, Receiver.MANY, "--cgroup", ("--cgroups", "100", "--keys", "10")),
        Load("churn", "churn", signal.SIGURG, Receiver.MANY, "--cgroup"),
    )
}


@dataclass(frozen=True)
class Result:
    """What load.c reports: exact counts, times in ns."""

    operations: int
    signals: int
    handled: int
    elapsed_ns: int
    cpu_ns: int
    target_cpu_ns: int

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations * 1e9 / self.elapsed_ns


@dataclass(frozen=True)
class RunningLoad:
    """A load that is set up and waits for `go`."""

    load: Load
    pid: int
    target: int
    process: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def signalled(self) -> int:
        """Pid (tgid) that `load.signo` goes to."""
        return self.target if self.load.receiver is Receiver.TARGET else self.pid

    def go(self, timeout_s: float = 600.0) -> Result:
        """Run the load to its end."""
        try:
            output, errors = self.process.communicate(b"g", timeout_s)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"load {self.load.name} did not end within {timeout_s:g} s") from error
        if self.process.returncode:
            raise BenchError(f"load {self.load.name} failed: {errors.decode().strip()}")
        fields: dict[str, Any] = json.loads(output)
        del fields["load"]
        return Result(**fields)


def hierarchies() -> list[Path]:
    """Mount points where containers may live: cgroup v2, and pids and memory of v1."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, filesystem = line.split(" - ")
        kind, _, options = filesystem.split()[:3]
        if kind == "cgroup2" or (kind == "cgroup" and {"pids", "memory"} & set(options.split(","))):
            found.append(Path(mount.split()[4]))
    return found


@contextlib.contextmanager
def cgroup(name: str) -> Iterator[list[Path]]:
    """A new cgroup *name* in each hierarchy, removed at the end."""
    with contextlib.ExitStack() as stack:
        paths = [root / name for root in hierarchies()]
        for path in paths:
            path.mkdir()
            stack.callback(_remove, path)
        yield paths


def _remove(path: Path) -> None:
    """Remove a cgroup; its last task may still be on its way out."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return path.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


_serial = itertools.count(1)


@contextlib.contextmanager
def started(load: Load, *limit: str) -> Iterator[RunningLoad]:
    """*load*, set up and waiting; *limit* is ("--seconds", S) or ("--count", N)."""
    with contextlib.ExitStack() as stack:
        command = [str(build.path("load")), load.mode, "--wait", *limit, *load.options]
        if load.own_cgroup:
            for path in stack.enter_context(cgroup(f"sigtrace-bench-{os.getpid()}-{next(_serial)}")):
                command += [load.own_cgroup, str(path)]
        pipe = subprocess.PIPE
        process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0))
        stack.callback(process.kill)
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        if not line:
            raise BenchError(f"load {load.name} failed: {process.stderr.read().decode().strip()}")
        pids = json.loads(line)
        yield RunningLoad(load, pids["pid"], pids["target"], process)
