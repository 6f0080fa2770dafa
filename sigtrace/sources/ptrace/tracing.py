"""Whom to trace: containers' inits first, then main processes, within a budget; and who is left alone, and why."""

from __future__ import annotations

import errno
import os
from typing import Final

from sigtrace.model.event import Loss
from sigtrace.sources.host import Host
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.processes import Process
from sigtrace.sources.ptrace.refusals import why_not_seized
from sigtrace.sources.ptrace.remote import RemoteTracer
from sigtrace.sources.ptrace.table import Table
from sigtrace.sources.ptrace.wire import Told, Want

_NOTICES_MAX: Final = 100


class Tracing:
    """The tracer, and who is its tracee."""

    def __init__(self, options: PtraceOptions, table: Table, host: Host) -> None:
        """Starts the tracer. Raises RunError if it can't be started."""
        self._options = options
        self._table = table
        self._host = host
        self.tracer = RemoteTracer(options)
        self.traced: dict[int, Want] = {}
        """by pid"""
        self.asked: dict[int, Want] = {}
        """those of whom the tracer has not answered yet"""
        self.mains: set[tuple[int, int]] = set()
        """main processes that are no inits, as the source was told"""
        self.not_traced = 0
        self.notices: list[str] = []

    def choose(self, process: Process) -> None:
        """Trace it, if it is one to trace."""
        options, pid = self._options, process.task.pid
        if not self._may(process):
            return
        if options.follow:
            if pid in options.follow:
                self.seize(process, Want.CHILDREN if options.children else Want(0))
        elif process.container_init or process.task.key in self.mains:
            self.seize(process, Want.MAIN | (Want.CHILDREN if options.whole else Want(0)))
        elif options.whole and (process.level > 0 or process.entered) and not process.init:
            self.seize(process, Want.CHILDREN)

    def told(self, process: Process) -> None:
        """One that a main process may tell to end: whether it does is to be seen."""
        if self._may(process) and not self._options.follow:
            self.seize(process, Want(0))

    def _may(self, process: Process) -> bool:
        """Whether it is among those that were asked for."""
        if process.zombie or process.task.pid == os.getpid():
            return False
        return not self._options.below or self._table.is_below(process, self._options.below)

    def seize(self, process: Process, want: Want) -> None:
        """Ask the tracer for it, unless it has it so already or somebody else has."""
        pid = process.task.pid
        known = self.traced.get(pid)
        if known is not None and not want & ~known:
            return
        if process.tracer not in (0, self.tracer.pid):
            self.notice(f"{name_of(process)} is traced by {self.name_of_pid(process.tracer)}: left alone")
            return
        self.asked[pid] = want
        self.tracer.seize(pid, want)

    def answered(self, told: Told) -> None:
        """The tracer has it, or why not."""
        want = self.asked.pop(told.tgid, Want(0))
        if told.value == 0:
            self.traced[told.tgid] = want
            return
        process = self._table.refresh(told.tgid) if told.value != errno.ESRCH else None
        if process and not process.zombie:
            tracer = self.name_of_pid(process.tracer)
            self.notice(why_not_seized(name_of(process), told.value, process, self._host, tracer))
            self.not_traced += 1

    def watch(self, pid: int, start_ns: int) -> None:
        """It is a container's main process."""
        process = self._table.get(pid)
        if process and process.task.key == (pid, start_ns) and (pid, start_ns) not in self.mains:
            self.mains.add((pid, start_ns))
            self.choose(process)

    def ended(self, process: Process) -> None:
        """It has exited."""
        self.traced.pop(process.task.pid, None)
        self.asked.pop(process.task.pid, None)
        self.mains.discard(process.task.key)

    def restart(self) -> Loss:
        """Somebody has killed the tracer, and the kernel has let all go on: another takes its place."""
        traced, self.traced, self.asked = self.traced | self.asked, {}, {}
        why = self.tracer.last_words() or "it was killed"
        self.tracer.close()
        self.tracer = RemoteTracer(self._options)
        for pid, want in traced.items():
            if process := self._table.refresh(pid):
                self.seize(process, want)
        self.notice(f"the tracer ended ({why}): another has taken its place")
        return Loss.KERNEL_MISSED

    def is_asked_for(self, process: Process) -> bool:
        """Whether somebody wants to hear all of it."""
        options, pid = self._options, process.task.pid
        return pid in self.traced or pid in options.follow if options.follow else options.tell_all

    def notice(self, text: str) -> None:
        """For a person, once."""
        if len(self.notices) < _NOTICES_MAX and text not in self.notices:
            self.notices.append(text)

    def name_of_pid(self, pid: int) -> str:
        """As :func:`name_of`."""
        process = self._table.look(pid) if pid else None
        return name_of(process) if process else f"pid {pid}"


def name_of(process: Process) -> str:
    """``pid 7 (nginx)``."""
    return f"pid {process.task.pid} ({process.task.comm})"
