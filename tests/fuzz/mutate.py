"""Inputs like others: for where atheris is not installed, and for the short run in the ordinary tests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

#: What parsers stumble over.
_TOKENS: Final = (
    b"\0", b"\n", b"\r\n", b"\r\n\r\n", b"\x1b[31m", b"\xff", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xc2\x85",
    b"\xed\xa0\x80", b"null", b"true", b"[]", b"{}", b"[" * 99, b'"\\ud800"', b"NaN", b"-1", b"1e999", b"9" * 25,
    b"18446744073709551615", b"-9223372036854775809", b"4611686018427387904", b"0", b"/", b"//", b"../",
    b"\n----\n", b" ", b":", b",", b"=", b"%", b"\\", b"\x80" * 10, b"\xff\xff\xff\xff", b"\xff" * 8,
)  # fmt: skip


def inputs(corpus: list[bytes], seed: int) -> Iterator[bytes]:
    """Endless, and the same for a seed."""
    chance = random.Random(seed)
    known = corpus or [b""]
    while True:
        data = bytearray(chance.choice(known))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            _change(data, chance, known)
        yield bytes(data)


def _change(data: bytearray, chance: random.Random, known: list[bytes]) -> None:
    at = chance.randint(0, len(data))
    until = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 1000)))
    match chance.randrange(7):
        case 0:
            data[at:at] = chance.choice(_TOKENS)
        case 1:
            data[at:until] = chance.choice(_TOKENS)
        case 2:
            del data[at:until]
        case 3:
            data[at:at] = data[at:until] * chance.choice((1, 2, 50))
        case 4 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 5 if at < len(data):
            data[at] = chance.randrange(256)
        case _:
            other = chance.choice(known)
            begin = chance.randint(0, len(other))
            data[at:until] = other[begin : begin + chance.choice((4, 64, 4096))]
