"""What a delivery stop says, as events: that a signal was sent, and that it arrives now.

A signal that stops a tracee was generated and queued: under a tracer the kernel throws none away (sig_ignored in
kernel/signal.c), not even for a PID 1 without a handler, for whom it comes to nothing at the delivery instead.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from sigtrace.model.event import Disposition, Event, Info, Kind, Result, Task
from sigtrace.sources.ptrace.processes import Process, ancestry_of
from sigtrace.sources.ptrace.table import Table
from sigtrace.sources.ptrace.wire import ALL_BITS, Told

_SI_USER: Final = 0
_SI_TKILL: Final = -6
_SI_KERNEL: Final = 0x80
#: Who a sender's ancestors are is not asked more often.
_FRESH_NS: Final = 50_000_000


def disposition_of(told: Told) -> Disposition | None:
    """Its handler, as /proc had it while the signal was on its way; None if that could not be read."""
    if told.blocked == ALL_BITS:
        return None
    bit = 1 << (told.number - 1)
    if told.caught & bit:
        return Disposition.HANDLER
    return Disposition.IGNORE if told.ignored & bit else Disposition.DEFAULT


class Senders:
    """Who sent a signal, as far as its siginfo can be trusted.

    kill and tgkill write it in the kernel; what rt_sigqueueinfo says, its caller has made up (do_rt_sigqueueinfo).
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._last: tuple[Process | None, Task | None, int] = (None, None, 0)
        """the sender that was found last, as it is told, and when: in a storm it is one and the same"""

    def of(self, told: Told, target: Process) -> tuple[Task | None, bool]:
        """(the sender or None, whether it lives outside the target's PID namespace, or cgroup where that is shared)."""
        if told.value not in (_SI_USER, _SI_TKILL):
            return None, False
        if told.other <= 0:  # no number in the target's namespace: it came from outside that
            return None, told.value == _SI_USER
        sender = self._table.sender(told.other, target, told.time_ns)
        if sender is None:
            own = target.task.pidns and target.level == 0
            return (Task(told.other, 0, uid=told.uid) if own else None), False
        known, task, at_ns = self._last
        if task is None or known is not sender or told.time_ns - at_ns > _FRESH_NS:
            task = dataclasses.replace(sender.task, ancestry=ancestry_of(sender.task.parent_pid, self._table.look))
            self._last = (sender, task, told.time_ns)
        outside = not target.init and bool(task.cgroup_id) and task.cgroup_id != target.task.cgroup_id
        return task, outside


def info_of(code: int) -> Info | None:
    """As the tracepoints have it, where si_code leaves no doubt."""
    if code == _SI_KERNEL:
        return Info.PRIV
    return Info.REAL if code != _SI_USER else None


def delivery_events(
    told: Told, target: Process, sender: Task | None, *, wall_ns: int, outside: bool, watched: bool
) -> tuple[Event, Event]:
    """(signal_generate, signal_deliver). ``wall_ns``: of the report; ``watched``: see Event."""
    common: dict[str, Any] = {
        "time_ns": told.time_ns,
        "wall_ns": wall_ns,
        "task": target.task if told.tid == target.task.tid else dataclasses.replace(target.task, tid=told.tid),
        "sender": sender,
        "signo": told.number,
        "disposition": disposition_of(told),
        "si_code": told.value,
        "info": info_of(told.value),
        "blocked": False,
        "ptraced": True,
        "stopped": target.stopped,
        "ns_init": target.init,
        "container_init": target.container_init,
        "watched": watched,
        "parent_outside": target.parent_outside,
        "cgroup_entered": target.entered,
    }
    generate = Event(kind=Kind.SIGNAL_GENERATE, result=Result.DELIVERED, outside=outside, **common)
    return generate, Event(kind=Kind.SIGNAL_DELIVER, **common)


def told_by_status(exit_: Event, signo: int, *, torn_down: bool = False, oom: bool = False) -> Event:
    """Who died of a signal was sent it: what no stop has shown is told by the exit, just before it.

    SIGKILL of an init came from outside its PID namespace, or from the kernel: from inside it does nothing. The
    kernel's own, to those who go with their init and to the OOM killer's victims, is known as such.
    """
    return dataclasses.replace(
        exit_,
        time_ns=exit_.time_ns - 2,
        wall_ns=exit_.wall_ns - 2,
        kind=Kind.SIGNAL_GENERATE,
        signo=signo,
        result=Result.DELIVERED,
        disposition=Disposition.DEFAULT,
        info=Info.PRIV if torn_down or oom else None,
        teardown=torn_down,
        wait_status=None,
        parent=None,
        forked=False,
        outside=exit_.ns_init and not oom,
    )


def oom_event(exit_: Event, levels: int | None, *, group: bool) -> Event:
    """The OOM killer's mark, which comes after its SIGKILL."""
    return dataclasses.replace(
        exit_,
        time_ns=exit_.time_ns - 1,
        wall_ns=exit_.wall_ns - 1,
        kind=Kind.OOM_KILL,
        oom_levels=levels,
        oom_group=group,
        wait_status=None,
        parent=None,
        forked=False,
    )
