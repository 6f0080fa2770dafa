"""The object of raw tracepoints (bpf/walk.bpf.h) through libbpf: fitted by a BTF of ours, its listings are run."""

from __future__ import annotations

import ctypes as c
import errno
import os
from typing import TYPE_CHECKING, Final

from sigtrace.sources._libbpf import LibbpfError, Library, Object
from sigtrace.sources.ring import Ring
from sigtrace.sources.wire import SIGNALFD, SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Programs that are run for what they list, and how many bytes of each record are theirs.
LISTINGS: Final[Mapping[str, int]] = {
    "snapshot_tasks": SNAPSHOT.size,
    "snapshot_zombies": SNAPSHOT.size,
    "snapshot_signalfds": SIGNALFD.size,
}
_RING: Final = "listing"
#: A walk's steps: what three loops of 128 allow for descriptors, and for tasks some more than there are.
_DESCRIPTORS: Final = 128**3
_SPARE: Final = 4096


class _OpenOptions(c.Structure):
    """Struct bpf_object_open_opts of libbpf 1.0, as far as it is needed; ``size`` tells libbpf how far."""

    _fields_ = (
        ("size", c.c_size_t),
        ("object_name", c.c_char_p),
        ("relaxed_maps", c.c_bool),
        ("pin_root_path", c.c_char_p),
        ("unused", c.c_uint32),
        ("kconfig", c.c_char_p),
        ("btf_custom_path", c.c_char_p),
    )


class _RunOptions(c.Structure):
    """Struct bpf_test_run_opts of libbpf 1.0."""

    _fields_ = (
        ("size", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    )


class RawObject(Object):
    """An :class:`Object` whose listings need no iterators."""

    def __init__(self, library: Library, path: str, btf: bytes | None) -> None:
        """``btf``: where the kernel's fields are; None: ask the kernel's own BTF. Raises LibbpfError, OSError."""
        self._ring: Ring | None = None
        self._listings: dict[int, str] = {}
        """by descriptor"""
        self._btf = -1
        if btf is None:
            super().__init__(library, path)
            return
        # libbpf asks for a path, and reads it while it loads the object: memory has one as long as it is open.
        self._btf = os.memfd_create("sigtrace-btf")
        try:
            view = memoryview(btf)
            while view:
                view = view[os.write(self._btf, view) :]
            options = _OpenOptions(c.sizeof(_OpenOptions), btf_custom_path=f"/proc/self/fd/{self._btf}".encode())
            super().__init__(library, path, c.byref(options))
        except BaseException:
            os.close(self._btf)
            raise

    def load(self) -> None:
        """Raises LibbpfError with the verifier's log."""
        # Room for twice as many tasks as there are, in a power of two: 1 MiB or more.
        self._ring_bytes = 1 << max(20, (2 * _tasks() * (SNAPSHOT.size + 8)).bit_length())
        self.set_max_entries(_RING, self._ring_bytes)
        super().load()
        self._ring = Ring(self.map(_RING).fd, self._ring_bytes, SNAPSHOT.size)

    def attach(self, program: str) -> int:
        """As ever; of a listing the program's descriptor: there is nothing to attach it to."""
        if program not in LISTINGS:
            return super().attach(program)
        fd = self.program_fd(program)
        self._listings[fd] = program
        return fd

    def iterate(self, link_fd: int) -> bytes:
        """Runs a listing; all that it wrote. Raises LibbpfError (ENOSPC: something is missing in it)."""
        assert self._ring is not None  # noqa: S101  # load() made it
        name = self._listings[link_fd]
        steps = _DESCRIPTORS if name == "snapshot_signalfds" else min(2 * _tasks() + _SPARE, _DESCRIPTORS)
        context = c.c_uint64(steps)  # args[0] of the raw tracepoint that it pretends to be
        options = _RunOptions(
            c.sizeof(_RunOptions), ctx_in=c.cast(c.byref(context), c.c_void_p), ctx_size_in=c.sizeof(context)
        )
        self._library.call("bpf_prog_test_run_opts", link_fd, c.byref(options))
        size, chunks = LISTINGS[name], []
        while records := self._ring.read():
            chunks += [record[:size] for _, _, record in records]
            self._ring.advance()
        if options.retval:
            raise LibbpfError(errno.ENOSPC, "a listing of processes was cut short", "")
        return b"".join(chunks)

    def close(self) -> None:
        """Detaches and unloads. Harmless twice."""
        if self._ring:
            self._ring.close()
            self._ring = None
        super().close()
        if self._btf >= 0:
            os.close(self._btf)
            self._btf = -1


def _tasks() -> int:
    """How many tasks there are, threads too (proc_loadavg(5))."""
    with open("/proc/loadavg", encoding="ascii") as f:
        return int(f.read().split()[3].partition("/")[2])
