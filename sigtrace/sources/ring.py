"""A BPF ring buffer read through mmap (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst).

Layout: one page with the consumer position (ours to write), one with the producer position, then the data twice in a
row, so that a record that wraps is contiguous. The second is not mapped here: all that is mapped counts as resident,
and a read that wraps, once in 4 MB, can be put together. Each record: u32 length with a busy and a discard bit, u32
page offset, payload, padded to 8 bytes. Here every record of a ring has one size, so a batch is one ``iter_unpack``.

Memory order. The kernel publishes a record by clearing its busy bit with xchg, and the producer position with a store
release. A reader must load the position before the headers and the headers before the payloads. x86-64 keeps loads in
order; arm64 does not, and a plain Python load is a plain load. `Fence` therefore releases and takes a lock: a release
followed by an acquire orders all earlier loads before all later ones (Arm ARM B2.3, "barrier-ordered-before":
[L]; po; [A]), and CPython's locks are made of exactly these two operations. Each position is one aligned 8-byte item
of a memoryview, which CPython copies with one load or store.
"""

from __future__ import annotations

import mmap
import struct
import threading
from typing import Final

_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_HEADER: Final = 8

#: (header, page offset, the record's bytes)
Raw = tuple[int, int, bytes]


class Fence:
    """Orders this thread's earlier loads and stores before its later ones; see above."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        """Release, then acquire."""
        self._lock.release()
        self._lock.acquire()


class Ring:
    """The reader's side of one ring. One reader at a time."""

    def __init__(self, fd: int, size: int, record_size: int, held: int = 0) -> None:
        """``size``: the map's max_entries, bytes; ``record_size``: of each record's payload, bytes.

        ``held``: so many bytes that were read stay in the ring, for who reads it after us.
        """
        page = mmap.PAGESIZE
        self._record_size = record_size
        if record_size % 8:
            raise ValueError(f"a record of {record_size} bytes would be padded")
        self._stride = _HEADER + record_size
        self._size = size
        self._struct = struct.Struct(f"<II{record_size}s")
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data_map = mmap.mmap(fd, page + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._data_map)[:8].cast("Q")
        self._data = memoryview(self._data_map)[page:]
        self._headers = self._data.cast("I")
        self._fence = Fence()
        self._taken = 0
        self._held = held // self._stride * self._stride
        self._position = int(self._consumer[0])
        """up to where we have read"""
        self.fd = fd
        self.drained = True
        """whether the last read left nothing behind"""

    def read(self, limit: int = 1024) -> list[Raw]:
        """The records that are complete, oldest first, at most ``limit``; up to the first that is still being written.

        They stay in the ring until :meth:`advance`.
        """
        consumed, produced = self._position, self._producer[0]
        waiting = (produced - consumed) // self._stride
        n = min(waiting, limit)
        self._taken = 0
        self.drained = True
        if n <= 0:
            return []
        self._fence()
        start = consumed & (self._size - 1)
        end = start + n * self._stride
        step = self._stride // 4
        headers = self._headers[start // 4 : end // 4 : step].tolist()  # 8 bytes, aligned to 8: none of them wraps
        if end > self._size:
            wrapped = start + len(headers) * self._stride - self._size
            headers += self._headers[wrapped // 4 : (end - self._size) // 4 : step].tolist()
        whole = headers.count(self._record_size) == n
        if not whole:
            n = next((i for i, header in enumerate(headers) if header & _BUSY), n)
        self._fence()
        end = start + n * self._stride
        raw = self._data[start:end]
        if end > self._size:
            raw = memoryview(raw.tobytes() + self._data[: end - self._size])
        records: list[Raw] = list(self._struct.iter_unpack(raw))
        self._taken = n * self._stride
        self.drained = n == waiting
        if not whole:
            records = [r for r in records if not r[0] & _DISCARDED]
        return records

    def advance(self) -> None:
        """Gives back what the last read returned: call it once those records are in the pipeline."""
        if self._taken:
            self._fence()  # our loads before the kernel's next stores
            self._position += self._taken
            self._consumer[0] = max(self._consumer[0], self._position - self._held)
            self._taken = 0

    def produced(self) -> int:
        """How many records were ever put into it."""
        return int(self._producer[0]) // self._stride

    def waiting(self) -> int:
        """How many records are in it, complete or not."""
        return int(self._producer[0] - self._position) // self._stride

    def close(self) -> None:
        """Unmaps it."""
        for view in (self._headers, self._data, self._producer, self._consumer):
            view.release()
        self._data_map.close()
        self._consumer_map.close()
