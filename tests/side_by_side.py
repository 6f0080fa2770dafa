"""`make test`: the kernel's tests, and beside them those of the parts above it, in a process of their own.

    python -m tests.side_by_side [--prove | PYTEST'S ARGUMENTS]

kernel/ and stress/ wait more than they compute, and look at the whole node: what it counts, and that nothing was lost;
the runtimes of containers/ make signals of their own all the time. They stay in one process, one after the other. The
others look only at what they started, and storm at nobody: they run on what those leave, and are told at the end. With
--prove those that take minutes, too. With other arguments it is plain pytest: who chooses tests wants to see them as
they run.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Run beside all others; every other folder, a new one too, is the kernel's. The audit with ptrace looks at no record.
BESIDE = tuple(
    f"tests/{name}" for name in ("contract", "fuzz", "kernel/test_ptrace_audit.py", "programs", "receivers", "unit")
)
#: A frame of ours in a stack that faulthandler wrote.
OURS = re.compile(rb'  File "' + re.escape(os.fsencode(ROOT)) + rb"/(tests|sigtrace|benchmarks)/")
Command = tuple[str, list[str]]
#: What pytest ends with where Ctrl-C ended it.
INTERRUPTED = 2


class Run:
    """One pytest, whose words go to a file: what holds its output open after it can't keep us."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._written = tempfile.TemporaryFile()  # noqa: SIM115 - as long as we
        colour = ["--color=yes"] if sys.stdout.isatty() else []
        # A process group of its own: Ctrl-C reaches it through us, once. Twice would cut short what cleans up.
        self.process = subprocess.Popen(
            [*command, *colour],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._written,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._shown = 0

    def show(self) -> None:
        """Write what is new to standard output."""
        new = os.pread(self._written.fileno(), 1 << 20, self._shown)
        self._shown += len(new)
        sys.stdout.buffer.write(new)
        sys.stdout.flush()

    def summary(self) -> bytes:
        """pytest's short summary; its last lines where it did not come to one."""
        lines = self._all().splitlines(keepends=True)
        heads = [at for at, line in enumerate(lines) if b"short test summary info" in line]
        if heads:
            return b"".join(lines[heads[-1] :])
        return b"".join(lines[-1 if self.process.returncode == 0 else -60 :])

    def hung(self) -> bytes:
        """Where a test waited for longer than pytest lets it, the innermost place first: of faulthandler's stacks the
        frames that are ours. The whole stands above, and what keeps only a run's last lines has pytest's part of it."""
        _, timed_out, stacks = self._all().rpartition(b"Timeout (")
        ours = [line for line in stacks.splitlines(keepends=True) if OURS.match(line)]
        return b"hung in:\n" + b"".join(ours) if timed_out and ours else b""

    def rest(self) -> bytes:
        """What was not shown yet."""
        return self._all()[self._shown :]

    def _all(self) -> bytes:
        return os.pread(self._written.fileno(), os.fstat(self._written.fileno()).st_size, 0)


def side_by_side(shown: Command, beside: Command) -> int:
    """Run both to their end; the exit status. A failure's words are the last ones on the screen."""
    interrupts: list[int] = []
    # Before the first one starts: what starts must be ended.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: interrupts.append(number))
    runs = one, two = Run(*shown), Run(*beside)
    passed_on = 0
    while any(run.process.poll() is None for run in runs):
        while passed_on < len(interrupts):
            passed_on += 1
            for run in runs:
                run.process.send_signal(signal.SIGINT)
        one.show()
        time.sleep(0.1)
    sys.stdout.buffer.write(one.rest())
    failed = [run for run in runs if run.process.returncode != 0]
    # The first one's words stand there already; of its failure the summary again, below what the second one says.
    words = {one: one.summary() if failed == [one] else b"", two: two.rest() if two in failed else two.summary()}
    for run in sorted(runs, key=lambda run: run in failed):
        if words[run]:
            sys.stdout.buffer.write(f"\n---- {run.name}\n".encode() + words[run])
    for run in failed:
        sys.stdout.buffer.write(run.hung())
        sys.stdout.buffer.write(f"test: {run.name}: failed, exit status {run.process.returncode}\n".encode())
    sys.stdout.flush()
    if interrupts:
        return INTERRUPTED
    return max((abs(run.process.returncode) for run in failed), default=0)


def main() -> int:
    pytest = [sys.executable, "-m", "pytest"]
    if sys.argv[1:] == ["--prove"]:
        pytest += ["-m", "not vm", "-o", "faulthandler_timeout=0", "--durations=15"]  # they have their own deadlines
    elif sys.argv[1:]:
        os.execv(sys.executable, [*pytest, *sys.argv[1:]])
    kernel = ("the kernel's tests", [*pytest, *(f"--ignore={folder}" for folder in BESIDE)])
    # The kernel tests wait for things to happen by a deadline: the others get what they leave.
    return side_by_side(kernel, (" ".join(BESIDE), ["nice", "-n", "5", *pytest, *BESIDE]))


if __name__ == "__main__":
    sys.exit(main())
