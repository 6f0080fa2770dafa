"""Types for libbpf where the kernel has none: what an object asks of a kernel's BTF, and a BTF that answers just that.

Formats: Documentation/bpf/btf.rst; a field's access string: enum bpf_core_relo_kind and struct bpf_core_relo in
include/uapi/linux/bpf.h. All little endian, as both machines are that the object is built for. Pure: bytes in, bytes
out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

#: Type (``struct task_struct``, ``sigset_t``), member; member "" asks for the type's size.
Question = tuple[str, str]

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TYPE: Final = struct.Struct("<III")
_FIELD_KINDS: Final = range(6)  # BPF_CORE_FIELD_BYTE_OFFSET and the others of fields
_ENUM_KINDS: Final = (10, 11)  # BPF_CORE_ENUMVAL_EXISTS, BPF_CORE_ENUMVAL_VALUE


class Kind(IntEnum):
    """BTF_KIND_* that matter here, include/uapi/linux/btf.h."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    VAR = 14
    DECL_TAG = 17
    TYPE_TAG = 18


#: Bytes of each element that follows a type, by kind; and of what follows once.
_ELEMENT: Final = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_TRAILER: Final[dict[int, int]] = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_ALIASES: Final = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}


@dataclass(slots=True)
class _Type:
    kind: int
    name: str
    size_or_type: int
    trailer: bytes = b""
    members: list[tuple[str, int]] = field(default_factory=list)
    """name and type; of an enum name and value"""


def section(elf: bytes, wanted: str) -> bytes:
    """A section of a 64-bit little-endian ELF file (elf(5)). Raises ValueError."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (at,) = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, at + i * size) for i in range(count)]
    for name, _, _, _, offset, length in headers:
        start = headers[names][4] + name
        if elf[start : elf.index(b"\0", start)].decode() == wanted:
            return elf[offset : offset + length]
    raise ValueError(f"no section {wanted}")


def _essential(name: str) -> str:
    """Libbpf's name of a type without its flavour: ``task_struct___before_5_14``."""
    return name.partition("___")[0]


class Needs:
    """What an object file asks of the kernel's types."""

    def __init__(self, elf: bytes) -> None:
        """Raises ValueError or struct.error for a file that it can't understand."""
        raw = section(elf, ".BTF")
        magic, _, _, header, types_at, types_len, strings_at, _ = _HEADER.unpack_from(raw)
        if magic != _MAGIC:
            raise ValueError("no BTF")
        self._strings = raw[header + strings_at :]
        self._types = [_Type(0, "void", 0)]
        at = header + types_at
        while at < header + types_at + types_len:
            at = self._read_type(raw, at)
        self.fields: dict[str, dict[str, int]] = {}
        """members that are asked for and their types here, by the name of their struct"""
        self.enumerators: dict[str, list[str]] = {}
        """by the name of their enum"""
        self.older: set[Question] = set()
        """members that only a flavour has (``task_struct___before_5_14``): in place of one that is not there"""
        self._read_relocations(section(elf, ".BTF.ext"))

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _read_type(self, raw: bytes, at: int) -> int:
        name, info, size_or_type = _TYPE.unpack_from(raw, at)
        at += _TYPE.size
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        trailer = _TRAILER.get(kind, 0)
        one = _Type(kind, self._string(name), size_or_type, raw[at : at + trailer])
        element = _ELEMENT.get(kind, 0)
        if kind in {Kind.STRUCT, Kind.UNION, Kind.ENUM}:
            for i in range(count):
                member, value = struct.unpack_from("<II", raw, at + i * element)
                one.members.append((self._string(member), value))
        self._types.append(one)
        return int(at + element * count + trailer)

    def _read_relocations(self, raw: bytes) -> None:
        (header,) = struct.unpack_from("<I", raw, 4)
        offset, length = struct.unpack_from("<II", raw, 24)
        at, end = header + offset + 4, header + offset + length
        (record,) = struct.unpack_from("<I", raw, header + offset)
        if record < 16:
            raise ValueError(f"relocations of {record} bytes each")
        while at < end:
            _, count = struct.unpack_from("<II", raw, at)
            at += 8
            for _ in range(count):
                _, type_id, access, kind = struct.unpack_from("<IIII", raw, at)
                self._add(type_id, [int(part) for part in self._string(access).split(":")], kind)
                at += record

    def _add(self, type_id: int, access: list[int], kind: int) -> None:
        if kind in _ENUM_KINDS:
            one, _ = self._resolve(type_id)
            names = self.enumerators.setdefault(_essential(one.name), [])
            if (name := one.members[access[0]][0]) not in names:
                names.append(name)
            return
        if kind not in _FIELD_KINDS:
            raise ValueError(f"a relocation of kind {kind}: only fields and enumerators are known")
        flavoured = self._is_flavoured(type_id)
        for index in access[1:]:  # the first is an index into an array of the type itself: 0
            one, spelled = self._resolve(type_id)
            if one.kind == Kind.ARRAY:
                type_id = struct.unpack_from("<I", one.trailer)[0]
                continue
            name, type_id = one.members[index]
            members = self.fields.setdefault(spelled, {})
            if flavoured and name not in members:
                self.older.add((spelled, name))
            elif not flavoured:
                self.older.discard((spelled, name))
            members[name] = type_id

    def _is_flavoured(self, type_id: int) -> bool:
        one, _ = self._resolve(type_id)
        return one.name != _essential(one.name)

    def _resolve(self, type_id: int) -> tuple[_Type, str]:
        """The type behind typedefs and qualifiers, and how C spells it."""
        one, spelled = self._types[type_id], ""
        for _ in self._types:
            if one.kind not in _ALIASES:
                break
            spelled = one.name if one.kind == Kind.TYPEDEF else spelled
            one = self._types[one.size_or_type]
        else:
            raise ValueError("a typedef of itself")
        if one.kind in {Kind.STRUCT, Kind.UNION}:
            if one.name:
                spelled = f"{Kind(one.kind).name.lower()} {_essential(one.name)}"
            elif not spelled:
                raise ValueError("a struct without a name and without a typedef")
        return one, spelled

    def questions(self) -> list[Question]:
        """All that is to be found out, each struct's size among it."""
        asked: list[Question] = []
        for owner, members in self.fields.items():
            asked += [(owner, ""), *((owner, member) for member in members)]
        return asked + [(f"enum {enum}", name) for enum, names in self.enumerators.items() for name in names]

    def btf(self, answers: dict[Question, int]) -> bytes:
        """A BTF with those types. Sizes and offsets in bytes; what has no answer does not exist there."""
        return _Writer(self, answers).finish()


class _Writer:
    def __init__(self, needs: Needs, answers: dict[Question, int]) -> None:
        self._needs = needs
        self._answers = answers
        self._strings = bytearray(b"\0")
        self._types: list[bytes] = []
        self._known: dict[str, int] = {}
        for owner in needs.fields:
            if (owner, "") in answers:
                self._struct(owner)
        for enum, names in needs.enumerators.items():
            found = [(name, answers[f"enum {enum}", name]) for name in names if (f"enum {enum}", name) in answers]
            values = b"".join(struct.pack("<Ii", self._string(name), value) for name, value in found)
            self._add(enum, Kind.ENUM, 4, values, len(found))

    def _string(self, text: str) -> int:
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at if text else 0

    def _add(self, name: str, kind: int, size_or_type: int, tail: bytes = b"", count: int = 0) -> int:
        self._types.append(_TYPE.pack(self._string(name), kind << 24 | count, size_or_type) + tail)
        return len(self._types)

    def _struct(self, owner: str) -> int:
        if owner not in self._known:
            members = [
                (self._string(name), self._type(type_id), 8 * self._answers[owner, name])
                for name, type_id in self._needs.fields[owner].items()
                if (owner, name) in self._answers
            ]
            keyword, _, name = owner.rpartition(" ")  # a typedef's struct has no name
            self._known[owner] = self._add(
                name if keyword else "",
                Kind.UNION if keyword == "union" else Kind.STRUCT,
                self._answers[owner, ""],
                b"".join(_TYPE.pack(*member) for member in members),
                len(members),
            )
        return self._known[owner]

    def _type(self, type_id: int) -> int:
        """A member's type. Where a pointer points to is never asked for: that is another access."""
        one, spelled = self._needs._resolve(type_id)  # noqa: SLF001  # one room
        if spelled in self._needs.fields and (spelled, "") in self._answers:
            return self._struct(spelled)
        if one.kind == Kind.PTR:
            return self._add("", Kind.PTR, 0)
        if one.kind == Kind.ARRAY:
            element, _, count = struct.unpack("<III", one.trailer)
            index = self._add("unsigned int", Kind.INT, 4, struct.pack("<I", 32))
            return self._add("", Kind.ARRAY, 0, struct.pack("<III", self._type(element), index, count))
        if one.kind == Kind.INT:
            return self._add(one.name, Kind.INT, one.size_or_type, one.trailer)
        if one.kind in {Kind.STRUCT, Kind.UNION, Kind.ENUM}:  # as a whole, nothing in it
            return self._add(_essential(one.name), one.kind, one.size_or_type)
        raise ValueError(f"a member of BTF kind {one.kind}")

    def finish(self) -> bytes:
        types = b"".join(self._types)
        size = _HEADER.size
        return _HEADER.pack(_MAGIC, 1, 0, size, 0, len(types), len(types), len(self._strings)) + types + self._strings
