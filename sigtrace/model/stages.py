"""What a runtime executes in a container before the container's program."""

from __future__ import annotations

from typing import Final

from sigtrace.model.event import Task

_RUNTIMES: Final = frozenset({"runc", "crun", "youki", "conmon", "docker-init"})


def is_stage(task: Task) -> bool:
    """Whether a runtime has not become the container's program yet: ``runc:[2:INIT]``, ``runc init``."""
    if task.comm == "crun" or task.comm.startswith(("runc:[", "crun:[")):
        return True
    words = task.argv or ()
    return len(words) > 1 and words[1] == "init" and words[0].rpartition("/")[2] in {*_RUNTIMES, "exe"}
