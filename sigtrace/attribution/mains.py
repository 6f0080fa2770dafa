"""Which process is a container's main process (design: Time and identity). Pure.

The first init of a PID namespace in its cgroup; with a host or shared PID namespace the first process to execute
there that is none of the runtime's own stages. A runtime's word goes before both.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.stages import is_stage

_MAX: Final = 20_000

ProcessKey = tuple[int, int]


class Mains:
    """By container, which is its own cgroup's id."""

    def __init__(self) -> None:
        self._mains: OrderedDict[int, ProcessKey] = OrderedDict()
        """(0, when) once it has ended"""
        self._guessed: set[int] = set()
        """containers whose main process is only the first that was seen to enter"""

    def is_main(self, event: Event, container: int, told_pid: int | None = None) -> bool:
        """Whether the event's task is the main process; decides who is, the first time that it can be told.

        ``told_pid``: whom the runtime names. It may say so late, so that a guess gives way.
        """
        task = event.task
        if task is None:
            return False
        main = self._mains.get(container)
        if main == task.key:
            if event.kind is Kind.EXIT:
                self._mains[container] = (0, event.time_ns)
            return True
        told = told_pid == task.pid and not event.zombie
        certain = event.container_init or told
        sure = certain or event.watched  # as an agent before us took it to be
        if event.zombie:
            return False
        if main is not None and not main[0]:
            if not told and task.start_ns < main[1]:
                return False  # it was there before: an init that entered, and is torn down as well
        elif main is not None and not (sure and container in self._guessed and (told or task.start_ns <= main[1])):
            return False  # an init that is younger than who entered first is none of the container's own
        first = container not in self._mains
        if sure or (first and told_pid is None and self._enters(event, task)):
            self._mains[container] = task.key if event.kind is not Kind.EXIT else (0, event.time_ns)
            (self._guessed.discard if certain else self._guessed.add)(container)
            if len(self._mains) > _MAX:
                oldest, _ = self._mains.popitem(last=False)
                self._guessed.discard(oldest)
            return True
        return False

    @staticmethod
    def _enters(event: Event, task: Task) -> bool:
        return event.kind in (Kind.EXEC, Kind.TASK) and event.cgroup_entered and not is_stage(task)

    def forget(self, container: int) -> None:
        """Its cgroup is another's, or gone."""
        self._mains.pop(container, None)
        self._guessed.discard(container)
