"""libbpf.so.1 through ctypes: just the calls sigtrace makes, each with argtypes, restype and a checked result.

Nothing else in sigtrace touches libbpf, and only files whose names start with an underscore touch ctypes. libbpf 1.x
returns NULL with errno, or a negative errno (libbpf's "strict mode", the only one since v1.0).
"""

from __future__ import annotations

import ctypes as c
import errno
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

SONAME: Final = "libbpf.so.1"

_PRINT = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
_LOG_LINES: Final = 4000

#: name → (result type, argument types). A pointer result is NULL on failure, an int is -errno.
_PROTOTYPES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "libbpf_set_print": (c.c_void_p, (_PRINT,)),
    "libbpf_num_possible_cpus": (c.c_int, ()),
    "bpf_object__open_file": (c.c_void_p, (c.c_char_p, c.c_void_p)),
    "bpf_object__load": (c.c_int, (c.c_void_p,)),
    "bpf_object__close": (None, (c.c_void_p,)),
    "bpf_object__find_map_by_name": (c.c_void_p, (c.c_void_p, c.c_char_p)),
    "bpf_object__find_program_by_name": (c.c_void_p, (c.c_void_p, c.c_char_p)),
    "bpf_map__fd": (c.c_int, (c.c_void_p,)),
    "bpf_map__set_max_entries": (c.c_int, (c.c_void_p, c.c_uint32)),
    "bpf_map__max_entries": (c.c_uint32, (c.c_void_p,)),
    "bpf_map__key_size": (c.c_uint32, (c.c_void_p,)),
    "bpf_map__value_size": (c.c_uint32, (c.c_void_p,)),
    "bpf_map__initial_value": (c.c_void_p, (c.c_void_p, c.POINTER(c.c_size_t))),
    "bpf_program__set_autoload": (c.c_int, (c.c_void_p, c.c_bool)),
    "bpf_program__fd": (c.c_int, (c.c_void_p,)),
    "bpf_program__attach": (c.c_void_p, (c.c_void_p,)),
    "bpf_link__fd": (c.c_int, (c.c_void_p,)),
    "bpf_link__destroy": (c.c_int, (c.c_void_p,)),
    "bpf_iter_create": (c.c_int, (c.c_int,)),
    "bpf_prog_test_run_opts": (c.c_int, (c.c_int, c.c_void_p)),
    "bpf_obj_pin": (c.c_int, (c.c_int, c.c_char_p)),
    "bpf_obj_get": (c.c_int, (c.c_char_p,)),
    "bpf_map_lookup_elem": (c.c_int, (c.c_int, c.c_void_p, c.c_void_p)),
    "bpf_map_update_elem": (c.c_int, (c.c_int, c.c_void_p, c.c_void_p, c.c_uint64)),
    "bpf_map_delete_elem": (c.c_int, (c.c_int, c.c_void_p)),
    "bpf_map_lookup_batch": (
        c.c_int,
        (c.c_int, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.POINTER(c.c_uint32), c.c_void_p),
    ),
}


class LibbpfError(OSError):
    """A call of libbpf's that failed: errno, what was called, and what libbpf and the verifier printed."""

    def __init__(self, number: int, call: str, log: str) -> None:
        super().__init__(number, os.strerror(number))
        self.call = call
        self.log = log


#: libbpf has one printer for the whole process: it must outlive every Library.
_log: list[str] = []


def _keep(level: int, fmt: bytes, args: int) -> int:
    if level < 2 and len(_log) < _LOG_LINES:  # warnings and information; debug is not asked for
        buffer = c.create_string_buffer(1 << 16)
        _vsnprintf(buffer, len(buffer), fmt, args)
        _log.append(buffer.value.decode(errors="replace"))
    return 0


_printer = _PRINT(_keep)
_silence = _PRINT(0)
_vsnprintf = c.CDLL(None).vsnprintf
# A va_list is passed as an address on x86-64 and on arm64 alike (an array there, a large struct here).
_vsnprintf.argtypes = (c.c_char_p, c.c_size_t, c.c_char_p, c.c_void_p)
_vsnprintf.restype = c.c_int


class Library:
    """libbpf, loaded. Raises OSError if the library is missing or lacks a function."""

    def __init__(self) -> None:
        self._so = c.CDLL(SONAME, use_errno=True)
        for name, (restype, argtypes) in _PROTOTYPES.items():
            try:
                function = getattr(self._so, name)
            except AttributeError as e:
                raise OSError(errno.ENOSYS, f"{SONAME} has no {name}; it is too old") from e
            function.restype, function.argtypes = restype, argtypes
        self.say(aloud=True)

    def take_log(self) -> str:
        """What libbpf said since the last call."""
        log = "".join(_log)
        _log.clear()
        return log

    def say(self, aloud: bool) -> None:
        """Whether libbpf is to say anything from here on."""
        self._so.libbpf_set_print(_printer if aloud else _silence)

    def call(self, name: str, *args: Any) -> int:
        """A call that returns an int or a pointer; raises LibbpfError if it failed."""
        restype = _PROTOTYPES[name][0]
        result = getattr(self._so, name)(*args)
        if restype is c.c_void_p:
            if not result:
                raise LibbpfError(c.get_errno() or errno.EINVAL, name, self.take_log())
        elif restype is c.c_int and result < 0:
            raise LibbpfError(-result, name, self.take_log())
        return result or 0

    def try_call(self, name: str, *args: Any) -> int:
        """The same for calls whose failure is an ordinary answer: 0 or more, or -errno."""
        return int(getattr(self._so, name)(*args))

    def close(self, handle: int) -> None:
        """Unloads an object."""
        self._so.bpf_object__close(handle)


class Map:
    """A BPF map of a loaded object."""

    def __init__(self, library: Library, handle: int, fd: int = -1) -> None:
        """``fd``: of the map, if it is a pinned one and not the object's own."""
        self._library = library
        self.fd = library.call("bpf_map__fd", handle) if fd < 0 else fd
        self.key_size = library.call("bpf_map__key_size", handle)
        self.value_size = library.call("bpf_map__value_size", handle)
        self.max_entries = library.call("bpf_map__max_entries", handle)

    def lookup(self, key: bytes, size: int = 0) -> bytes | None:
        """The value, or None. ``size``: bytes of all CPUs' values, for a per-CPU map."""
        value = c.create_string_buffer(size or self.value_size)
        if self._library.try_call("bpf_map_lookup_elem", self.fd, key, value) < 0:
            return None
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Sets it. Raises LibbpfError (E2BIG: the map is full)."""
        self._library.call("bpf_map_update_elem", self.fd, key, value, 0)

    def delete(self, key: bytes) -> bool:
        """Whether it was there."""
        return self._library.try_call("bpf_map_delete_elem", self.fd, key) == 0

    def items(self, size: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) of a hash, 1,024 a system call (BPF_MAP_LOOKUP_BATCH, since v5.6)."""
        size = size or self.value_size
        room = 1024
        keys = c.create_string_buffer(self.key_size * room)
        values = c.create_string_buffer(size * room)
        token, count = c.create_string_buffer(64), c.c_uint32()
        into: Any = None
        while True:
            count.value = room
            result = self._library.try_call(
                "bpf_map_lookup_batch", self.fd, into, token, keys, values, c.byref(count), None
            )
            if result < 0 and result != -errno.ENOENT:
                raise LibbpfError(-result, "bpf_map_lookup_batch", "")
            n, raw_keys, raw_values = count.value, keys.raw, values.raw
            for i in range(n):
                yield raw_keys[i * self.key_size : (i + 1) * self.key_size], raw_values[i * size : (i + 1) * size]
            if result < 0:
                return
            into = token


class Object:
    """A BPF object file: open, adjust, load, attach; close undoes all of it."""

    def __init__(self, library: Library, path: str, options: Any = None) -> None:
        """``options``: a struct bpf_object_open_opts by reference. Raises LibbpfError if it cannot be opened."""
        self._library = library
        library.take_log()
        self._handle = library.call("bpf_object__open_file", path.encode(), options)
        self._links: dict[str, int] = {}
        self._pinned: dict[str, dict[str, int]] = {}
        """descriptors of what another process loaded and pinned: of maps, programs and links, by name"""

    def _find(self, kind: str, name: str) -> int:
        return self._library.call(f"bpf_object__find_{kind}_by_name", self._handle, name.encode())

    def set_constants(self, map_name: str, value: bytes) -> None:
        """Writes a read-only section before the load."""
        size = c.c_size_t()
        address = self._library.call("bpf_map__initial_value", self._find("map", map_name), c.byref(size))
        if size.value != len(value):
            raise LibbpfError(errno.EINVAL, f"{map_name} has {size.value} bytes, not {len(value)}", "")
        c.memmove(address, value, len(value))

    def set_max_entries(self, map_name: str, entries: int) -> None:
        """Before the load."""
        self._library.call("bpf_map__set_max_entries", self._find("map", map_name), entries)

    def set_autoload(self, program: str, wanted: bool) -> None:
        """Before the load."""
        self._library.call("bpf_program__set_autoload", self._find("program", program), wanted)

    def load(self) -> None:
        """Raises LibbpfError with the verifier's log."""
        self._library.take_log()
        self._library.call("bpf_object__load", self._handle)

    def load_silently(self) -> bool:
        """Whether it could be loaded; ``load`` of another object would tell why not.

        For a thread beside others: each of the 4,000 lines libbpf has for a printer would ask for the interpreter.
        """
        self._library.say(aloud=False)
        try:
            return self._library.try_call("bpf_object__load", self._handle) == 0
        finally:
            self._library.say(aloud=True)

    def map(self, name: str) -> Map:
        """Of the loaded object, or the pinned one in its place."""
        return Map(self._library, self._find("map", name), self._pinned.get("map", {}).get(name, -1))

    def program_fd(self, name: str) -> int:
        """Of the loaded object, or the pinned one in its place."""
        if name in (pinned := self._pinned.get("program", {})):
            return pinned[name]
        return self._library.call("bpf_program__fd", self._find("program", name))

    def resume(self, maps: dict[str, str], programs: dict[str, str], links: dict[str, str]) -> None:
        """In place of ``load``: what is pinned at these paths. Raises LibbpfError if one is missing."""
        for kind, paths in (("map", maps), ("program", programs), ("link", links)):
            found = self._pinned.setdefault(kind, {})
            for name, path in paths.items():
                found[name] = self._library.call("bpf_obj_get", path.encode())

    def forget(self) -> None:
        """Let what was pinned go; it stays where it is."""
        for found in self._pinned.values():
            for fd in found.values():
                os.close(fd)
        self._pinned.clear()

    def attached(self) -> list[str]:
        """Programs that are attached by us."""
        return list(self._links)

    def pin_map(self, name: str, path: str) -> None:
        """Raises LibbpfError."""
        self._library.call("bpf_obj_pin", self.map(name).fd, path.encode())

    def pin_program(self, name: str, path: str) -> None:
        """Raises LibbpfError."""
        self._library.call("bpf_obj_pin", self.program_fd(name), path.encode())

    def pin_link(self, name: str, path: str) -> None:
        """It stays attached when we end. Raises LibbpfError."""
        fd = self._library.call("bpf_link__fd", self._links[name])
        self._library.call("bpf_obj_pin", fd, path.encode())

    def attach(self, program: str) -> int:
        """Attaches by the program's section (tp_btf, raw_tp, iter): bpf(2) alone. Returns the link's descriptor."""
        if program in (pinned := self._pinned.get("link", {})):
            return pinned[program]
        link = self._library.call("bpf_program__attach", self._find("program", program))
        self._links[program] = link
        return self._library.call("bpf_link__fd", link)

    def iterate(self, link_fd: int) -> bytes:
        """All that an attached iterator writes."""
        fd = self._library.call("bpf_iter_create", link_fd)
        chunks = []
        try:
            while chunk := os.read(fd, 1 << 16):
                chunks.append(chunk)
        finally:
            os.close(fd)
        return b"".join(chunks)

    def detach(self, programs: Iterable[str]) -> None:
        """Ends these programs' links; maps stay. Harmless twice."""
        for program in programs:
            if link := self._links.pop(program, 0):
                self._library.try_call("bpf_link__destroy", link)

    def close(self) -> None:
        """Detaches and unloads. Harmless twice."""
        self.detach(list(self._links))
        self.forget()
        if self._handle:
            self._library.close(self._handle)
            self._handle = 0


def per_cpu_sum(raw: bytes) -> int:
    """The sum of a per-CPU u64 value's copies."""
    return sum(struct.unpack(f"<{len(raw) // 8}Q", raw))
