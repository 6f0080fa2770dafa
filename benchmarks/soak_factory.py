# SPDX-License-Identifier: Apache-2.0
"""Starts containers through soak.c, and tells what became of them."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks import build
from benchmarks.errors import BenchError
from sigtrace.lab.cgroup import LabCgroup, find_hierarchy
from sigtrace.lab.cgroups import Cgroups, MemoryLimit

#: From an order to what comes of it, s: far longer than it takes.
PATIENCE_S = 30.0


def program() -> Path:
    """soak.c, compiled if it has changed. Raises BenchError."""
    source, made = build.SOURCES / "soak.c", build.OUTPUT / "soak"
    build.OUTPUT.mkdir(parents=True, exist_ok=True)
    if not made.exists() or made.stat().st_mtime <= source.stat().st_mtime:
        if not shutil.which("cc"):
            raise BenchError("cannot build soak.c: cc is not installed (see make setup)")
        done = subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", source, "-o", made], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"cannot build soak.c:\n{done.stderr}")
    return made


@dataclass
class Box:
    """A container, or what entered one."""

    id: str
    cgroups: tuple[LabCgroup, ...]
    pid: int = 0
    cgroup_id: int = 0
    status: int | None = None
    """of wait(2), once it has ended"""
    rates: list[tuple[int, int]] = field(default_factory=list)
    """of each program at a given rate: how often it was, and for how long (ns)"""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    remove: Callable[[], None] = lambda: None


class Factory:
    """``async with Factory("soak-1") as factory: box = await factory.start("web-1", argv)``."""

    def __init__(self, folder: str) -> None:
        """``folder``: of its cgroups, below the lab's."""
        self._folder = folder
        self._boxes: dict[str, Box] = {}
        self._number = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.root = Path(find_hierarchy().mount, "sigtrace-lab", folder)
        self.error = ""
        """what ended it before its time"""

    async def __aenter__(self) -> Self:
        for _ in range(100):  # another lab may end meanwhile and take the folder above with it
            with contextlib.suppress(FileNotFoundError):
                self.root.mkdir(parents=True)
                break
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(program(), "factory", stdin=pipe, stdout=pipe)
        self._reading = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process and process.stdin:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), PATIENCE_S)
            if process.returncode is None:
                process.kill()
        if self._reading:
            await self._reading
        for box in self._boxes.values():
            await asyncio.to_thread(box.remove)
        with contextlib.suppress(OSError):
            self.root.rmdir()
            self.root.parent.rmdir()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            word, name, *rest = line.decode().split()
            if (box := self._boxes.get(name)) is None:
                continue
            if word == "started":
                box.pid = int(rest[0])
                box.started.set()
            elif word == "ready":
                box.up.set()
            elif word == "rate":
                box.rates.append((int(rest[0]), int(rest[1])))
            elif word == "ended":
                box.status = int(rest[0])
                box.ended.set()
        self.error = self.error or "the factory has ended"
        for box in self._boxes.values():
            for event in (box.started, box.up, box.ended):
                event.set()  # nobody waits in vain: whoever does looks at the error

    def _order(self, *words: object) -> None:
        if self.error or not self._process or not self._process.stdin:
            raise BenchError(self.error or "the factory was not started")
        self._process.stdin.write("\t".join(map(str, words)).encode() + b"\n")

    def _new(self, cgroups: tuple[LabCgroup, ...]) -> Box:
        self._number += 1
        box = self._boxes[f"b{self._number}"] = Box(f"b{self._number}", cgroups)
        return box

    async def start(self, name: str, argv: Sequence[str], memory_bytes: int = 0) -> Box:
        """A container called ``name``: its PID 1 runs, and has perhaps not executed yet. Raises BenchError."""
        limit = MemoryLimit(memory_bytes) if memory_bytes else None
        cgroups = Cgroups(f"{self._folder}/{name}", memory=limit)
        for cgroup in cgroups.all:
            cgroup.path.parent.mkdir(parents=True, exist_ok=True)
        cgroups.create()
        box = self._new(tuple(cgroups.all))
        box.cgroup_id, box.remove = cgroups.main.id, cgroups.remove
        self._order("start", box.id, len(box.cgroups), *(c.path for c in box.cgroups), *argv)
        await self.wait(box, box.started, "to start")
        return box

    async def enter(self, into: Box, argv: Sequence[str]) -> Box:
        """A program enters the container, as a runtime's exec does."""
        box = self._new(())
        self._order("enter", box.id, into.id, len(into.cgroups), *(c.path for c in into.cgroups), *argv)
        await self.wait(box, box.started, "to enter")
        return box

    def kill(self, box: Box, signo: int, comm: str = "-") -> None:
        """A signal to it, unless it was waited for. ``comm``: the sender's; -: the factory itself."""
        self._order("kill", box.id, signo, comm)

    async def wait(self, box: Box, event: asyncio.Event, what: str) -> None:
        """Raises BenchError if it does not come to that."""
        try:
            await asyncio.wait_for(event.wait(), PATIENCE_S)
        except TimeoutError:
            raise BenchError(f"waited {PATIENCE_S:g} s for {box.id} (pid {box.pid}) {what}") from None
        if self.error:
            raise BenchError(f"{box.id} (pid {box.pid}) was {what}, but {self.error}")

    async def ends_within(self, box: Box, timeout_s: float) -> bool:
        """Whether it has ended by then."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(box.ended.wait(), timeout_s)
        return box.ended.is_set()

    def forget(self, box: Box) -> None:
        """It has ended: nothing stays of it."""
        box.remove()
        del self._boxes[box.id]


def code_of(status: int) -> int:
    """Of wait(2), as runtimes print it."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
