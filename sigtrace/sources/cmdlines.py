"""argv from /proc, of processes that may not want it read (proc_pid_cmdline(5)).

The read takes the process's mmap_lock, and a process can see to it that nobody ever gets that: one of its threads
holds it while a file server of its own (FUSE) does not answer, another waits to write. So threads read that may be
left behind, a few at most; the capture goes on without this argv.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Final

from sigtrace.model.event import Event, Task
from sigtrace.sources.procfs import argv_of_process

Argv = tuple[str, ...] | None
_Read = Callable[[Task, int], Argv]

#: A read takes microseconds. Who takes longer than this (s) is left alone, now and later.
_PATIENCE_S: Final = 1.0
#: Threads that wait for ever, at most; from then on no argv is read, until one of them comes back.
_STUCK_MAX: Final = 4
_REFUSING_MAX: Final = 1_000


class Cmdlines:
    """For one thread."""

    def __init__(self, read: _Read | None = None) -> None:
        self._read = read or argv_of_process
        self._stuck: list[_Reading] = []
        self._refusing: set[tuple[int, int]] = set()
        self.refused = 0
        """processes that kept a reader waiting"""

    def complete(self, events: Sequence[Event]) -> list[Event]:
        """The TASK events with their processes' argv, as far as it can be read."""
        found = self.of([(e.task, e.argv_len) for e in events if e.task])
        return [with_argv(e, found.get(e.task.key) if e.task else None) for e in events]

    def of(self, asked: Sequence[tuple[Task, int]]) -> dict[tuple[int, int], Argv]:
        """By process; ``asked``: each with the length of its arguments, in bytes."""
        self._stuck = [reading for reading in self._stuck if reading.is_alive()]
        left = [(task, length) for task, length in asked if task.key not in self._refusing]
        found: dict[tuple[int, int], Argv] = {}
        while left and len(self._stuck) < _STUCK_MAX:
            reading = _Reading(self._read, left)
            try:
                reading.start()
            except RuntimeError:  # no thread to be had
                return found
            read = reading.wait()
            found |= {task.key: argv for (task, _), argv in zip(left, read, strict=False)}
            if len(read) == len(left):
                break
            self._stuck.append(reading)
            self.refused += 1
            if len(self._refusing) >= _REFUSING_MAX:
                self._refusing.clear()
            self._refusing.add(left[len(read)][0].key)
            left = left[len(read) + 1 :]
        return found


class _Reading(threading.Thread):
    """Reads one after the other, until it is left behind."""

    def __init__(self, read: _Read, asked: Sequence[tuple[Task, int]]) -> None:
        super().__init__(name="cmdlines", daemon=True)
        self._read = read
        self._asked = asked
        self._found: list[Argv] = []
        self._done = threading.Event()
        self._left_behind = False

    def run(self) -> None:
        for task, length in self._asked:
            if self._left_behind:
                return
            self._found.append(self._read(task, length))
        self._done.set()

    def wait(self) -> list[Argv]:
        """What has been read when all is, or when it gets no further."""
        before = -1
        while not self._done.wait(_PATIENCE_S):
            now = len(self._found)
            if now == before:
                self._left_behind = True
                return self._found[:now]
            before = now
        return self._found


def with_argv(event: Event, argv: Argv) -> Event:
    """The event of a process whose argv is known now."""
    if event.task is None or not argv:
        return event
    return dataclasses.replace(event, task=dataclasses.replace(event.task, argv=argv))
