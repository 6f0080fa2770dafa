# SPDX-License-Identifier: Apache-2.0
"""Compile the C programs of this directory when they are missing or older than their source."""

import platform
import shutil
import subprocess
from pathlib import Path

from benchmarks.errors import BenchError

SOURCES = Path(__file__).parent
ROOT = SOURCES.parent
OUTPUT = ROOT / "build" / "benchmarks"

_CC = ("cc", "-O2", "-Wall", "-Wextra")
_BPF = ("clang", "-O2", "-g", "-Wall", "-target", "bpf", f"-I/usr/include/{platform.machine()}-linux-gnu", "-c")
_COMMANDS = {
    "load": (*_CC, "load.c", "-o"),
    "attach": (*_CC, "attach.c", "-lbpf", "-o"),
    "empty.bpf.o": (*_BPF, "empty.bpf.c", "-o"),
}


def build() -> None:
    """Bring every program in `OUTPUT` up to date; raises BenchError with the compiler's words."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name, command in _COMMANDS.items():
        source = next(SOURCES / part for part in command if part.endswith(".c"))
        target = OUTPUT / name
        if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
            continue
        if not shutil.which(command[0]):
            raise BenchError(f"cannot build {name}: {command[0]} is not installed (see make setup)")
        done = subprocess.run([*command, str(target)], cwd=SOURCES, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"cannot build {name}:\n{done.stderr}")


def path(name: str) -> Path:
    """Where the program *name* is, once built."""
    return OUTPUT / name
