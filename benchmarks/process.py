# SPDX-License-Identifier: Apache-2.0
"""What /proc says about a process, and waiting for a condition."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.errors import BenchError


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0, interval_s: float = 0.002) -> None:
    """Return once *condition* holds; BenchError saying *what* did not happen in *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {timeout_s:g} s")
        time.sleep(interval_s)


def cpu_seconds(pid: int) -> float:
    """CPU time of all living threads of *pid* in s, also of a zombie; 0.0 once it is reaped.

    From schedstat (ns); threads that have ended are missing, so use differences of short duration only.
    """
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total_ns += int(task.read_text().split()[0])
    return total_ns / 1e9


def _status(pid: int, name: str) -> int | None:
    """The number in one line of /proc/PID/status."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return None


def rss_mb(pid: int) -> float | None:
    """Resident memory of *pid* in MB (10^6 bytes), mapped ring buffers included; None for a zombie."""
    kib = _status(pid, "VmRSS")
    return None if kib is None else kib * 1024 / 1e6


def peak_rss_mb(pid: int) -> float | None:
    """The most that `rss_mb` has been."""
    kib = _status(pid, "VmHWM")
    return None if kib is None else kib * 1024 / 1e6


def tracer_of(pid: int) -> int | None:
    """Process that ptraces *pid*; 0 or None: none."""
    return _status(pid, "TracerPid")


def waits_in(pid: int, *functions: str) -> bool:
    """Whether the main thread of *pid* sleeps in a kernel function whose name contains one of *functions*."""
    try:
        where = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False
    return any(function in where for function in functions)


def open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Each open file of *pid*: its descriptor and what it refers to."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield entry.name, str(entry.readlink())


def holds(pid: int, *parts: str) -> bool:
    """Whether *pid* has a file open whose name contains one of *parts*."""
    return any(part in name for _, name in open_files(pid) for part in parts)


def bpf_links(pid: int) -> dict[str, int]:
    """Raw tracepoint links that *pid* holds open: name of the tracepoint → id of the program."""
    links: dict[str, int] = {}
    for descriptor, name in open_files(pid):
        if "bpf_link" in name or "bpf-link" in name:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines()
                fields = dict(line.split(":", 1) for line in lines if ":" in line)
                if "tp_name" in fields:
                    links[fields["tp_name"].strip()] = int(fields["prog_id"])
    return links
