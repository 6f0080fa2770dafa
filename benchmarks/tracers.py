# SPDX-License-Identifier: Apache-2.0
"""How a tracer is started, known to be ready, stopped and asked what it saw.

A new tracer is one `Tracer` in peers.py.
"""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import process
from benchmarks.errors import BenchError
from benchmarks.loads import RunningLoad

STOP_TIMEOUT_S = 60.0
STOP_STEP_S = 5.0
SETTLE_TIMEOUT_S = 120.0
SETTLE_STEP_S = 0.1


@dataclass(frozen=True)
class Session:
    """A tracer that runs beside a load."""

    tracer: "Tracer"
    load: RunningLoad
    directory: Path
    popen: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def pid(self) -> int:
        """The tracer's process."""
        return self.popen.pid

    @property
    def out(self) -> Path:
        """Standard output of the tracer, and the file it is told to write, if it takes one."""
        return self.directory / "out"

    @property
    def err(self) -> Path:
        """Standard error of the tracer."""
        return self.directory / "err"


def polls(session: Session) -> bool:
    """Ready: it has perf events or BPF programs open and sleeps in poll or epoll."""
    return process.holds(session.pid, "perf_event", "bpf") and process.waits_in(session.pid, "poll")


def says(words: str) -> Callable[[Session], bool]:
    """Ready: *words* are on its stderr."""
    return lambda session: words.encode() in session.err.read_bytes()


@dataclass(frozen=True)
class Tracer:
    """A tracer; a command of None is the absence of one. Paths of files it reads are in the command."""

    name: str
    package: str = ""
    command: Callable[[RunningLoad, Path], list[str]] | None = None
    ready: Callable[[Session], bool] = polls
    count: Callable[[Session], int | None] | None = None  # `load.signo` to `load.signalled`, after it has ended
    told: Callable[[Session], int | None] | None = None  # what it says itself that it lost
    prepare: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    stop: signal.Signals | None = signal.SIGINT  # None: at the end of its stdin
    discards: bool = False  # its stdout goes to /dev/null
    program: Path | str | None = None  # must exist, or be in PATH

    def missing(self) -> str | None:
        """Why it can't run here, or None."""
        if self.program is None or shutil.which(str(self.program)):
            return None
        return f"{self.program} is not installed ({self.package})"


@contextlib.contextmanager
def started(tracer: Tracer, load: RunningLoad, directory: Path) -> Iterator[tuple[Session, float]]:
    """*tracer*, ready, and the time from its exec until then in s; stopped and ended after the body."""
    assert tracer.command
    directory.mkdir(parents=True, exist_ok=True)
    out, err = directory / "out", directory / "err"
    command = tracer.command(load, out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(tracer.prepare())
        stdout = stack.enter_context(Path("/dev/null" if tracer.discards else out).open("wb"))
        stderr = stack.enter_context(err.open("wb"))
        start = time.monotonic()
        popen = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr))
        stack.callback(popen.kill)
        session = Session(tracer, load, directory, popen)
        process.wait_until(lambda: popen.poll() is not None or tracer.ready(session), f"{tracer.name} is ready")
        start_s = time.monotonic() - start
        if popen.returncode is not None:
            raise BenchError(f"{tracer.name} ended at once with {popen.returncode}: {tail(err) or tail(out)}")
        yield session, start_s
        _stop(session)


def _stop(session: Session) -> None:
    """End the tracer as a user would, and wait for it; one that has already ended with its load is fine.

    It is told again when it sits idle: bpftrace misses a signal that comes while it is not in epoll_wait.
    """
    stop, popen = session.tracer.stop, session.popen
    assert popen.stdin
    if stop is None:
        popen.stdin.close()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    used_s = -1.0  # CPU time when it was told last
    while popen.poll() is None:
        if time.monotonic() > deadline:
            raise BenchError(f"{session.tracer.name} did not end within {STOP_TIMEOUT_S:g} s of being told")
        now_s = process.cpu_seconds(session.pid)
        if stop and (used_s < 0 or now_s - used_s < STOP_STEP_S / 100):
            popen.send_signal(stop)
        used_s = now_s
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(STOP_STEP_S)


def settle(session: Session) -> float:
    """Wait until the tracer has worked off what the load left it, and return its CPU time in s.

    Worked off: it used less than a tenth of a CPU during `SETTLE_STEP_S`.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    before = process.cpu_seconds(session.pid)
    while time.monotonic() < deadline:
        time.sleep(SETTLE_STEP_S)
        now = process.cpu_seconds(session.pid)
        if now - before < SETTLE_STEP_S / 10:
            return now
        before = now
    raise BenchError(f"{session.tracer.name} was still busy {SETTLE_TIMEOUT_S:g} s after its load ended")


def tail(file: Path) -> str:
    """The last line of a file, for an error message."""
    lines = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return lines[-1] if lines else ""
