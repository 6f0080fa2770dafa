"""The kernel's ledger: what became a record, what did not and why. Nothing is lost silently."""

from __future__ import annotations

import os
from typing import Final

from sigtrace.model.event import Loss
from sigtrace.sources._libbpf import Map, per_cpu_sum
from sigtrace.sources.spares import SPARES
from sigtrace.sources.wire import LOCAL, Ledger

_CAUSES: Final = {
    Ledger.LIMITED_EVENT: Loss.RATE_LIMITED,
    Ledger.LIMITED_LIFE: Loss.RATE_LIMITED,
    Ledger.LIMITED_MARK: Loss.RATE_LIMITED,
    Ledger.RING_EVENT: Loss.RING_FULL,
    Ledger.RING_LIFE: Loss.RING_FULL,
    Ledger.COUNTS_FULL_SIGNAL: Loss.TABLE_FULL,
    Ledger.COUNTS_FULL_EXIT: Loss.TABLE_FULL,
    Ledger.LIMITS_FULL: Loss.TABLE_FULL,
    Ledger.STOPPING_FULL: Loss.TABLE_FULL,
    Ledger.FOLLOW_FULL: Loss.TABLE_FULL,
    Ledger.GONE_FULL: Loss.TABLE_FULL,
    Ledger.PAYERS_FULL: Loss.TABLE_FULL,
}
#: Where each reaping is told: of those that found no room it is not.
_REAPS: Final = {Ledger.ZOMBIES_FULL: Loss.TABLE_FULL}
_FREES: Final = "process_free"
#: Of which a spare has done so much.
_SPARED: Final = {
    "process_exit": Ledger.RECORDED_BY_SPARE_EXIT,
    "process_exec": Ledger.RECORDED_BY_SPARE_EXEC,
}
_SPARES: Final = frozenset(SPARES.values())
#: Ten lines, of a program (bpf_prog_show_fdinfo in kernel/bpf/syscall.c).
_FDINFO_BYTES: Final = 4096


class KernelLedger:
    """Reads the ledger map and the programs' own counters."""

    def __init__(
        self,
        table: Map,
        locals_: Map,
        cpus: int,
        programs: dict[str, int],
        told: dict[Loss, int] | None = None,
        *,
        reaps: bool = False,
    ) -> None:
        """``locals_``: each CPU's memory; refusals of a storm are counted there. ``told``: so much is no news.

        ``programs``: their descriptors, by name. ``reaps``: each reaping is told.
        """
        self._reaps = reaps
        self._causes = _CAUSES | _REAPS if reaps else _CAUSES
        self._map = table
        self._locals = locals_
        self._cpus = cpus
        self._size = 8 * cpus
        self._programs = {
            name: os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC) for name, fd in programs.items()
        }
        """what the kernel says of each; made anew by each read from the beginning"""
        self.told: dict[Loss, int] = told or {}
        """totals that were told, by cause"""

    def close(self) -> None:
        """The programs are gone then."""
        while self._programs:
            os.close(self._programs.popitem()[1])

    def _entry(self, entry: Ledger) -> int:
        raw = self._map.lookup(entry.to_bytes(4, "little"), self._size)
        return per_cpu_sum(raw) if raw else 0

    def _entries(self) -> dict[Ledger, int]:
        entries = {entry: self._entry(entry) for entry in Ledger}
        events, *lives = self._refused()
        entries[Ledger.LIMITED_EVENT] += events
        entries[Ledger.LIMITED_LIFE] += sum(lives)
        return entries

    def _refused(self) -> list[int]:
        raw = self._locals.lookup(bytes(4), LOCAL.size * self._cpus)
        cpus = [LOCAL.unpack_from(raw, i * LOCAL.size)[6:14] for i in range(self._cpus)] if raw else []
        return [sum(refused) for refused in zip(*cpus, strict=True)] or [0]

    def _missed(self) -> dict[str, int]:
        """Runs that the kernel left out because the CPU was already in the program (since v5.12).

        Of the one for frees apart: RCU's softirq may interrupt its kthread in it. A zombie's entry stays then, and no
        event is lost but where reapings are told. Of a program with a spare only what both were left out of can be
        lost: not what its spare has done, and not more than the spare's own runs. The other runs had nothing to do,
        which the spare can't tell from what its program did.
        """
        missed = {"missed": 0, "missed_frees": 0}
        for name, fd in self._programs.items():
            if name in _SPARES:
                continue
            runs = _left_out(fd)
            if name in _SPARED:
                # What was left out is read first: what its spare is at now is told as lost by nobody.
                runs = max(runs - self._entry(_SPARED[name]), 0)
                spare = self._programs.get(SPARES[name])
                runs = min(runs, _left_out(spare)) if spare is not None else runs
            missed["missed_frees" if name == _FREES and not self._reaps else "missed"] += runs
        return missed

    def read(self) -> dict[str, int]:
        """Every entry by its name, in lower case, and ``missed`` and ``missed_frees``."""
        return {entry.name.lower(): n for entry, n in self._entries().items()} | self._missed()

    def others(self) -> tuple[int, int]:
        """Signals and exits that were counted while the counting table was full."""
        return self._entry(Ledger.COUNTS_FULL_SIGNAL), self._entry(Ledger.COUNTS_FULL_EXIT)

    def news(self) -> list[tuple[Loss, int]]:
        """What was lost since the last call, by cause."""
        totals = {Loss.KERNEL_MISSED: self._missed()["missed"]}
        entries = self._entries()
        for entry, loss in self._causes.items():
            totals[loss] = totals.get(loss, 0) + entries[entry]
        totals = {loss: max(total, self.told.get(loss, 0)) for loss, total in totals.items()}
        news = [(loss, total - self.told.get(loss, 0)) for loss, total in totals.items()]
        self.told = totals
        return [(loss, count) for loss, count in news if count]


def _left_out(fd: int) -> int:
    """Runs of a program that the kernel has left out, by its fdinfo."""
    _, found, after = os.pread(fd, _FDINFO_BYTES, 0).partition(b"recursion_misses:")
    return int(after.split(maxsplit=1)[0]) if found else 0
