"""The dataclasses of the model as JSON values, and back.

A dataclass becomes an object with those of its fields, by name, that differ from their defaults; an enum becomes its
value; some dataclasses are kept in a table and become their number there. Reading takes what it knows: a name that it
doesn't know is passed over, a missing one has its default, and an unknown enum value is :data:`.plain.UNKNOWN`.
What is read was written by anyone: each value is checked against the type of its field.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from sigtrace.model.recording import plain
from sigtrace.model.recording.plain import UNKNOWN, Json, Read

_MISSING: Final = object()


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default, or a mark of its own that equals nothing."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _MISSING if field.default is dataclasses.MISSING else field.default


@functools.cache
def _fields(kind: type) -> list[tuple[str, Any]]:
    """Names and defaults; ``dataclasses.fields`` makes them anew for each who asks."""
    return [(field.name, default_of(field)) for field in dataclasses.fields(kind)]


class Encoder:
    """Objects to JSON values."""

    def __init__(self, number: Mapping[type, Callable[[Any], int]]) -> None:
        """``number``: for each dataclass that is kept in a table, what gives an object its number."""
        self._number = number

    def value(self, value: Any) -> Json:
        """Of anything that a field may hold. Raises TypeError for what can't be recorded."""
        kind = type(value)
        if value is None or kind in {int, str, bool, float}:
            return value
        if kind in self._number:
            return self._number[kind](value)
        if isinstance(value, enum.Enum):
            return value.value
        if dataclasses.is_dataclass(kind):
            return self.object(value)
        if isinstance(value, tuple | list):
            return [self.value(one) for one in value]
        if isinstance(value, frozenset | set):
            return [self.value(one) for one in sorted(value)]
        if isinstance(value, Mapping):
            return {str(key): self.value(one) for key, one in value.items()}
        raise TypeError(f"{kind.__name__} can't be recorded")

    def object(self, value: Any) -> dict[str, Json]:
        """A dataclass's fields that differ from their defaults."""
        kind: type = type(value)
        found = {}
        for name, default in _fields(kind):
            one = getattr(value, name)
            # By type as well: 0, 0.0 and False are equal, and differ in the JSON of a record.
            if one is not default and not (type(one) is type(default) and one == default):
                found[name] = self.value(one)
        return found


class Decoder:
    """JSON values to objects. Raises ValueError for a value that its field can't hold."""

    def __init__(self, tables: Mapping[type, list[Any]]) -> None:
        """``tables``: for each dataclass that is kept in one, its objects by number; filled by the caller."""
        self._tables = tables
        self._objects: dict[type, Read] = {}

    def object(self, kind: type, value: Json) -> Any:
        """A dataclass of this kind, or UNKNOWN. Raises TypeError if the kind has a field that can't be recorded."""
        read = self._objects.get(kind)
        if read is None:
            read = self._objects[kind] = self._object(kind)
        return read(value)

    def _object(self, kind: type) -> Read:
        hints = get_type_hints(kind)
        fields = {f.name: (self._field(kind, f.name, hints[f.name]), default_of(f)) for f in dataclasses.fields(kind)}
        needed = [name for name, (_, default) in fields.items() if default is _MISSING]

        def read(value: Json) -> Any:
            if not isinstance(value, dict):
                raise ValueError(f"{kind.__name__} is {plain.shown(value)}")  # noqa: TRY004 - as in plain.text
            found = {}
            for name, one in value.items():
                known = fields.get(name)
                if known is None:
                    continue
                found[name] = known[0](one)
                if found[name] is UNKNOWN:
                    if known[1] is _MISSING:
                        return UNKNOWN
                    found[name] = known[1]
            return kind(**found) if all(name in found for name in needed) else UNKNOWN

        return read

    def _field(self, kind: type, name: str, hint: Any) -> Read:
        read = self._read(hint, plain.limits_of(name))

        def checked(value: Json) -> Any:
            try:
                return read(value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{kind.__name__}.{name}: {error}") from error

        return checked

    def _read(self, hint: Any, limits: tuple[int, int] = plain.ANY) -> Read:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in {Union, types.UnionType}:
            return self._optional([one for one in arguments if one is not type(None)], limits)
        if origin in {tuple, frozenset, list}:
            return self._sequence(origin, arguments, limits)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(self._read(arguments[1], limits))
        if isinstance(hint, type):
            if issubclass(hint, enum.Enum):
                return plain.member_of(hint)
            if hint in self._tables:
                return self._numbered(hint)
            if dataclasses.is_dataclass(hint):
                return lambda value: self.object(hint, value)
        scalars: dict[Any, Read] = {
            int: lambda value: plain.integer(value, *limits),
            bool: lambda value: plain.integer(value, 0, 1),
            float: plain.real,
            str: plain.text,
            Any: plain.anything,
        }
        if hint not in scalars:
            raise TypeError(f"a field of type {hint} can't be recorded; teach model.recording.values")
        return scalars[hint]

    def _optional(self, hints: list[Any], limits: tuple[int, int]) -> Read:
        if len(hints) != 1:
            raise TypeError(f"a field of one of the types {hints} can't be recorded; teach model.recording.values")
        inner = self._read(hints[0], limits)

        def read(value: Json) -> Any:
            found = None if value is None else inner(value)
            return None if found is UNKNOWN else found

        return read

    def _sequence(self, origin: type, arguments: tuple[Any, ...], limits: tuple[int, int]) -> Read:
        fixed = origin is tuple and Ellipsis not in arguments
        inner = [self._read(one, limits) for one in arguments if one is not Ellipsis]

        def read(value: Json) -> Any:
            if not isinstance(value, list) or (fixed and len(value) != len(inner)):
                raise ValueError(f"is {plain.shown(value)}")
            found = [inner[at if fixed else 0](one) for at, one in enumerate(value)]
            return UNKNOWN if UNKNOWN in found else origin(found)

        return read

    @staticmethod
    def _mapping(inner: Read) -> Read:
        def read(value: Json) -> Any:
            if not isinstance(value, dict):
                raise ValueError(f"is {plain.shown(value)}")  # noqa: TRY004 - as in plain.text
            found = {plain.text(key): inner(one) for key, one in value.items()}
            return {key: one for key, one in found.items() if one is not UNKNOWN}

        return read

    def _numbered(self, kind: type) -> Read:
        table = self._tables[kind]

        def read(value: Json) -> Any:
            if type(value) is not int or not 0 <= value < len(table):
                raise ValueError(f"{kind.__name__} number {plain.shown(value)} of {len(table)}")
            return table[value]

        return read
