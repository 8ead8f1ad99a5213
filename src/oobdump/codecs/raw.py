"""Bytes that need not be copied: the data of an array, and where a document keeps it.

In: a buffer that somebody else owns. Out: ``Raw``, which stands for it in a body; and for each
way to keep it a ``Bulk``, which is told of every ``Raw`` in a document and says what is written
in its place. Only this module knows from which size on data is bulk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["MAX_INLINE_BYTES", "MIN_BULK_BYTES", "Aside", "Bulk", "Inline", "Raw", "Reference"]

MIN_BULK_BYTES = 2**14
"""Above 16 KiB a copy, or base64, costs more than a reference does."""

MAX_INLINE_BYTES = 2**26
"""Of one array in a text document that has no side part; 64 MiB are 85 MiB of base64."""


class Raw:
    """A buffer in a body. ``data`` is a flat view of bytes, which keeps alive what owns them."""

    __slots__ = ("data",)

    def __init__(self, data: memoryview) -> None:
        self.data = data


@dataclass(frozen=True)
class Reference:
    """Where bulk data is, as far as a reader knows that was not given it: in the side part, from ``offset`` on."""

    offset: int
    size: int


class Bulk(Protocol):
    """Where the bulk data of one document goes."""

    pieces: list[memoryview]

    def place(self, raw: Raw) -> int | None:
        """Takes the data, and says at which offset it will be; None if it is to be written in its place."""


class Inline:
    """Everything in its place."""

    def __init__(self) -> None:
        self.pieces: list[memoryview] = []

    def place(self, raw: Raw) -> int | None:  # noqa: ARG002 - of the protocol
        """Nothing is taken."""
        return None


class Aside:
    """What is large goes to one place, each after the other."""

    def __init__(self) -> None:
        self.pieces: list[memoryview] = []
        self._end = 0

    def place(self, raw: Raw) -> int | None:
        """Takes what is large."""
        if len(raw.data) < MIN_BULK_BYTES:
            return None
        offset = self._end
        self.pieces.append(raw.data)
        self._end += len(raw.data)
        return offset
