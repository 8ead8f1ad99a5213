"""One row of the table of types: what a value's body is, and the way back.

In: nothing. Out: ``Kind``, and checks of a body that was read: ``tuple("ab")`` would be a value too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oobdump.codecs import peek

__all__ = ["Kind", "flat", "items_in", "numbers_in", "pairs_in", "text_in"]


@dataclass(frozen=True)
class Kind:
    """One row: the exact type, its body in simpler values, the way back, an example."""

    cls: type
    to_body: Callable[[Any], object]
    from_body: Callable[[Any], object]
    example: object

    @property
    def name(self) -> str:
        """The type's name, which is the kind's."""
        return self.cls.__name__


def text_in(body: object) -> str:
    """A body that is text."""
    if type(body) is not str:
        raise ValueError("its body is not text")
    return body


def items_in(body: object) -> list[Any]:
    """A body that is a list."""
    if type(body) is not list:
        raise ValueError("its body is not a list")
    return body


def numbers_in(body: object) -> list[Any]:
    """A body that is a list of numbers."""
    if any(type(item) not in (int, float) for item in items_in(body)):
        raise ValueError("its body is not a list of numbers")
    return items_in(body)


def flat(value: dict[Any, Any]) -> list[Any]:
    """Keys and values in turn, for a dict whose keys no map of a format can hold."""
    return [part for pair in peek.items_of(value) for part in pair]


def pairs_in(body: object) -> dict[Any, Any]:
    """The dict that was written so."""
    items = items_in(body)
    found = dict(zip(items[::2], items[1::2], strict=True))
    if 2 * len(found) != len(items):
        raise ValueError("a key comes twice")
    return found
