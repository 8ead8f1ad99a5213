"""Names from files, made safe for a terminal and measured in its cells.

In: any text, whoever wrote it. Out: text of printable characters only, of a known width.
The rule only this module keeps: nothing that moves a cursor, changes a colour, reverses the
direction of reading or cannot be encoded reaches a line of a report.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["cells", "clip", "clip_left", "harmless", "wrap"]

ELLIPSIS = "…"

MAX_CHARS = 1_000
"""What is looked at of one text: no line shows as much, and a name from a file may have megabytes."""

_ASCII_ESCAPE = 0x100
_BMP_ESCAPE = 0x10000


def harmless(text: str) -> str:
    r"""``text`` with everything unprintable as its escape (``\x1b``), and long texts cut in the middle."""
    if len(text) > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + ELLIPSIS + text[-MAX_CHARS // 2 :]
    return text if text.isprintable() else "".join(map(_escaped, text))


def cells(text: str) -> int:
    """How many cells a terminal gives to ``text`` at most: East Asian wide characters take two."""
    return len(text) if text.isascii() else sum(map(_width, text))


def clip(text: str, room: int) -> str:
    """``text``, or its beginning and an ellipsis, in at most ``room`` cells."""
    return text if cells(text) <= room else _head(text, room - 1) + ELLIPSIS[: max(room, 0)]


def clip_left(text: str, room: int) -> str:
    """``text``, or an ellipsis and its end, in at most ``room`` cells."""
    return text if cells(text) <= room else ELLIPSIS[: max(room, 0)] + _head(text[::-1], room - 1)[::-1]


def wrap(text: str, width: int, *, indent: str = "  ") -> Iterator[str]:
    """``text`` in lines of at most ``width`` cells, broken at spaces where it has any."""
    line = text
    while cells(line) > width:
        head = _head(line, width)
        space = head.rfind(" ")
        cut = space if space > len(indent) else max(len(head), len(indent) + 1)
        yield line[:cut]
        line = indent + line[cut:].lstrip(" ")
    yield line


def _head(text: str, room: int) -> str:
    """The longest beginning of ``text`` in ``room`` cells."""
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > room:
            return text[:index]
    return text


def _width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if code < _ASCII_ESCAPE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _BMP_ESCAPE else f"\\U{code:08x}"
