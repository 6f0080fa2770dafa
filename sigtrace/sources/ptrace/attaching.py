"""Attaching to all threads of a process, which the kernel may not let us do for as long as one of them executes.

PTRACE_SEIZE waits for an exec of any thread of the process (cred_guard_mutex in kernel/ptrace.c and fs/exec.c). Such an
exec waits in its turn: until all other threads are gone, and those that we have attached are gone only when we have
waited for them (de_thread). A signal does not end our wait: the kernel calls again. So a second thread waits for them.

It may wait for others, too: for a file on a file system that does not answer, or one that somebody holds a lease of. No
tracee is to stay stopped for so long: then the tracer ends, and the kernel lets all go on.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

from sigtrace.sources.ptrace import _ptrace as pt
from sigtrace.sources.ptrace.groups import Group, threads_of, tracer_of

_PASS_S: Final = 0.005
#: Passes of the second thread, not a time: they don't go on while nobody lets the tracer run. About half a second.
_PASSES_MAX: Final = 100
_LOOKS_MAX: Final = 100


class Attacher:
    """Attaches, for the thread that is the tracer; a second one helps it while that lasts."""

    def __init__(self, give_up: Callable[[int], None]) -> None:
        """``give_up``: called by the second thread if one process can't be attached for long; not to return."""
        self._give_up = give_up
        self._pid = os.getpid()
        self._begun: queue.SimpleQueue[tuple[Group, threading.Event]] = queue.SimpleQueue()
        self._reaping = threading.Lock()
        self._calls = 0

    def start(self) -> None:
        """The second thread: all signals have to be blocked by now, for it inherits that."""
        threading.Thread(target=self._help, daemon=True).start()

    def attach(self, group: Group, options: int) -> int:
        """To all threads, none of them stopped by it; they are the group's then. Returns 0, or why there is none."""
        over = threading.Event()
        self._begun.put((group, over))
        try:
            return self._attach(group, options)
        finally:
            with self._reaping:
                over.set()

    def _attach(self, group: Group, options: int) -> int:
        why, tgid = errno.ESRCH, group.tgid
        before: set[int] | None = None
        for _ in range(_LOOKS_MAX):
            there, news = threads_of(tgid), False
            for tid in there - group.tids:
                self._calls += 1
                try:
                    pt.seize(tid, options)
                except OSError as e:
                    why = e.errno or why
                    continue
                news = True
                group.tids.add(tid)
            if news:
                continue  # until a look finds none that is new: those that are attached attach the threads they make
            group.tids &= there
            # One that executed meanwhile has the leader's number: attached perhaps by its own, or not at all.
            if tracer_of(tgid) == self._pid:
                group.tids.add(tgid)
                break
            if tgid not in group.tids and there == before:
                break  # refused twice, and nothing has changed
            group.tids.discard(tgid)
            before = there
        return 0 if group.tids else why

    def _help(self) -> None:
        while True:
            group, over = self._begun.get()
            calls = passes = 0
            while not over.wait(_PASS_S):
                with self._reaping:
                    if not over.is_set():
                        _reap(group)
                calls, passes = self._calls, passes + 1 if calls == self._calls else 0
                if passes > _PASSES_MAX:
                    self._give_up(group.tgid)


def _reap(group: Group) -> None:
    """Waits for those that are gone, but for the leader: its end is to be told."""
    for tid in tuple(group.tids):
        if tid != group.tgid:
            try:
                ended = os.waitid(os.P_PID, tid, os.WEXITED | os.WNOHANG | pt.WALL)
            except ChildProcessError:
                continue  # it has executed, and has another number
            if ended:
                group.tids.discard(tid)
