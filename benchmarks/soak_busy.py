# SPDX-License-Identifier: Apache-2.0
"""What is busy beside a soak's stops: storms, forks, zombies, probes, cgroups. Nothing may be told of it."""

import asyncio
import ctypes
import random
import signal
import time
from collections.abc import Callable

from benchmarks.soak_cases import BUSY, Case, target
from benchmarks.soak_factory import Box, Factory

#: Each so often a second; the storm that is more than is told comes each so many seconds.
_CGROUPS_PER_S, _PROBES_PER_S, _TOLD_PER_S, _STORM_S = 20, 3, 100, 20.0
_PR_SET_PDEATHSIG = 1


class Busy:
    """Each of its coroutines goes on until it is cancelled, and then cleans up."""

    def __init__(self, factory: Factory, program: str, seed: int, note: Callable[[int, Case, Box], None]) -> None:
        """``note``: is given each of its containers in the end, as one that was stopped."""
        self._factory = factory
        self._program = program
        self._note = note
        #: Asked by several coroutines: who gets which number differs from run to run.
        self._dice = random.Random(seed + 1)

    async def containers(self) -> None:
        """Containers at work; a program enters one, and another gets many signals from outside."""
        boxes: dict[str, Box] = {}
        storm = None
        try:
            for name, words in BUSY.items():
                boxes[name] = await self._factory.start(f"busy-{name}", target(self._program, words))
                await self._factory.wait(boxes[name], boxes[name].up, "up")
            told = boxes["told"].pid
            storm = await self._host(f"rate {_TOLD_PER_S} [ raise {told} SIGHUP ]")
            next_storm = time.monotonic() + _STORM_S
            while True:
                await asyncio.sleep(self._dice.expovariate(_PROBES_PER_S))
                probe = await self._factory.enter(boxes["probed"], target(self._program, "pause 1000"))
                await self._factory.wait(probe, probe.ended, "ended")
                self._factory.forget(probe)
                if time.monotonic() > next_storm:
                    next_storm += _STORM_S
                    burst = await self._host(f"times 20000 [ raise {told} SIGHUP ]")
                    await burst.wait()
        finally:
            if storm:
                storm.kill()
                await storm.wait()
            for number, (name, box) in enumerate(boxes.items(), 1):
                self._factory.kill(box, signal.SIGTERM)
                await self._factory.wait(box, box.ended, "ended")
                self._note(-number, Case(f"busy {name}", (), "graceful", 0), box)
                self._factory.forget(box)

    async def _host(self, words: str) -> asyncio.subprocess.Process:
        """A program on the host, which does not outlive us."""
        command = target(self._program, words)
        return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, preexec_fn=_at_our_end)

    async def cgroups(self) -> None:
        """Some come and go with nobody in them."""
        number = 0
        while True:
            path = self._factory.root / f"empty-{number}"
            path.mkdir()
            (path / "below").mkdir()
            try:
                await asyncio.sleep(self._dice.expovariate(_CGROUPS_PER_S))
            finally:
                (path / "below").rmdir()
                path.rmdir()
            number += 1


def _at_our_end() -> None:
    """In a child: the kernel ends it with us, however we end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
