"""New inputs from old ones: bytes changed, cut, repeated, joined, and words of the formats put in.

In: a corpus and a source of chance. Out: bytes, never longer than ``MAX_BYTES``. Pure: the same
chance and corpus give the same input.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

__all__ = ["MAX_BYTES", "mutated"]

MAX_BYTES = 2**16
"""Long enough for each construct of each format, short enough for thousands of inputs a second."""

NUMBERS = (
    0,
    1,
    2,
    4,
    15,
    16,
    31,
    32,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)

WORDS: tuple[bytes, ...] = (
    *(b'{"$oobdump":"%s","v":' % kind for kind in (b"tuple", b"set", b"dict", b"int", b"str", b"bytes", b"Decimal")),
    *(b'{"$oobdump":"%s","v":' % kind for kind in (b"ndarray", b"tensor", b"bulk", b"cut", b"object", b"exception")),
    *(b"$oobdump", b'"v"', b"[", b"]", b"{", b"}", b"\\ud800", b"\\u0000", b"1e999", b"-0", b"NaN", b"Infinity"),
    *(b'"dtype":"<f4"', b'"shape":[', b'"data":', b'"offset":', b"0x", b"9" * 30, b"0x" + b"f" * 400, b"1E999999999"),
    *(
        b"\x81",
        b"\xc7\xff\x4f",
        b"\xc8\x00\x10\x4f",
        b"\xd6\x4f",
        b"\xdc\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff",
    ),
    *(
        b"\xc4\x04",
        b"\xc6\xff\xff\xff\xff",
        b"\xcf",
        b"\xd3",
        b"\xd9\xff",
        b"\xdb\xff\xff\xff\x7f",
        b"\xd6\xff",
        b"\xc1",
    ),
    *(
        b"\x80\x05",
        b"\x95",
        b"\x94",
        b"h\x00",
        b"r\xff\xff\xff\xff",
        b"\x86",
        b"\x87",
        b"}",
        b"s",
        b"u.",
        b"(",
        b"R",
        b"b.",
    ),
    *(
        b"cbuiltins\neval\n",
        b"\x93",
        b"\x8c\x08builtins\x94\x8c\x07Warning\x94\x93",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8e",
        b"\x97",
    ),
    *(b"\x93NUMPY\x01\x00", b"'descr': '<f8'", b"'shape': (3,)", b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02"),
)
"""Of JSON, msgpack, pickle, numpy and zip: what chance alone would hardly write."""

Change = Callable[[bytearray, random.Random], None]


def mutated(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """One input: one of the corpus, changed one to eight times; some are spliced."""
    data = bytearray(chance.choice(corpus))
    if chance.random() < 0.15:  # noqa: PLR2004 - one in seven is spliced
        other = chance.choice(corpus)
        data[_place(data, chance) :] = other[_place(other, chance) :]
    for _ in range(2 ** chance.randrange(4)):
        chance.choice(_CHANGES)(data, chance)
    return bytes(data[:MAX_BYTES])


def _place(data: bytes | bytearray, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 255, 128, 127, 10, chance.randrange(256)))


def _number(data: bytearray, chance: random.Random) -> None:
    at, code = _place(data, chance), chance.choice("BHIQ")
    number = chance.choice(NUMBERS) % (1 << 8 * struct.calcsize(code))
    piece = struct.pack(chance.choice("<>") + code, number)
    data[at : at + (len(piece) if chance.random() < 0.5 else 0)] = piece  # noqa: PLR2004 - over or between


def _word(data: bytearray, chance: random.Random) -> None:
    at, word = _place(data, chance), chance.choice(WORDS)
    data[at : at + chance.choice((0, 0, 1, len(word)))] = word


def _delete(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 1, 2, 4, 16, len(data) // 2))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    piece = data[at : at + chance.choice((1, 2, 4, 8, 64))]
    data[at:at] = piece * chance.choice((1, 2, 16, 256, 2000))
    del data[MAX_BYTES:]


def _digit(data: bytearray, chance: random.Random) -> None:
    """Another digit in a text, so that numbers and lengths change and the text stays one."""
    places = [at for at, code in enumerate(data) if 0x30 <= code <= 0x39]  # noqa: PLR2004 - ASCII digits
    if places:
        data[chance.choice(places)] = 0x30 + chance.randrange(10)


_CHANGES: tuple[Change, ...] = (_flip, _set, _number, _word, _word, _delete, _repeat, _digit)
