# SPDX-License-Identifier: Apache-2.0
"""How fast Python takes records out of a full ring: our reader alone, in this process, by its own CPU time."""

import subprocess
import time
from dataclasses import dataclass

from benchmarks import build
from benchmarks.errors import BenchError

#: Signals a round: each is generated and delivered, so twice as many records, which fit into the ring.
_SIGNALS = 80_000
_RING_BYTES = 32 << 20


@dataclass(frozen=True)
class Drain:
    """One round."""

    round: int
    records: int
    cpu_s: float


def measure(rounds: int) -> list[Drain]:
    """Fill the ring, then drain it in batches as the source does; so many times."""
    from sigtrace.sources import bpf, options

    source = bpf.BpfSource(options.BpfOptions(signal_mask=1 << 22, tell_all=True, events_bytes=_RING_BYTES))
    found = []
    try:
        source.open()
        ring = source._loaded.rings[0]  # noqa: SLF001 - the reader alone, without what comes after it
        for number in range(1, rounds + 1):
            done = subprocess.run(
                [build.path("load"), "urg", "--count", str(_SIGNALS)], capture_output=True, check=False
            )
            if done.returncode:
                raise BenchError(f"the load failed: {done.stderr.decode(errors='replace')}")
            taken, before = 0, time.thread_time()
            while records := ring.read():
                taken += len(records)
                ring.advance()
            found.append(Drain(number, taken, time.thread_time() - before))
    finally:
        source.close()
    return found
