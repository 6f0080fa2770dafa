"""When a container is asked to end, who is in it; and signals that pend where no stop shows them."""

from __future__ import annotations

import dataclasses
from typing import Final

from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Masks, Result
from sigtrace.sources.ptrace.ends import base_event
from sigtrace.sources.ptrace.forwarders import Forwarders, waited_for
from sigtrace.sources.ptrace.frozen import Freezers
from sigtrace.sources.ptrace.groups import threads_of
from sigtrace.sources.ptrace.options import STOP_SIGNALS
from sigtrace.sources.ptrace.processes import Process, argv_of_pid
from sigtrace.sources.ptrace.table import Table

#: How often each main process is looked at for signals that pend, and those that block or are held.
_LOOK_NS: Final = 500_000_000
_LOOK_CLOSER_NS: Final = 50_000_000
_ASKS: Final = STOP_SIGNALS & ~1  # SIGHUP is a reload
_AGAIN_NS: Final = (150_000_000, 1_000_000_000, 5_000_000_000)
_THREADS_MAX: Final = 64


class Listings:
    """TASK events of those who live with a main process that was just asked to end."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._freezers = Freezers()
        self.forwarders = Forwarders()
        self._pends: dict[tuple[int, int], int] = {}
        self._again: list[tuple[int, Process]] = []
        self._next_ns = self._closer_ns = 0
        self._close: set[int] = set()
        """main processes that may keep a signal in the queue"""
        self.stop_signals = _ASKS
        """that ask a container to end, bit (signo - 1)"""
        self.untraced: list[int] = []
        """who was listed: whether somebody tells them is to be seen"""

    def due(self, events: list[Event], now_ns: int, wall_ns: int, mains: set[tuple[int, int]]) -> list[Event]:
        """What ``events`` ask for, and what the time has come for."""
        asked = [process for event in events if self._asks(event) and (process := self._of(event))]
        found = self._pending(now_ns, wall_ns, mains)
        asked += [process for event in found if (process := self._of(event))]
        for event in found:
            if process := self._of(event):
                self._again += [(now_ns + wait, process) for wait in _AGAIN_NS]
        asked += [process for at, process in self._again if at <= now_ns]
        self._again = [(at, process) for at, process in self._again[-1000:] if at > now_ns]
        listed: dict[int, Event] = {}
        for main in asked:
            for event in self._members(main, now_ns + 1, wall_ns, mains):
                if event.task:
                    listed[event.task.pid] = event
        return found + list(listed.values())

    def deadline_ns(self) -> int:
        """When ``due`` is to be asked again (CLOCK_BOOTTIME), whatever happens until then."""
        looks = min(self._next_ns, self._closer_ns) if self._close else self._next_ns
        return min([looks, *(at for at, _ in self._again)])

    def was_pending(self, process: Process, signo: int) -> bool:
        """Whether it was found in the queue before it arrived; asked once."""
        pends, bit = self._pends.get(process.task.key, 0), 1 << (signo - 1)
        self._pends[process.task.key] = pends & ~bit
        return bool(pends & bit)

    def _asks(self, event: Event) -> bool:
        main = event.container_init or event.watched
        sent = event.kind is Kind.SIGNAL_GENERATE and event.signo != signals.SIGKILL
        return bool(sent and main and event.outside and self.stop_signals >> (event.signo - 1) & 1)

    def _of(self, event: Event) -> Process | None:
        return self._table.get(event.task.pid) if event.task else None

    def _members(self, main: Process, time_ns: int, wall_ns: int, mains: set[tuple[int, int]]) -> list[Event]:
        found = []
        for process in self._table:
            if process.ended:
                continue
            seen = process
            if not process.read:
                seen = self._table.look(process.task.pid) or process
            same = seen.task.pidns == main.task.pidns if main.init else seen.task.cgroup_id == main.task.cgroup_id
            now = self._table.refresh(seen.task.pid) if same else None
            if now is None or not now.read or now.masks is None:
                continue
            now.task = dataclasses.replace(now.task, argv=argv_of_pid(now.task.pid) or now.task.argv)
            now.masks = _of_all_threads(now)
            found.append(base_event(now, time_ns, wall_ns, watched=now.task.key in mains and not now.init))
            if now is not main and not now.zombie:
                self.untraced.append(now.task.pid)
        return found

    def _pending(self, now_ns: int, wall_ns: int, mains: set[tuple[int, int]]) -> list[Event]:
        """Stop signals that a main process keeps in its queue: blocked, or stopped, it has no delivery to show them."""
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _LOOK_NS
            look = [one for one in self._table if not one.ended and (one.container_init or one.task.key in mains)]
        elif self._close and now_ns >= self._closer_ns:
            look = [one for pid in self._close if (one := self._table.get(pid)) and not one.ended]
        else:
            return []
        self._closer_ns = now_ns + _LOOK_CLOSER_NS
        found = []
        for process in look:
            key = process.task.key
            seen = self._table.refresh(process.task.pid)
            if seen is None or seen.masks is None:
                continue
            pends = seen.masks.pending & (self.stop_signals | STOP_SIGNALS)
            if not seen.zombie:
                waits = waited_for(seen.task.pid)
                seen.waits |= waits
                if child := self.forwarders.look(seen, waits):
                    self.untraced.append(child)
            held = seen.masks.blocked & (self.stop_signals | STOP_SIGNALS) or seen.stopped or pends
            (self._close.add if held else self._close.discard)(seen.task.pid)
            # After held: what may stay is looked at again soon.
            pends = self.forwarders.stays(seen, pends)
            new = pends & ~self._pends.get(key, 0)
            self._pends[key] = pends
            base = base_event(seen, now_ns, wall_ns, watched=key in mains and not seen.init)
            found += [self._pends_event(base, seen, signo) for signo in signals.mask_signals(new)]
        if len(self._pends) > 10_000:
            self._pends.clear()
            self._close.clear()
        return found

    def _pends_event(self, base: Event, seen: Process, signo: int) -> Event:
        """That it was sent: who sent it nobody can tell; to a main process hardly anybody inside does."""
        return dataclasses.replace(
            base,
            kind=Kind.SIGNAL_GENERATE,
            signo=signo,
            result=Result.DELIVERED,
            blocked=bool(seen.masks and signals.in_mask(seen.masks.blocked, signo)),
            pending=True,
            outside=True,
            frozen=self._freezers.holds(seen.task.pid),
            # Whatever keeps it there, it is not the tracer: that would have let it go on.
            ptraced=False,
            masks=None,
        )


def _of_all_threads(process: Process) -> Masks | None:
    """Blocked is what each thread blocks: a signal to the process goes to any that does not."""
    masks = process.masks
    if masks is None or not 0 < process.threads <= _THREADS_MAX:
        return masks
    blocked = masks.blocked
    for tid in threads_of(process.task.pid):
        try:
            with open(f"/proc/{process.task.pid}/task/{tid}/status", "rb") as f:
                raw = f.read()
        except OSError:
            continue
        blocked &= int(raw[raw.rfind(b"SigBlk:\t") + 8 :][:16], 16)
    return dataclasses.replace(masks, blocked=blocked)
