"""glibc's allocator, told that this process runs one Python thread at a time."""

from __future__ import annotations

import contextlib
import ctypes
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


def give_back() -> None:
    """Whole free pages to the kernel (malloc_trim(3)): glibc itself gives back no more than the end of its heap."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
