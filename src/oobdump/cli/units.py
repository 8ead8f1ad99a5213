"""Spans of time and sizes, as people write and read them; pure.

In: ``7d``, ``10G``, numbers. Out: seconds and bytes, and back as short texts. Only this module
knows the units; a size's are powers of 1024.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["age", "parse_bytes", "parse_seconds", "size"]

_SECONDS: Mapping[str, float] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES: Mapping[str, int] = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)

_PRECISE_BELOW = 10
"""``9.9 MB``, but ``10 MB``: a tenth tells nothing of a larger number."""

_AGES = ((60, 1, "s"), (3600, 60, "min"), (2 * 86400, 3600, "h"), (float("inf"), 86400, "d"))


def parse_seconds(text: str) -> float:
    """``90``, ``30m``, ``12h``, ``7d``, ``2w``. Raises ``ValueError`` that says what would be right."""
    found = _NUMBER.fullmatch(text.strip().lower())
    if found is None or found[2] not in _SECONDS:
        raise ValueError(f"{text!r} is no span of time: write it as 90s, 30m, 12h, 7d or 2w")
    return float(found[1]) * _SECONDS[found[2]]


def parse_bytes(text: str) -> int:
    """``1000``, ``500M``, ``10G``, ``10GiB``. Raises ``ValueError`` that says what would be right."""
    found = _NUMBER.fullmatch(text.strip().lower())
    unit = "?" if found is None else found[2].removesuffix("b").removesuffix("i")
    if found is None or unit not in _BYTES:
        raise ValueError(f"{text!r} is no size: write it as 1000, 500M or 10G")
    return int(float(found[1]) * _BYTES[unit])


def size(count: int) -> str:
    """``512 B``, ``1.5 KB``, ``12 MB``."""
    value, unit = float(count), "B"
    for larger in ("KB", "MB", "GB", "TB", "PB"):
        if round(value) < 1000:  # noqa: PLR2004 - so that no number has four digits
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "B" and round(value, 1) < _PRECISE_BELOW else f"{value:.0f} {unit}"


def age(seconds: float) -> str:
    """``12 s``, ``5 min``, ``3 h``, ``9 d``; what is ahead of this machine's clock is ``0 s``."""
    seconds = max(0.0, seconds)
    for below, unit_s, unit in _AGES:
        if seconds < below:
            return f"{seconds / unit_s:.0f} {unit}"
    return "?"
