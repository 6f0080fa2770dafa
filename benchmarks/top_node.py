"""What `sigtrace top` costs on a node: the whole command, its own capture included, while signals are told.

    python -m benchmarks.top_node [--containers 20] [--rate 2000] [--seconds 10] [--rounds 3]

`told` sends SIGTERM to inits that drop it, so that each signal is a record and goes through every rule; `counted` sends
SIGURG, which the kernel counts and tells nobody. Shares are of one core, user and system time of the process.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import signal
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sigtrace.lab.container import Container

SIGTRACE = Path(__file__).parents[1] / ".venv/bin/sigtrace"
LOADS = {"quiet": None, "counted": signal.SIGURG, "told": signal.SIGTERM}
_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def containers(count: int) -> Iterator[list[int]]:
    """So many that are deaf to SIGTERM; their inits' pids."""
    with contextlib.ExitStack() as stack:
        pids = []
        for number in range(count):
            box = stack.enter_context(Container(f"bench-{os.getpid()}-{number}"))
            box.start(["sh", "-c", "echo up; sleep 10000; true"])
            box.wait_ready(b"up\n")
            pids.append(box.init_pid)
        yield pids


@contextlib.contextmanager
def top() -> Iterator[int]:
    """`sigtrace top --local` on a terminal of its own, drawn once; its pid."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [SIGTRACE, "top", "--local"], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    drawn = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(master, 65536):
                if b"bench-" in chunk:
                    drawn.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not drawn.wait(20):
            sys.exit("top_node: the screen shows no container after 20 s: see sigtrace doctor")
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        reader.join()
        os.close(master)


def send(pids: list[int], signo: int | None, rate: int, seconds: float) -> None:
    """So many signals a second, evenly."""
    began, sent = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        due = int((now - began) * rate) if signo else 0
        while signo and sent < due:
            os.kill(pids[sent % len(pids)], signo)
            sent += 1
        time.sleep(0.002)


def used(pid: int) -> float:
    """Seconds of CPU so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> None:
    """One line a load: the median share, the least and the most."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.top_node", description="What top costs on a node.")
    parser.add_argument("--containers", type=int, default=20)
    parser.add_argument("--rate", type=int, default=2000, help="signals a second, of all")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    shares: dict[str, list[float]] = {name: [] for name in LOADS}
    with containers(wanted.containers) as pids, top() as process:
        for _ in range(wanted.rounds):
            for name, signo in LOADS.items():
                before = used(process)
                send(pids, signo, wanted.rate, wanted.seconds)
                shares[name].append((used(process) - before) / wanted.seconds * 100)
    print(f"{wanted.containers} containers, {wanted.rate} signals/s, {wanted.rounds} rounds of {wanted.seconds:g} s")
    for name, found in shares.items():
        print(f"{name:8} {statistics.median(found):5.1f} % of a core ({min(found):.1f}–{max(found):.1f})")


if __name__ == "__main__":
    main()
