"""The types in a BPF object's .BTF section: sizes, fields and enumerators (Documentation/bpf/btf.rst)."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

# enum btf_kind in include/uapi/linux/btf.h
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, PROTO, VAR, DATASEC = range(1, 16)
FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(16, 20)
ALIASES = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}
# bytes of each element that follows struct btf_type, and of what always follows
ELEMENT = {STRUCT: 12, UNION: 12, ENUM: 8, PROTO: 8, DATASEC: 12, ENUM64: 12}
TRAILER = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}


@dataclass(frozen=True)
class Field:
    """Of a struct, flattened: nested structs and arrays of scalars become their leaves."""

    name: str
    offset: int
    size: int
    signed: bool = False


@dataclass
class Type:
    kind: int
    name: str
    size_or_type: int
    element: int = 0  # of an array: its type
    count: int = 0  # of an array
    signed: bool = False
    members: list[tuple[str, int, int]] = field(default_factory=list)  # name, type, offset in bytes
    values: dict[str, int] = field(default_factory=dict)


def section(elf: bytes, wanted: str) -> bytes:
    """A section of a 64-bit little-endian ELF file (elf(5))."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (shoff,) = struct.unpack_from("<Q", elf, 40)
    shentsize, shnum, shstrndx = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, shoff + i * shentsize) for i in range(shnum)]
    names = headers[shstrndx][4]
    for name, _, _, _, offset, size, *_ in headers:
        start = names + name
        if elf[start : elf.index(b"\0", start)].decode() == wanted:
            return elf[offset : offset + size]
    raise ValueError(f"no section {wanted}")


class Btf:
    def __init__(self, path: Path) -> None:
        raw = section(path.read_bytes(), ".BTF")
        magic, _, _, header, types_at, types_len, strings_at, _ = struct.unpack_from("<HBBIIIII", raw)
        if magic != 0xEB9F:
            raise ValueError("no BTF")
        self._strings = raw[header + strings_at :]
        self.types: list[Type] = [Type(0, "void", 0)]
        at, end = header + types_at, header + types_at + types_len
        while at < end:
            at = self._read(raw, at)

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _read(self, raw: bytes, at: int) -> int:
        name, info, size_or_type = struct.unpack_from("<III", raw, at)
        at += 12
        kind, count, bitfields = info >> 24 & 0x1F, info & 0xFFFF, info >> 31
        one = Type(kind, self._string(name), size_or_type)
        if kind == INT:
            one.signed = bool(struct.unpack_from("<I", raw, at)[0] >> 24 & 1)
        elif kind == ARRAY:
            one.element, _, one.count = struct.unpack_from("<III", raw, at)
        elif kind in {STRUCT, UNION}:
            for i in range(count):
                member, type_id, offset = struct.unpack_from("<III", raw, at + 12 * i)
                bits = offset & 0xFFFFFF if bitfields else offset
                one.members.append((self._string(member), type_id, bits // 8))
        elif kind == ENUM:
            form = "<Ii" if bitfields else "<II"
            for i in range(count):
                member, value = struct.unpack_from(form, raw, at + 8 * i)
                one.values[self._string(member)] = value
        self.types.append(one)
        return at + ELEMENT.get(kind, 0) * count + TRAILER.get(kind, 0)

    def _resolve(self, type_id: int) -> Type:
        one = self.types[type_id]
        while one.kind in ALIASES:
            one = self.types[one.size_or_type]
        return one

    def _size(self, one: Type) -> int:
        if one.kind == ARRAY:
            return one.count * self._size(self._resolve(one.element))
        return 8 if one.kind == PTR else one.size_or_type

    def _leaves(self, one: Type, name: str, offset: int) -> list[Field]:
        if one.kind == STRUCT:
            return [
                leaf
                for member, type_id, at in one.members
                for leaf in self._leaves(self._resolve(type_id), f"{name}.{member}".strip("."), offset + at)
            ]
        if one.kind == ARRAY:
            element = self._resolve(one.element)
            if element.size_or_type > 1:  # an array of chars is one string
                size = self._size(element)
                return [
                    leaf for i in range(one.count) for leaf in self._leaves(element, f"{name}[{i}]", offset + i * size)
                ]
        return [Field(name, offset, self._size(one), one.signed and one.kind == INT)]

    def struct(self, name: str) -> tuple[int, list[Field]]:
        """(size, its fields in order)."""
        one = next(t for t in self.types if t.kind == STRUCT and t.name == name)
        return one.size_or_type, self._leaves(one, "", 0)

    def enum(self, name: str) -> dict[str, int]:
        """Enumerators by name."""
        return next(t.values for t in self.types if t.kind == ENUM and t.name == name)
