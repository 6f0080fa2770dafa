"""Memory: glibc's allocator, told that this process runs one Python thread at a time, and Python's own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

#: mallopt(3), malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
#: Bytes; glibc's own value to begin with, which it raises with each piece that is freed, up to 32 MB.
_MAPPED: Final = 128 << 10


def tune() -> None:
    """Against what bursts would leave behind. Other C libraries have no arenas, and nothing happens.

    Each thread would have an arena that keeps what it once took. And what is made for a scrape or an export has
    megabytes, between which smaller pieces would come to lie: it is mapped apart, and gone when it is freed.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)


def settle() -> None:
    """What has been made by now stays: no collection looks at it again, and those to come cost little."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Whole free pages to the kernel (malloc_trim(3)): glibc itself gives back no more than the end of its heap.

    Before that what Python keeps for itself: 2,000 freed tuples of each length (Objects/tupleobject.c), of which a full
    collection lets go. Left to itself that comes the later, the more there is, and between those tuples others come to
    lie: half a megabyte in the second seven minutes of a soak.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
