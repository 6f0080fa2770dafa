"""Protocol Buffers on the wire, as much as CRI needs (protobuf.dev/programming-guides/encoding). Pure.

Nothing is generated and no package needed: a message is its fields by number, and what they mean is in cri_v1.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from sigtrace.attribution.runtimes.values import NoAnswer, clean

#: A field to send: integer or bool, text, bytes, message, map<string, string>, or several of one kind; None for none.
#: An empty mapping is an empty message, which in proto3 says something.
Field: TypeAlias = "int | str | bytes | Mapping[int, Field] | Mapping[str, str] | Sequence[Field] | None"

#: Fields of one message. A list of all containers of a node is the longest one.
_FIELDS_MAX: Final = 20_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Final = {_FIXED64: 8, _FIXED32: 4}


def encode(message: Mapping[int, Field]) -> bytes:
    """The bytes of a message. As proto3 wants it, zero, false and empty are left out."""
    return b"".join(_encode(number, field) for number, field in message.items())


def _encode(number: int, field: Field) -> bytes:
    if field is None:
        return b""
    if isinstance(field, int):
        return _varint(number << 3 | _VARINT) + _varint(field) if field else b""
    if isinstance(field, str):
        return _sized(number, field.encode()) if field else b""
    if isinstance(field, bytes):
        return _sized(number, field) if field else b""
    if isinstance(field, Mapping):
        entries: dict[str, str] = {key: value for key, value in field.items() if isinstance(key, str)}  # type: ignore[misc]
        if entries:
            return b"".join(_sized(number, encode({1: key, 2: value})) for key, value in entries.items())
        return _sized(number, encode(field))  # type: ignore[arg-type] # no key is a string
    return b"".join(_repeated(number, one) for one in field)


def _repeated(number: int, field: Field) -> bytes:
    return _sized(number, field.encode()) if isinstance(field, str) else _encode(number, field)


def _sized(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Message:
    """A received message. Fields nobody asks for are never looked at; those of a wrong type raise NoAnswer."""

    __slots__ = ("_fields",)

    def __init__(self, raw: bytes = b"") -> None:
        """Raises NoAnswer for what is no message."""
        self._fields: dict[int, list[int | bytes]] = {}
        for count, (number, value) in enumerate(_decode(raw)):
            if count >= _FIELDS_MAX:
                raise NoAnswer(f"a message of more than {_FIELDS_MAX:,} fields")
            self._fields.setdefault(number, []).append(value)

    def integer(self, number: int) -> int:
        """uint64, enum or bool; 0 if it is not there."""
        value = self._fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise NoAnswer(f"field {number} of a message is no integer")
        return value

    def raw(self, number: int) -> bytes:
        """Bytes of a string, of bytes or of a message; empty if it is not there."""
        value = self._fields.get(number, [b""])[-1]
        if not isinstance(value, bytes):
            raise NoAnswer(f"field {number} of a message is no string")
        return value

    def text(self, number: int) -> str | None:
        """A string made printable, and cut to what a name may have."""
        return clean(self.raw(number)) or None

    def message(self, number: int) -> Message:
        """A message in this one; an empty one if it is not there."""
        return Message(self.raw(number))

    def messages(self, number: int) -> Iterator[Message]:
        """All messages of a repeated field."""
        for value in self._fields.get(number, ()):
            if not isinstance(value, bytes):
                raise NoAnswer(f"field {number} of a message is no message")
            yield Message(value)

    def mapping(self, number: int, keys: frozenset[str]) -> dict[str, str]:
        """Those entries of a map<string, string> that have one of these keys; not yet safe to show."""
        found: dict[str, str] = {}
        for entry in self.messages(number):
            key = entry.raw(1).decode("utf-8", "replace")
            if key in keys:
                found[key] = entry.raw(2).decode("utf-8", "replace")
        return found


def _decode(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise NoAnswer(f"a message with a field number {number}")
        if kind == _VARINT:
            value, at = _read_varint(raw, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(raw, at)
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:  # groups have been gone since proto3
            raise NoAnswer(f"a message with a field of wire type {kind}")
        if size > len(raw) - at:
            raise NoAnswer("a message that is cut off")
        yield number, raw[at : at + size]
        at += size


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            raise NoAnswer("a message that is cut off")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise NoAnswer("a message with an integer of more than 64 bits")
