"""The kernel's proc connector: every fork, exec and exit of the node (drivers/connector/cn_proc.c), by netlink.

It tells only in the first network and PID namespaces, and asks for CAP_NET_ADMIN before v6.6 (commit bfdfdc2f3b79,
"connector/cn_proc: Allow non-root users access"). pyroute2 makes the socket. Reading goes past it, to a duplicate of
its descriptor, with struct: pyroute2 makes a dictionary of each message, and its sockets belong to the thread that made
them.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from typing import Final

from sigtrace.errors import HostError
from sigtrace.sources.proc_events import ProcEvent, What

_LISTEN: Final = 1
_PROC_GROUP: Final = 1
"""CN_IDX_PROC"""
_FORK, _EXEC, _EXIT = 0x1, 0x2, 0x80000000
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHIIIIIIHH")
"""nlmsghdr, then cn_msg: length, type, flags, seq, pid; idx, val, seq, ack, len, flags"""
_EVENT: Final = struct.Struct("=IIQ")
"""what, cpu, timestamp_ns (CLOCK_MONOTONIC)"""
_WORDS: Final = struct.Struct("=4i")
_EXITED: Final = struct.Struct("=iiIIii")
#: Before v4.18 an exit does not name the parent.
_SHORT_EXIT: Final = struct.Struct("=iiII")
_ROOM: Final = 16 << 20
_ANSWER_S: Final = 0.25
_MANY: Final = 4096
_SO_RCVBUFFORCE: Final = 33


class ProcConnector:
    """A :class:`sigtrace.sources.proc_events.ProcEvents`."""

    exact = True

    def __init__(self) -> None:
        """Raises HostError if the kernel does not tell us."""
        from pyroute2.netlink.connector.cn_proc import ProcEventSocket  # type: ignore[import-untyped]

        self._lost = False
        self._offset_ns = 0
        try:
            self._made = ProcEventSocket()
            self._socket = socket.socket(fileno=socket.dup(self._made.fileno()))
        except OSError as e:
            raise _refused(e) from e
        try:
            # pyroute2's own takes every refusal for an address in use, tries others, and raises a KeyError.
            self._socket.bind((0, _PROC_GROUP))
            self._ask()
        except OSError as e:
            self.close()
            raise _refused(e) from e
        except HostError:
            self.close()
            raise
        self.fd = self._socket.fileno()

    def _ask(self) -> None:
        self._socket.setblocking(False)  # noqa: FBT003
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        # With the mask of what we want since v6.6; an older kernel does not answer to that, and tells all.
        for payload in (struct.pack("=II", _LISTEN, _FORK | _EXEC | _EXIT), struct.pack("=I", _LISTEN)):
            length = _HEADER.size + len(payload)
            self._socket.send(
                _HEADER.pack(length, _NLMSG_DONE, 0, 0, 0, 1, 1, 0, 0, len(payload), 0) + payload,
            )
            if self._is_answered():
                return
        raise HostError(
            "the proc connector does not answer",
            next_step="run it in the host's network and PID namespaces (hostNetwork, hostPID)",
        )

    def _is_answered(self) -> bool:
        """Any message will do: nobody tells us anything unasked."""
        return bool(select.select([self._socket], [], [], _ANSWER_S)[0])

    def read(self, now_ns: int) -> list[ProcEvent]:  # noqa: ARG002  # the kernel says when it was
        """All that waits."""
        self._offset_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        events: list[ProcEvent] = []
        for _ in range(_MANY):
            try:
                raw = self._socket.recv(4096)
            except BlockingIOError:
                break
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            if (event := decode(raw, self._offset_ns)) is not None:
                events.append(event)
        return events

    def take_lost(self) -> bool:
        """Whether the socket's room was used up since the last call."""
        lost, self._lost = self._lost, False
        return lost

    def close(self) -> None:
        """The kernel stops telling when the socket is closed. Harmless twice."""
        self._socket.close()
        self._made.close()


def decode(raw: bytes, offset_ns: int) -> ProcEvent | None:
    """One message; None for what is no process's fork, exec or exit. ``offset_ns``: BOOTTIME - MONOTONIC."""
    at = _HEADER.size
    if len(raw) < at + _EVENT.size:
        return None
    what, _, time_ns = _EVENT.unpack_from(raw, at)
    at += _EVENT.size
    time_ns += offset_ns
    if what == _FORK and len(raw) >= at + _WORDS.size:
        _, parent, pid, tgid = _WORDS.unpack_from(raw, at)
        return ProcEvent(What.FORK, time_ns, pid, tgid, parent)
    if what == _EXEC and len(raw) >= at + 8:
        pid, tgid, _, _ = _WORDS.unpack_from(raw.ljust(at + _WORDS.size, b"\0"), at)
        return ProcEvent(What.EXEC, time_ns, pid, tgid)
    if what == _EXIT and len(raw) >= at + _SHORT_EXIT.size:
        pid, tgid, status, _ = _SHORT_EXIT.unpack_from(raw, at)
        parent = _EXITED.unpack_from(raw, at)[5] if len(raw) >= at + _EXITED.size else 0
        return ProcEvent(What.EXIT, time_ns, pid, tgid, parent, status & 0xFFFF)
    return None


def _refused(error: OSError) -> HostError:
    fix = "run it in the host's network namespace (hostNetwork: true)"
    if error.errno in {errno.EPERM, errno.EACCES}:
        fix = "grant CAP_NET_ADMIN (before Linux 6.6)"
    return HostError(f"no proc connector: {error.strerror or error}", next_step=fix)
