"""What the kernel is told while it runs: whom to watch, to follow or to leave out, and whose budget a record takes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from sigtrace.sources import wire
from sigtrace.sources.budgets import charge
from sigtrace.sources.loaded import Loaded

#: A main process is to be watched some milliseconds after its exec was read, half a second where names are waited for.
_EXITED_MAX: Final = 1_024
_FIRST: Final = bytes(4)
_YES: Final = b"\x01\0\0\0"


class Choices:
    """Writes the maps that the programs ask. What a pinned kernel was told by the agent before us still holds."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._mains: set[tuple[int, int]] = set()
        """main processes that are no inits"""
        self._exited: OrderedDict[tuple[int, int], None] = OrderedDict()
        """the last that exited and were no inits"""
        self._owned = False
        """the kernel knows the owner of each cgroup"""
        self.unowned = 0
        """cgroups for whose owner there was no room"""
        self.unwatched = 0
        """main processes for whom there was no room"""
        if loaded.resumed:
            self._resume()

    def _resume(self) -> None:
        loaded = self._loaded
        # Which stop signals containers declare: names come late, and until then the kernel must not forget it.
        if gate := loaded.gates.lookup(_FIRST):
            asks, _, owned = wire.GATE.unpack(gate)
            loaded.listings.stop_signals |= asks
            self._owned = bool(owned)
        for key, _ in loaded.watched.items():  # noqa: PERF102 -- a map of the kernel, no dict
            start_ns, pid, _ = wire.PROCESS_KEY.unpack(key)
            self._mains.add((pid, start_ns))

    def watch(self, pid: int, start_ns: int) -> None:
        """It is a container's main process, though no init: what it gets, and its end, is never limited away."""
        key = (pid, start_ns)
        if key in self._mains or key in self._exited:
            return
        if len(self._mains) >= self._loaded.watched.max_entries:
            self.unwatched += 1
            return
        self._mains.add(key)
        self._loaded.watched.update(wire.PROCESS_KEY.pack(start_ns, pid, 0), _YES)
        self._open_gates()

    def exited(self, pid: int, start_ns: int) -> None:
        """It was no init; who asks for it only now, for events are held back, is not heard any more."""
        key = (pid, start_ns)
        self._exited[key] = None
        if len(self._exited) > _EXITED_MAX:
            self._exited.popitem(last=False)
        if key in self._mains:
            self._mains.remove(key)
            self._loaded.watched.delete(wire.PROCESS_KEY.pack(start_ns, pid, 0))
            self._open_gates()

    def expect_stop_signal(self, signo: int) -> None:
        """Some container declares it as its stop signal."""
        listings = self._loaded.listings
        if not listings.stop_signals >> (signo - 1) & 1:
            listings.stop_signals |= 1 << (signo - 1)
            self._open_gates()

    def charge(self, owners: Iterable[tuple[int, int, bool]]) -> None:
        """From here on the kernel keeps that up, and gives no budget to what it does not know."""
        self.unowned += charge(self._loaded.limits, self._loaded.payers, owners)
        self._owned = True
        self._open_gates()

    def follow(self, pid: int, start_ns: int) -> None:
        """Tell of this process (and of its descendants, if so opened)."""
        self._loaded.followed.update(wire.PROCESS_KEY.pack(start_ns, pid, 0), _YES)

    def leave_out(self, cgroup: int, unwanted: bool) -> None:
        """With ``BpfOptions.filtered``: what concerns nobody but such cgroups is not told."""
        if table := self._loaded.unwanted:
            (table.add if unwanted else table.discard)(cgroup)

    def _open_gates(self) -> None:
        gate = wire.GATE.pack(self._loaded.listings.stop_signals, bool(self._mains), self._owned)
        self._loaded.gates.update(_FIRST, gate)
