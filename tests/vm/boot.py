"""Boots one kernel in an emulated machine and runs one command inside, over this machine's own files.

virtme-ng's own exit status says 0 where the host has no udev, so the guest (``guest.sh``) leaves the command's status
in a file, and its output in another. Where those are missing the console tells why.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TextIO

from tests.vm.kernels import Kernel, Series, VmError

REPOSITORY: Final = Path(__file__).resolve().parents[2]
GUEST_OUT: Final = "/run/sigtrace-out"
#: How QEMU emulates, without two faults of 7.2 that ended guests (measured: README.md). All CPUs on one thread:
#: with one for each, both hung for good where the kernel rewrites its code. No cmpxchg16b: it leaves an operand of
#: the addition before it in the flags, and an interrupt that comes just then returns with them (a double fault in
#: 6.12's __kmalloc).
EMULATION: Final = "-accel tcg,thread=single -cpu max,-cx16"
#: What a kernel prints of itself when it hangs.
COMPLAINTS: Final = ("BUG:", "detected stalls", "blocked for more than", "Kernel panic")
POLL_S: Final = 0.2
PACKAGES: Final = {
    "vng": "pip install virtme-ng",
    "qemu-system-x86_64": "apt-get install qemu-system-x86",
    "busybox": "apt-get install busybox-static",
    "modprobe": "apt-get install kmod",
}
"""What a boot needs, and how it is had."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row. Seconds are wall time; ``status`` is None where COMMAND did not finish."""

    series: str
    release: str
    boot_s: float | None
    command_s: float | None
    status: int | None
    note: str

    @property
    def skipped(self) -> bool:
        """Whether there was no kernel to boot."""
        return not self.release

    @property
    def passed(self) -> bool:
        """Whether COMMAND ran and exited with 0."""
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Machine:
    """How the guests are made: memory as qemu writes it, number of CPUs, and whether KVM may be used."""

    memory: str
    cpus: int
    kvm: bool

    def command(self, kernel: Kernel, out: Path) -> list[str]:
        """The vng command line that boots the kernel and runs ``boot.sh`` from the output folder."""
        return [
            *("vng", "--verbose", "--run", str(kernel.image), "--memory", self.memory, "--cpus", str(self.cpus)),
            *([] if self.kvm else ["--disable-kvm"]),
            # Retpolines cost an emulator half its speed.
            *("--append", "mitigations=off"),
            # A guest that is starved finds its TSC unstable and rewrites its clock's code as it runs, which emulation
            # does not always survive (a panic in 7.2's ktime_get_update_offsets_now).
            *("--append", "tsc=reliable"),
            # Nor does its timer tick while it is tested ("IO-APIC + timer doesn't work!").
            *("--append", "no_timer_check"),
            # The init written in bash reaps orphans, which the other leaves as zombies.
            "--no-virtme-ng-init",
            # virtiofs depends on the daemon's version; 9p is the same everywhere.
            *("--force-9p", "--cwd", "/", f"--rwdir={GUEST_OUT}={out}"),
            *([] if self.kvm else [f"--qemu-opts={EMULATION}"]),
            "--qemu-opts=-virtfs local,path=/,mount_tag=sigtrace,security_model=none,readonly=on,multidevs=remap",
            *("--exec", f"bash {GUEST_OUT}/boot.sh"),
        ]


def run_under(
    series: Series, kernel: Kernel, command: Sequence[str], out: Path, *, machine: Machine, limit_s: float
) -> Outcome:
    """Boots the kernel, runs the command and echoes its output. Kills the guest after ``limit_s`` seconds."""
    _prepare(series, command, out)
    begin = time.monotonic()
    ready: float | None = None
    with (
        _guest(machine.command(kernel, out), out / "console.log") as guest,
        (out / "log").open(errors="replace") as log,
    ):
        while True:
            ended = guest.poll() is not None
            late = time.monotonic() - begin > limit_s
            if ready is None and (out / "ready").exists():
                ready = time.monotonic()
            _echo(series, log, whole=ended or late)
            if ended or late or (out / "status").exists():
                break
            time.sleep(POLL_S)
        finished = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            guest.wait(0 if late else 30)
        _echo(series, log, whole=True)
    status = _status(out)
    if status is None:
        note = _death(out, ready is not None)
        if late:
            note = f"{'not up' if ready is None else 'no result'} within {limit_s:.0f} s{_complaint(out)}"
    else:
        note = {0: "passed", 125: "the guest was not usable (125), see log"}.get(status, f"exit status {status}")
    boot_s, command_s = (None, None) if ready is None else (ready - begin, finished - ready)
    return Outcome(series.name, kernel.release, boot_s, command_s, status, note)


def _prepare(series: Series, command: Sequence[str], out: Path) -> None:
    if set(f"{out}{REPOSITORY}") & set(" ,='\"\\"):
        raise VmError(
            f"cannot share {out} and {REPOSITORY} with a guest: blanks, commas, = or quotes in a path; move them"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "log").touch()
    guest = ["bash", str(REPOSITORY / "tests/vm/guest.sh"), GUEST_OUT, str(REPOSITORY), *command]
    settings = {"SIGTRACE_VM": series.name, "SIGTRACE_VM_OUT": GUEST_OUT}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    (out / "boot.sh").write_text(f"{exports}exec {shlex.join(guest)}\n")


@contextlib.contextmanager
def _guest(command: Sequence[str], console: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running guest whose console goes to a file; its whole process group is dead at the end."""
    environment = {**os.environ, "PATH": _path()}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip

    thread = threading.Thread(target=_drain, args=(process.stdout, console), daemon=True)
    thread.start()
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        thread.join(5)


def _drain(pipe: IO[bytes] | None, target: Path) -> None:
    """Copies to a file as it comes. Only a pipe will do: qemu opens its outputs by name, and would truncate a file."""
    if pipe is not None:
        with target.open("wb", buffering=0) as file:
            while chunk := os.read(pipe.fileno(), 65536):
                file.write(chunk)


def _path() -> str:
    """PATH with this interpreter's own folder first, where pip put vng, and with what root's PATH has."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _echo(series: Series, log: TextIO, *, whole: bool) -> None:
    """Prints what the log has grown by, line by line; an unfinished last line only with ``whole``."""
    start = log.tell()
    text = log.read()
    if not whole:
        kept = text[: text.rfind("\n") + 1]
        if kept != text:
            log.seek(start)
            text = log.read(len(kept))
    for line in text.splitlines():
        print(f"{series.name:<5}| {line}", flush=True)


def _status(out: Path) -> int | None:
    try:
        return int((out / "status").read_text())
    except FileNotFoundError:
        return None


def _death(out: Path, ready: bool) -> str:
    """Why a guest that left no status ended, as far as its console tells."""
    lines = _console(out)
    panic = next((line for line in lines if "Kernel panic" in line), None)
    last = next((line for line in reversed(lines) if line.strip()), "no output at all")
    return f"died {'during the command' if ready else 'before the command'}: {(panic or last).strip()[-120:]}"


def _complaint(out: Path) -> str:
    """The first thing that the kernel of a guest which came to no end found wrong with itself, if anything."""
    wrong = next((line for line in _console(out) if any(word in line for word in COMPLAINTS)), None)
    return f"; its console: {wrong.strip()[-120:]}" if wrong else ""


def _console(out: Path) -> list[str]:
    return (out / "console.log").read_text(errors="replace").splitlines()


def check_tools() -> None:
    """Raises VmError that says what to install, if anything that a boot needs is missing."""
    missing = [tool for tool in PACKAGES if shutil.which(tool, path=_path()) is None]
    if missing:
        raise VmError(
            f"cannot boot kernels without {', '.join(missing)}: " + "; ".join(PACKAGES[tool] for tool in missing)
        )
