"""The object file, opened and set for what is wanted, and not yet loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sigtrace.sources._libbpf import Library, Object
from sigtrace.sources.procfs import last_possible_cpu
from sigtrace.sources.spares import SPARES, has_spares

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigtrace.model.hierarchy import Hierarchy
    from sigtrace.sources.options import BpfOptions


def path_of(name: str) -> str:
    """Where the package has an object file."""
    return os.path.join(os.path.dirname(__file__), name)


def opened(
    library: Library,
    options: BpfOptions,
    hierarchy: Hierarchy | None,
    name: str = "sigtrace.bpf.o",
    make: Callable[[Library, str], Object] = Object,
) -> Object:
    """Ready to be loaded. ``name``: the object file; ``make``: opens it. Raises LibbpfError, OSError."""
    bpf = make(library, path_of(name))
    try:
        bpf.set_constants(".rodata", options.constants(hierarchy))
        bpf.set_max_entries("events", options.events_bytes)
        bpf.set_max_entries("lives", options.lives_bytes)
        bpf.set_max_entries("counts", options.counts)
        bpf.set_autoload("process_fork", options.children)
        for spare in SPARES.values():
            bpf.set_autoload(spare, has_spares(os.uname().release))
        bpf.set_autoload("snapshot_signalfds", options.signalfds)
        bpf.set_max_entries("slots", last_possible_cpu() + 1)  # more than there are, where the numbering has gaps
    except BaseException:
        bpf.close()
        raise
    return bpf
