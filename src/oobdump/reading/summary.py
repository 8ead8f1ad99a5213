"""What a person wants to know of an array: least, largest, mean, how many NaN, the first values.

In: an array's dtype, shape and bytes, in pieces. Out: ``Summary``. Reads a bounded number of
elements and says how many, so that a tensor of any size is shown in about a second. Only this
module computes anything of an array, in plain Python, at the speed of ``Counter`` where it can.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from oobdump.reading.elements import Element, element

__all__ = ["MAX_ELEMENTS", "Summary", "elements_of", "summarise"]

MAX_ELEMENTS = 2**22
"""Of one array. Four million 32-bit floats take 0.5 to 1 s here; all arrays of a part share the child's time."""

FIRST = 8
"""Values shown of each array: enough to tell zeros from weights."""

_PIECE = 2**16
"""Elements at a time: a quarter of a megabyte of Python floats would be two."""

_TABLE_BYTES = 2
"""Elements of up to 16 bits have at most 65,536 values: counting them is five times quicker than reading them."""


@dataclass
class _Running:
    """What has been seen so far."""

    seen: int = 0
    nan: int = 0
    infinite: int = 0
    least: Any = None
    largest: Any = None
    sums: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    """What is told of one array; ``least``, ``largest`` and ``mean`` are texts, empty where they mean nothing."""

    count: int
    seen: int
    nan: int | None
    infinite: int
    least: str
    largest: str
    mean: str
    first: tuple[str, ...]

    @property
    def line(self) -> str:
        """All of it on one line."""
        words = [f"{name} {text}" for name, text in (("min", self.least), ("max", self.largest)) if text]
        words += [f"mean {self.mean}"] * bool(self.mean)
        words += [] if self.nan is None else [f"NaN {self.nan:,}"]
        words += [f"infinite {self.infinite:,}"] * bool(self.infinite)
        if self.seen < self.count and words:
            words.append(f"(of the first {self.seen:,} of {self.count:,})")
        dots = ["…"] * (len(self.first) < self.count)
        return f"{' '.join(words)} [{', '.join([*self.first, *dots])}]".strip()


def elements_of(shape: Sequence[int]) -> int:
    """How many elements an array of that shape has."""
    return math.prod(shape)


def summarise(dtype: object, shape: Sequence[int], data: bytes | memoryview, size: int | None = None) -> Summary | None:
    """What is told of an array; None if its dtype is unknown, or its bytes are not as many as its shape says.

    ``size`` is how many bytes there are where ``data`` is only the beginning of them.
    """
    found = element(dtype)
    count = elements_of(shape)
    if found is None or count * found.size != (len(data) if size is None else size):
        return None
    view = memoryview(data).cast("B")
    first = tuple(map(text_of, found.read(bytes(view[: FIRST * found.size]))))
    if found.kind == "other":
        return Summary(count, 0, None, 0, "", "", "", first)
    running = _Running()
    taken = min(count, len(view) // found.size, MAX_ELEMENTS)
    for values, weights in _pieces(found, view[: taken * found.size]):
        _count_in(running, values, weights, found.kind)
    mean = _mean(running) if found.kind != "moment" else ""
    least, largest = ("" if each is None else text_of(each) for each in (running.least, running.largest))
    return Summary(count, running.seen, running.nan, running.infinite, least, largest, mean, first)


def text_of(value: Any) -> str:
    """One element as a person reads it."""
    if value is None:
        return "NaT"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, complex):
        return f"{value:.6g}"
    return repr(value) if isinstance(value, (bytes, str)) and not _is_shown(value) else str(value)


def _is_shown(value: object) -> bool:
    """Texts that this package made of a number (a time, a hexadecimal byte) have no quotes."""
    return isinstance(value, str) and value[:1].isdigit()


def _pieces(found: Element, view: memoryview) -> Iterator[tuple[Sequence[Any], Sequence[int] | None]]:
    """Elements, and how often each one is there (None: once)."""
    step = _PIECE * found.size
    if found.size > _TABLE_BYTES or found.kind == "complex":
        for at in range(0, len(view), step):
            yield found.read(bytes(view[at : at + step])), None
        return
    counts: Counter[Any] = Counter()
    for at in range(0, len(view), step):
        piece = view[at : at + step]
        counts.update(piece if found.size == 1 else piece.cast("H"))
    if counts:
        codes = (code.to_bytes(found.size, _NATIVE) for code in counts)
        yield found.read(b"".join(codes)), list(counts.values())


_NATIVE: Any = "little" if memoryview(b"\1\0").cast("H")[0] == 1 else "big"


def _count_in(running: _Running, values: Sequence[Any], weights: Sequence[int] | None, kind: str) -> None:
    if weights is None and kind == "number" and math.isfinite(total := _sum(values)):
        return _note(running, len(values), total, values)  # neither NaN nor infinity: at C speed
    each = list(zip(values, weights or itertools.repeat(1), strict=weights is not None))
    count = len(values) if weights is None else sum(weights)
    kept = [(value, weight) for value, weight in each if value is not None and value == value]  # noqa: PLR0124 - NaN
    running.nan += count - sum(weight for _, weight in kept)
    running.infinite += _infinite(kept)
    part = 0 if kind == "moment" else _sum([value * weight for value, weight in kept])
    return _note(running, count, part, [] if kind == "complex" else [value for value, _ in kept])


def _note(running: _Running, count: int, total: Any, ordered: Sequence[Any]) -> None:
    running.seen += count
    running.sums.append(total)
    if ordered:
        least, largest = min(ordered), max(ordered)
        running.least = least if running.least is None else min(least, running.least)
        running.largest = largest if running.largest is None else max(largest, running.largest)


def _infinite(kept: Sequence[tuple[Any, int]]) -> int:
    if not kept or not isinstance(kept[0][0], float):
        return 0
    return sum(weight for value, weight in kept if value in (math.inf, -math.inf))


def _sum(values: Sequence[Any]) -> Any:
    """Exact for integers, correctly rounded for floats."""
    if not values or not isinstance(values[0], float):
        return sum(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # beyond what a float holds; infinities of both signs
        return sum(values)


def _mean(running: _Running) -> str:
    known = running.seen - running.nan
    if not known:
        return ""
    total = _sum(running.sums)
    try:
        return text_of(total / known)
    except OverflowError:
        return ""
