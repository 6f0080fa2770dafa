"""What only /proc knows: the argv of a process that was there before us (proc_pid_cmdline(5))."""

from __future__ import annotations

import dataclasses
import os
from typing import Final

from sigtrace.model.event import Event
from sigtrace.model.text import argv_of
from sigtrace.sources.wire import TEXT_LEN

_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def with_argv(event: Event) -> Event:
    """The TASK event with its process's argv, if it is still that process and /proc may be read."""
    task = event.task
    if task is None:
        return event
    try:
        with open(f"/proc/{task.pid}/cmdline", "rb") as f:
            raw = f.read(TEXT_LEN + 1)
        with open(f"/proc/{task.pid}/stat", "rb") as f:
            # comm may hold spaces and parentheses; starttime is field 22, the 20th after it.
            ticks = int(f.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return event
    if abs(ticks - task.start_ns // _TICK_NS) > 1:
        return event  # the pid is another process's by now
    truncated = len(raw) > TEXT_LEN
    return dataclasses.replace(
        event, task=dataclasses.replace(task, argv=argv_of(raw[:TEXT_LEN], truncated=truncated) or None)
    )
