"""Whom the tracer traces: by thread and by process, from the order or the birth on to the end."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

from sigtrace.sources.ptrace import _ptrace as pt
from sigtrace.sources.ptrace.attaching import Attacher
from sigtrace.sources.ptrace.groups import Group, children_of, parent_of, place_of, tgid_of
from sigtrace.sources.ptrace.reports import Reports
from sigtrace.sources.ptrace.wire import Report, Want

_TREE_MAX: Final = 256


class Tracees:
    """All of them, within the budget; tells who comes and who is let go."""

    def __init__(self, reports: Reports, most: int) -> None:
        """``most``: processes."""
        self._reports, self._max = reports, most
        self._spared = {os.getpid(), os.getppid()}
        self._groups: dict[int, Group] = {}
        self.threads: dict[int, Group] = {}
        self._full = 0
        self._attacher = Attacher(self._give_up)
        self.start = self._attacher.start

    def get(self, tgid: int) -> Group | None:
        """A process, by its number."""
        return self._groups.get(tgid)

    def adopt(self, tid: int) -> Group | None:
        """A thread, or child, that was attached at its birth; None if it is nobody's that is asked for."""
        tgid = tgid_of(tid)
        group = self._groups.get(tgid)
        if group is None:
            parent = self._groups.get(parent_of(tgid))
            if tgid != tid or parent is None or not parent.want & Want.CHILDREN or len(self._groups) >= self._max:
                return None
            group = self._groups[tgid] = Group(tgid, Want.CHILDREN)
            self._reports.say(Report.BORN, tgid, other=parent.tgid, masks=place_of(tgid))
            self._reports.flush()  # before it goes on: nobody shall hear of its end first
        group.tids.add(tid)
        self.threads[tid] = group
        return group

    def seize(self, tgid: int, want: int) -> None:
        """All threads of a process, none of them stopped by it."""
        if known := self._groups.get(tgid):
            known.want |= want
            known.letting_go = False
            return
        if tgid in self._spared:
            return
        if len(self._groups) >= self._max:
            self._full += 1
            return
        group = Group(tgid, want)
        options = pt.O_CLONE | pt.O_EXEC | (pt.O_FORK | pt.O_VFORK if want & Want.CHILDREN else 0)
        if why := self._attacher.attach(group, options):
            self._reports.say(Report.SEIZED, tgid, value=why)
            return
        self._groups[tgid] = group
        self.threads |= dict.fromkeys(group.tids, group)
        # By now: it may be gone before anybody else can look.
        self._reports.say(Report.SEIZED, tgid, other=len(group.tids), masks=place_of(tgid))
        if want & Want.CHILDREN:
            for child in children_of(tgid):  # those that were born before
                self.seize(child, Want.CHILDREN)

    def seize_below(self, tgid: int) -> None:
        """Before a main process hears that it is to end: those whom it may tell, so that this is seen."""
        below = children_of(tgid)
        for child in below:
            if len(below) > _TREE_MAX:
                break
            if child not in self._groups:
                self.seize(child, 0)
            below += children_of(child)
        self._reports.flush()  # nobody shall hear of their ends first

    def tell_full(self) -> None:
        """How many were not seized for want of budget since this was told last."""
        if self._full:
            self._reports.say(Report.FULL, 0, value=self._full)
            self._full = 0

    def _give_up(self, tgid: int) -> None:
        """By the second thread: the first is in a system call that does not end, and its tracees wait for it."""
        self._reports.say(Report.SEIZED, tgid, value=errno.ETIMEDOUT)
        self._reports.flush()
        sys.stderr.write(f"pid {tgid} could not be attached: an exec of it does not come to its end\n")
        sys.stderr.flush()
        os._exit(1)

    def executed(self, group: Group) -> None:
        """All other threads are gone; the one that executed has the leader's number now."""
        for gone in group.tids:
            self.threads.pop(gone, None)
        group.tids = {group.tgid}
        self.threads[group.tgid] = group

    def let_go(self, tid: int, group: Group, signo: int) -> None:
        """A thread that is stopped, with the signal that stopped it."""
        pt.detach(tid, signo)
        self.remove(tid, group)
        if not group.tids:
            self.forget(group)
            self._reports.say(Report.LET_GO, group.tgid)

    def remove(self, tid: int, group: Group) -> None:
        """A thread that is gone."""
        self.threads.pop(tid, None)
        group.tids.discard(tid)

    def forget(self, group: Group) -> None:
        """A process that is gone, or nobody's any more."""
        self._groups.pop(group.tgid, None)
        for tid in group.tids:
            self.threads.pop(tid, None)
        group.close()
