"""Inits that do nothing but pass signals on (tini, dumb-init): what they take in sigwait makes no stop to be seen.

But what they do with it does: the same signal to their only child. So that child is traced, and its signal from such an
init stands for the init's own. A supervisor that signals its children for its own reasons must not be taken for one:
only who waits for practically every signal, and has a single child, is.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Final

from sigtrace.model.event import Event, Kind
from sigtrace.sources.ptrace.groups import children_of
from sigtrace.sources.ptrace.processes import Process

#: rt_sigtimedwait, by machine.
_NUMBERS: Final = {"x86_64": 128, "aarch64": 137}
_WAITS: Final = _NUMBERS.get(os.uname().machine, -1)
#: SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM: who takes all of these takes them for somebody else.
_ALL: Final = sum(1 << (signo - 1) for signo in (1, 2, 3, 10, 12, 15))
_AGAIN_NS: Final = 1_000_000_000


def waited_for(pid: int) -> int:
    """The signals that its main thread waits for in sigwait now, bit (signo - 1); 0 if it does not, or who knows."""
    try:
        return waits_of(pid, pid)
    except (OSError, ValueError):
        return 0


def waits_of(pid: int, tid: int) -> int:
    """The same of one thread. Raises OSError or ValueError if that can't be told."""
    with open(f"/proc/{pid}/task/{tid}/syscall", encoding="ascii") as f:
        words = f.read().split()
    if len(words) < 2 or words[0] != str(_WAITS):
        return 0
    address = int(words[1], 16)
    if not 0 <= address < 1 << 63:
        raise ValueError(f"no address: {address:#x}")
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return int.from_bytes(memory.read(8), sys.byteorder)


class Forwarders:
    """Those that were recognised."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}
        self._told: dict[tuple[int, int], int] = {}
        self._pended: dict[tuple[int, int], int] = {}

    def look(self, main: Process, waits: int) -> int:
        """The pid of its child, which is to be traced, if the main process is one; else 0. ``waits``: for these now."""
        key = main.task.key
        if key not in self._children and waits & _ALL == _ALL:
            children = children_of(main.task.pid)
            if len(children) == 1:
                if len(self._children) > 10_000:
                    self._children.clear()
                    self._pended.clear()
                self._children[key] = children[0]
        return self._children.get(key, 0)

    def stays(self, main: Process, pends: int) -> int:
        """Which of the signals in its queue, bit (signo - 1), are to be told: a forwarder's if two looks found them.

        What it takes in between is told by its child, and would be told twice.
        """
        key = main.task.key
        if key not in self._children:
            return pends
        before, self._pended[key] = self._pended.get(key, 0), pends
        return pends & before

    def own(self, generate: Event, main: Process) -> Event | None:
        """The forwarder's own signal_generate, of that which its child gets from it; None if it is no forwarder's."""
        if generate.task is None or self._children.get(main.task.key) != generate.task.pid:
            return None
        if generate.sender is None or generate.sender.key != main.task.key or not _ALL >> (generate.signo - 1) & 1:
            return None
        key, now_ns = (main.task.pid, generate.signo), generate.time_ns
        if now_ns - self._told.get(key, -_AGAIN_NS) < _AGAIN_NS:
            return None
        self._told[key] = now_ns
        return dataclasses.replace(
            generate,
            time_ns=now_ns - 1,
            wall_ns=generate.wall_ns - 1,
            kind=Kind.SIGNAL_GENERATE,
            task=main.task,
            sender=None,
            si_code=None,
            info=None,
            disposition=None,
            waited=True,
            # It passes on what comes from outside; from inside hardly anybody asks it.
            outside=True,
            ns_init=main.init,
            container_init=main.container_init,
            parent_outside=main.parent_outside,
            cgroup_entered=main.entered,
            stopped=main.stopped,
        )
