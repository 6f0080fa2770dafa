"""Holds a process stopped, as a debugger does: ``python3 _ptrace.py PID``.

It says so, and lets go once the process is dead or nobody holds its stdin any more: a tracer that stays would keep
the parent from the zombie. See ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import select
import sys

_PTRACE_ATTACH = 16
_WALL = 0x40000000  # __WALL: whatever kind of child it is
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, _function: object, _arguments: object) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# long ptrace(enum __ptrace_request, pid_t, void *, void *)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.errcheck = _checked  # type: ignore[assignment]


def hold(pid: int) -> None:
    """Attach, tell, wait. Raises OSError where ptrace is refused."""
    _libc.ptrace(_PTRACE_ATTACH, pid, None, None)
    os.waitpid(pid, _WALL)
    print("attached", flush=True)
    poller = select.poll()
    poller.register(0, select.POLLIN)
    poller.register(os.pidfd_open(pid), select.POLLIN)
    poller.poll()


if __name__ == "__main__":
    try:
        hold(int(sys.argv[1]))
    except OSError as refused:
        sys.exit(f"cannot trace: {refused.strerror}")
