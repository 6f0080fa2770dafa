"""The metrics of one container, and those of sigtrace's own process."""

from __future__ import annotations

import os
import time
from typing import Final

from sigtrace.model.metrics import CPU_TIME, MEMORY, ZOMBIE_AGE, ZOMBIES, Family, Point
from sigtrace.sinks.metrics.totals import Totals
from sigtrace.sinks.metrics.tracked import Tracked

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def container_families(one: Tracked, live: Totals | None, now_ns: int) -> tuple[Family, ...]:
    """``live``: what the kernel's tables hold of it now; what removed cgroups held it has itself."""
    totals = one.given + live if live else one.given
    families = totals.families(one.first_wall_ns)
    if one.workload is None:
        return tuple([_together(family, one.first_wall_ns) for family in families])
    if one.gone_ns is not None:
        return families
    age_s = max(0, now_ns - min(one.zombies.values(), default=now_ns)) / 1e9
    return (
        *families,
        Family(ZOMBIES, (Point((), len(one.zombies), one.first_wall_ns),)),
        Family(ZOMBIE_AGE, (Point((), age_s, one.first_wall_ns),)),
    )


def _together(family: Family, start_wall_ns: int) -> Family:
    """Of those that found no room: one series."""
    total = sum(point.value for point in family.points if isinstance(point.value, int))
    none: tuple[str | None, ...] = (None,) * len(family.metric.attributes)
    return Family(family.metric, (Point(none, total, start_wall_ns, overflow=True),))


def own_families(start_wall_ns: int) -> tuple[Family, ...]:
    """CPU time and memory of this process."""
    families = [Family(CPU_TIME, (Point((), time.process_time(), start_wall_ns),))]
    try:
        with open("/proc/self/statm", encoding="ascii") as f:
            resident = int(f.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return tuple(families)
    return (*families, Family(MEMORY, (Point((), resident, start_wall_ns),)))
