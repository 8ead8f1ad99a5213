"""The numbers in an array's bytes, by the name of its dtype, with the standard library alone.

In: a dtype as numpy (``<f4``) or PyTorch (``bfloat16``) writes it, and bytes, C order. Out: an
``Element``: how large one is, and a function from bytes to Python numbers, texts or bytes.
Only this module knows dtypes; numpy and torch are never imported to show what they made.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

__all__ = ["Element", "Values", "element"]

Values = Sequence[Any]


@dataclass(frozen=True)
class Element:
    """One element: its bytes, what reads many of them, and whether least, largest and mean say something of it."""

    size: int
    read: Callable[[bytes], Values]
    kind: str = "number"
    """``number``, ``complex``, ``moment`` (ordered, no mean) or ``other`` (neither)."""


def element(dtype: object) -> Element | None:
    """How to read elements of that dtype; None if nobody here knows it."""
    if type(dtype) is dict:
        return _structured(dtype)
    if type(dtype) is not str:
        return None
    name = dtype.removeprefix("torch.")
    known = _NAMED.get(name)
    if known is not None:
        return known
    match = _NUMPY.fullmatch(name)
    return None if match is None else _numpy(match["order"], match["code"], int(match["size"] or 0), match["unit"])


# -- plain numbers ---------------------------------------------------------------------------------------------------


def _packed(code: str, order: str = "<") -> Element:
    """Numbers that ``struct`` has a letter for; those of ``array`` are read at once."""
    size = struct.calcsize(f"{order}{code}")

    def read(data: bytes) -> Values:
        if code in "e?":  # letters that `array` does not have
            return struct.unpack(f"{order}{len(data) // size}{code}", data)
        numbers = array(code, data)
        if (order == ">") != (sys.byteorder == "big"):
            numbers.byteswap()
        return numbers

    return Element(size, read)


def _pairs(half: Element) -> Element:
    def read(data: bytes) -> Values:
        numbers = half.read(data)
        return [complex(real, imag) for real, imag in zip(numbers[::2], numbers[1::2], strict=True)]

    return Element(2 * half.size, read, "complex")


def _bfloat16(data: bytes) -> Values:
    """The upper halves of 32-bit floats."""
    whole = bytearray(2 * len(data))
    whole[2::4], whole[3::4] = data[::2], data[1::2]
    return _packed("f").read(bytes(whole))


# -- eight bits and fewer: tables of 256 ------------------------------------------------------------------------------


def _small_float(exponent_bits: int, bias: int, *, special: Callable[[int], float | None]) -> tuple[float, ...]:
    """All values of a sign, an exponent and a mantissa in eight bits; ``special`` knows codes that are no numbers."""
    mantissa_bits = 7 - exponent_bits

    def value(code: int) -> float:
        found = special(code)
        if found is not None:
            return found
        exponent, mantissa = (code & 0x7F) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        scaled = mantissa / (1 << mantissa_bits) + (1 if exponent else 0)
        return math.copysign(math.ldexp(scaled, (exponent or 1) - bias), -1.0 if code & 0x80 else 1.0)

    return tuple(map(value, range(256)))


_NAN = float("nan")


def _ieee_e5m2(code: int) -> float | None:
    """Infinities and NaN as IEEE 754 has them: the largest exponent."""
    if code & 0x7F == 0x7C:  # noqa: PLR2004 - the code of infinity
        return -math.inf if code & 0x80 else math.inf
    return _NAN if code & 0x7C == 0x7C else None  # noqa: PLR2004


def _table(values: tuple[float, ...]) -> Element:
    return Element(1, lambda data: [values[code] for code in data])


_E8M0 = tuple(_NAN if code == 255 else 2.0 ** (code - 127) for code in range(256))  # noqa: PLR2004
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def _two_a_byte(data: bytes) -> Values:
    """Two 4-bit floats a byte, the lower half first: they are shown as pairs, as the shape counts bytes."""
    return [(_E2M1[code & 15], _E2M1[code >> 4]) for code in data]


_NEGATIVE_ZERO_IS_NAN = {0x80: _NAN}.get

_FLOAT8 = {
    "float8_e4m3fn": _small_float(4, 7, special=lambda code: _NAN if code in (0x7F, 0xFF) else None),
    "float8_e4m3fnuz": _small_float(4, 8, special=_NEGATIVE_ZERO_IS_NAN),
    "float8_e5m2": _small_float(5, 15, special=_ieee_e5m2),
    "float8_e5m2fnuz": _small_float(5, 16, special=_NEGATIVE_ZERO_IS_NAN),
    "float8_e8m0fnu": _E8M0,
}

_RAW = Element(1, lambda data: [f"0x{code:02x}" for code in data], "other")

_NAMED: Mapping[str, Element] = MappingProxyType(
    {
        "bool": _packed("?"),
        "uint8": _packed("B"),
        "int8": _packed("b"),
        "uint16": _packed("H"),
        "int16": _packed("h"),
        "uint32": _packed("I"),
        "int32": _packed("i"),
        "uint64": _packed("Q"),
        "int64": _packed("q"),
        "float16": _packed("e"),
        "half": _packed("e"),
        "bfloat16": Element(2, _bfloat16),
        "float32": _packed("f"),
        "float64": _packed("d"),
        "complex32": _pairs(_packed("e")),
        "complex64": _pairs(_packed("f")),
        "complex128": _pairs(_packed("d")),
        "float4_e2m1fn_x2": Element(1, _two_a_byte, "other"),
        "quint8": _packed("B"),
        "qint8": _packed("b"),
        "qint32": _packed("i"),
        "bits16": Element(2, lambda data: [f"0x{number:04x}" for number in _packed("H").read(data)], "other"),
        **{name: _table(values) for name, values in _FLOAT8.items()},
        **{f"{sign}int{bits}": _RAW for sign in ("", "u") for bits in range(1, 8)},
        **dict.fromkeys(("bits8", "bits1x8", "bits2x4", "bits4x2", "quint4x2", "quint2x4"), _RAW),
    }
)
"""PyTorch's names; those below a byte are shown as the bytes they are packed in."""


# -- numpy's names -----------------------------------------------------------------------------------------------------

_NUMPY = re.compile(r"(?P<order>[<>|=])(?P<code>[a-zA-Z?])(?P<size>\d{0,9})(?:\[(?P<unit>[0-9a-zA-Zμ]+)\])?")
_NUMPY_NUMBERS = {
    **{f"i{size}": code for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))},
    **{f"u{size}": code for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))},
    **{f"f{size}": code for size, code in ((2, "e"), (4, "f"), (8, "d"))},
    "b1": "?",
}
_EXTENDED_BYTES = 16
"""numpy's ``longdouble`` on x86-64: ten bytes of an 80-bit float, and six of padding."""


def _numpy(order: str, code: str, size: int, unit: str | None) -> Element | None:
    order = ">" if order == ">" else "<"
    number = _NUMPY_NUMBERS.get(f"{code}{size}")
    if number is not None:
        return _packed(number, order)
    if code == "c" and size in (8, 16):
        return _pairs(_packed("f" if size == 8 else "d", order))  # noqa: PLR2004
    if code == "f" and size == _EXTENDED_BYTES:
        return Element(size, lambda data: [_extended(data[at : at + 10]) for at in range(0, len(data), size)])
    if code == "c" and size == 2 * _EXTENDED_BYTES:
        half = Element(16, lambda data: [_extended(data[at : at + 10]) for at in range(0, len(data), 16)])
        return _pairs(half)
    if code in "mM":
        return Element(8, lambda data: _moments(data, order, code, unit or ""), "moment")
    return _texts(order, code, size)


def _texts(order: str, code: str, size: int) -> Element | None:
    if code in "SaV" and size:
        return Element(size, lambda data: [data[at : at + size] for at in range(0, len(data), size)], "other")
    if code == "U" and size:
        name = "utf-32-be" if order == ">" else "utf-32-le"
        step = 4 * size

        def read(data: bytes) -> Values:
            pieces = (data[at : at + step] for at in range(0, len(data), step))
            return [piece.decode(name, "backslashreplace").rstrip("\0") for piece in pieces]

        return Element(step, read, "other")
    return None


def _repeated(dtype: Mapping[str, Any]) -> Element | None:
    """A small array as an element: a tuple."""
    base, shape = element(dtype["base"]), dtype.get("shape")
    if base is None or type(shape) is not list or not all(type(each) is int and each > 0 for each in shape):
        return None
    size = base.size * math.prod(shape)
    read = base.read
    return Element(size, lambda data: [tuple(read(data[at : at + size])) for at in range(0, len(data), size)], "other")


def _structured(dtype: Mapping[str, Any]) -> Element | None:
    """Records: each is a tuple of its fields, in the order of their names."""
    if "base" in dtype:
        return _repeated(dtype)
    names, formats, offsets = dtype.get("names"), dtype.get("formats"), dtype.get("offsets")
    size = dtype.get("itemsize")
    if type(formats) is not list or type(offsets) is not list or type(size) is not int or size < 1:
        return None
    found = [element(each) for each in formats]
    fields = [(of, at) for of, at in zip(found, offsets, strict=False) if of is not None and type(at) is int]
    fits = all(0 <= at <= size - of.size for of, at in fields)
    if type(names) is not list or not len(fields) == len(formats) == len(offsets) == len(names) or not fits:
        return None

    def read(data: bytes) -> Values:
        return [_record(data[at : at + size], fields) for at in range(0, len(data), size)]

    return Element(size, read, "other")


def _record(data: bytes, fields: Sequence[tuple[Element, int]]) -> tuple[Any, ...]:
    return tuple(of.read(data[at : at + of.size])[0] for of, at in fields)


def _extended(data: bytes) -> float:
    """An 80-bit float, rounded to 64 bits."""
    mantissa, head = struct.unpack("<QH", data)
    sign, exponent = (-1.0 if head & 0x8000 else 1.0), head & 0x7FFF
    if exponent == 0x7FFF:  # noqa: PLR2004 - infinity and NaN
        return sign * math.inf if not mantissa << 1 & 0xFFFFFFFFFFFFFFFF else _NAN
    try:
        return sign * math.ldexp(mantissa, exponent - 16383 - 63)
    except OverflowError:
        return sign * math.inf


_NOT_A_TIME = -(2**63)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - numpy's times have no zone
_UNITS_US = {"D": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}


def _moments(data: bytes, order: str, code: str, unit: str) -> Values:
    """ISO times where the unit is one that Python's can hold; else the number and its unit. NaT is None."""
    return [_moment(number, code, unit) for number in _packed("q", order).read(data)]


def _moment(number: int, code: str, unit: str) -> str | None:
    if number == _NOT_A_TIME:
        return None
    try:
        if code == "M" and unit in _UNITS_US:
            return (_EPOCH + timedelta(microseconds=number * _UNITS_US[unit])).isoformat()
        if code == "M" and unit == "ns":
            seconds, left = divmod(number, 1_000_000_000)
            return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{left:09d}"
    except OverflowError:
        pass
    return f"{number} {unit}".strip()
