"""glibc's allocator, told that this process runs one Python thread at a time."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

#: mallopt(3), malloc.h
_M_ARENA_MAX: Final = -8


def use_one_arena() -> None:
    """Each thread would have an arena that keeps what a burst once took. Other C libraries have no arenas."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
        mallopt(_M_ARENA_MAX, 1)
