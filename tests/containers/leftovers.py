"""Leaving nothing behind: mounts, folders, cgroups and processes that runtimes of the tests have made."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], *, what: str, timeout: float = 60.0) -> T:
    """As the fixture wait_until, for code that is no test."""
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() >= deadline
        if value := predicate():
            return value
        if late:
            pytest.fail(f"waited {timeout} s for {what}")
        time.sleep(0.005)


def unmount_below(folder: Path) -> None:
    """Every mount in it, the innermost first."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    places = [line.split()[4] for line in mounts]
    for place in sorted((p for p in places if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def remove_cgroups(path: str) -> None:
    """An empty cgroup and those below it, in every hierarchy. ``path``: from the hierarchies' roots."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] not in ("cgroup", "cgroup2"):
            continue
        top = before.split()[4] + path
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def kill_those_with(word: str) -> list[int]:
    """SIGKILL to each process that has ``word``, a path of the test's own folder, as an argument; their pids."""
    killed = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                killed.append(int(entry.name))
    return killed
