"""The real BPF source for tests: opened once a module, asked until a condition holds."""

import os
import signal
import time

import pytest

from sigtrace.model.event import Event, Kind
from sigtrace.model.text import printable
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions

#: Longer than RCU may take to free a task: ten seconds, in a storm of forks.
PATIENCE_S = 30.0
_LOSSES = ("limited", "ring", "zombies_full", "limits_full", "stopping_full", "follow_full", "missed")


def brief(event):
    """One line about an event."""
    task, sender = event.task, event.sender
    fields = (
        event.kind.value,
        f"of {task.pid}/{task.tid} {task.comm}" if task else "",
        event.signo and signal.Signals(event.signo).name if event.signo < 35 else event.signo,
        event.result is not None and event.result.word,
        event.disposition is not None and event.disposition.word,
        sender and f"from {sender.pid} {sender.comm}",
        event.wait_status,
        task and task.argv,
    )
    return " ".join(str(field) for field in fields if field)


class Watcher:
    """Collects what the source tells. Events are matched by (pid, start), never by pid alone."""

    def __init__(self, options: BpfOptions | None = None) -> None:
        """Without options: everything that concerns this process and its descendants, so that no storm of others'
        fills the rings."""
        self.source = BpfSource(options or BpfOptions(follow=(os.getpid(),), children=True))
        self.source.open()
        self.events: list[Event] = []

    def drain(self, timeout_s=0.0):
        """Takes what is there, or waits for it at most so long."""
        while events := self.source.read(timeout_s).events:
            self.events += events
            timeout_s = 0.0

    def until(self, condition, what="", timeout_s=PATIENCE_S):
        """The condition's first true value; it may look at the events or at anything else."""
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout_s
        while True:
            late = time.monotonic() > deadline
            self.drain()
            if value := condition():
                self.drain()  # what led to it may have come since
                return value
            if late:
                told = "\n".join(map(brief, self.events[-12:]))
                lost = f"; lost: {self.lost()}" if self.lost() else ""
                pytest.fail(f"waited {timeout_s:g} s for {what or condition}{lost}; the last events:\n{told}")
            self.drain(0.002)

    def of(self, key, kind=None, signo=0):
        """The events of a process in the order of time; of a snapshot none."""
        found = [e for e in self.events if e.task and e.task.key == key and e.kind is not Kind.TASK]
        return sorted(
            (e for e in found if kind in {None, e.kind} and signo in {0, e.signo}), key=lambda event: event.time_ns
        )

    def generated(self, key, signo=0):
        """Its signal_generate events."""
        return self.of(key, Kind.SIGNAL_GENERATE, signo)

    def delivered(self, key, signo=0):
        """Its signal_deliver events."""
        return self.of(key, Kind.SIGNAL_DELIVER, signo)

    def first(self, key, kind, signo=0):
        """Waits for the first such event."""
        __tracebackhide__ = True
        return self.until(lambda: self.of(key, kind, signo), f"{kind} {signo or ''} of {key}")[0]

    def executed(self, pid, argv, after_ns=0):
        """Waits until the process has executed argv, and returns its key."""
        __tracebackhide__ = True
        argv = [printable(word) for word in argv]

        def execs():
            return [
                e.task
                for e in self.events
                if e.kind is Kind.EXEC and e.task.pid == pid and e.task.argv == tuple(argv) and e.time_ns >= after_ns
            ]

        return self.until(execs, f"{pid} to execute {argv}")[-1].key

    def task(self, key):
        """The process as the iterator shows it now, or None if it is gone."""
        return next((e for e in self.source.snapshot() if e.task.key == key), None)

    def lost(self):
        """What the kernel's ledger says was lost, by cause."""
        lost = {name: n for name, n in self.source.ledger().items() if n and name.startswith(_LOSSES)}
        lost.pop("missed_frees", None)  # a zombie's entry that stays
        return lost

    def close(self):
        self.source.close()
