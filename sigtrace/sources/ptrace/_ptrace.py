"""ptrace(2) through ctypes: just the requests sigtrace makes, each checked.

Only ever PTRACE_SEIZE, which stops nothing, and never PTRACE_O_EXITKILL: whatever becomes of the tracer, the kernel
lets its tracees go on, with the signal that was on its way (exit_ptrace and ptrace_stop in kernel/ptrace.c, signal.c).
"""

from __future__ import annotations

import ctypes as c
import os
import struct
from typing import Final

_CONT: Final = 7
_DETACH: Final = 17
_GETEVENTMSG: Final = 0x4201
_GETSIGINFO: Final = 0x4202
_SEIZE: Final = 0x4206
_LISTEN: Final = 0x4208

EVENT_FORK: Final = 1
EVENT_VFORK: Final = 2
EVENT_CLONE: Final = 3
EVENT_EXEC: Final = 4
EVENT_STOP: Final = 128
"""of PTRACE_SEIZE: a group stop, the end of one, or a task that was attached at its birth"""

O_FORK: Final = 1 << 1
O_VFORK: Final = 1 << 2
O_CLONE: Final = 1 << 3
O_EXEC: Final = 1 << 4

#: __WALL: threads, and children that signal their end otherwise. __WNOTHREAD: the calling thread's own tracees.
WALL: Final = 0x40000000

_PR_SET_PTRACER: Final = 0x59616D61
_libc = c.CDLL(None, use_errno=True)


def _checked(result: int, _function: object, _arguments: object) -> int:
    if result < 0:
        raise OSError(c.get_errno(), os.strerror(c.get_errno()))
    return result


# long ptrace(enum __ptrace_request, pid_t, void *, void *)
_ptrace = _libc.ptrace
_ptrace.argtypes = (c.c_long, c.c_int, c.c_void_p, c.c_void_p)
_ptrace.restype = c.c_long
_ptrace.errcheck = _checked  # type: ignore[assignment]
# int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)
_libc.prctl.argtypes = (c.c_int, c.c_ulong, c.c_ulong, c.c_ulong, c.c_ulong)
_libc.prctl.restype = c.c_int
_libc.prctl.errcheck = _checked  # type: ignore[assignment]
# int waitid(idtype_t, id_t, siginfo_t *, int); Python's own goes on waiting after a signal.
_waitid = _libc.waitid
_waitid.argtypes = (c.c_int, c.c_uint, c.c_void_p, c.c_int)
_waitid.restype = c.c_int
_waitid.errcheck = _checked  # type: ignore[assignment]

# siginfo_t of 64-bit machines: si_signo, si_errno, si_code, padding; then si_pid and si_uid of those that have them.
_info = c.create_string_buffer(128)
_message = c.c_ulong()
_INFO: Final = struct.Struct("=8xi4xiI")
_unpack = _INFO.unpack_from
#: Of SIGCHLD: si_code, si_pid, si_status.
_unpack_child = struct.Struct("=8xi4xi4xi").unpack_from
_info_at: Final = c.addressof(_info)
_message_at: Final = c.addressof(_message)


def seize(tid: int, options: int) -> None:
    """Attach to one thread without stopping it. Raises OSError: ESRCH, EPERM."""
    _ptrace(_SEIZE, tid, None, options)


def cont(tid: int, signo: int) -> None:
    """Let it go on, with the signal that stopped it. Raises OSError ESRCH if it was killed meanwhile."""
    _ptrace(_CONT, tid, None, signo)


def listen(tid: int) -> None:
    """Leave it in its group stop, and hear when that ends."""
    _ptrace(_LISTEN, tid, None, None)


def detach(tid: int, signo: int) -> None:
    """Let a stopped one go, with the signal that stopped it."""
    _ptrace(_DETACH, tid, None, signo)


_LOOK: Final = os.WEXITED | os.WSTOPPED | os.WNOWAIT | WALL


def look(options: int, tid: int = 0) -> tuple[int, int, int]:
    """(si_code, tid, si_status) of a tracee that has stopped or ended; tid 0 if none has and ``options`` has WNOHANG.

    It stays to be looked at until it goes on. ``tid``: of this one alone. Raises InterruptedError (a signal came),
    ChildProcessError (no tracee).
    """
    _waitid(os.P_PID if tid else os.P_ALL, tid, _info_at, _LOOK | options)
    return _unpack_child(_info)


def siginfo(tid: int) -> tuple[int, int, int]:
    """(si_code, si_pid, si_uid) of the signal that stopped it; the latter mean something if a process sent it."""
    _ptrace(_GETSIGINFO, tid, None, _info_at)
    return _unpack(_info)


def event_message(tid: int) -> int:
    """Of EVENT_EXEC the thread that executed, of the births who was born."""
    _ptrace(_GETEVENTMSG, tid, None, _message_at)
    return _message.value


def allow_tracer(pid: int) -> None:
    """Where yama's ptrace_scope is 1: let this process and its descendants trace us. Raises OSError without yama."""
    _libc.prctl(_PR_SET_PTRACER, pid, 0, 0, 0)
