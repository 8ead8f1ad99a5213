"""One look at a value, at C speed, to tell whether a C encoder can be given it as it is.

In: any object and a budget. Out: how many items it has, or None. ``size`` is for an encoder that
hands over each value that it does not know exactly (msgpack's): it asks only whether there is an
end, as what is shared is written out again and again (a graph as nested lists: 2**n), and C code
cannot be stopped. ``plain_size`` is for json's, which calls ``items()`` of subclasses and writes
tuples as lists and keys as strings without a word. ``has_buffers`` finds what msgpack writes as
bytes without a word. Neither runs any code of a foreign type.
Only this module decides that a value needs no walk.
"""

from __future__ import annotations

import gc
from itertools import chain
from typing import Any

from oobdump.codecs.budget import Budget

__all__ = ["has_buffers", "plain_size", "size"]

_ALWAYS_SORTED = 64
"""Items of a level from which sorting it costs something."""

_SMALL_SHARE = 4
"""A level of less than a quarter of all items so far is sorted, which costs little beside the others."""


def size(value: object, budget: Budget) -> int | None:
    """How many items the value has in plain lists and dicts, if that and the depth are within the budget.

    Never too few; too many where it also counts what odd objects of a large level refer to.
    """
    level, items = [value], 0
    for _ in range(budget.depth + 1):
        if len(level) < _ALWAYS_SORTED or _SMALL_SHARE * len(level) < items:
            level = [child for child in level if (cls := type(child)) is dict or cls is list]
        if not level:
            return items
        level = gc.get_referents(*level)  # their keys and values: a C loop that calls nobody
        items += len(level)
        if items > budget.items:
            return None
    return None


def plain_size(value: object, budget: Budget) -> int | None:
    """As ``size``, exactly; and None unless all is str, int, float, bool, None, list, or dict with keys of str.

    May raise ``RuntimeError`` if the value changes meanwhile: then it is not plain either.
    """
    level, items = [value], 0
    for _ in range(budget.depth + 1):
        # `is`, one by one, not a set of types: hashing or comparing a class can run its metaclass.
        inner = [
            child
            for child in level
            if (cls := type(child)) is not str
            and cls is not int
            and cls is not float
            and cls is not bool
            and child is not None
        ]
        if not inner:
            return items
        if not _are_plain(inner):
            return None
        level = gc.get_referents(*inner)
        items += len(level)
        if items > budget.items:
            return None
    return None


def _are_plain(inner: list[Any]) -> bool:
    """Whether all are lists, and dicts whose keys are strings: ``join`` takes nothing else."""
    dicts = [child for child in inner if type(child) is dict]
    if len(dicts) < len(inner) and [1 for child in inner if (cls := type(child)) is not dict and cls is not list]:
        return False
    try:
        "".join(chain.from_iterable(dicts))
    except TypeError:
        return False
    return True


def has_buffers(value: object, budget: Budget) -> bool:
    """Whether there is a bytearray or a memoryview among its plain lists and dicts, or it never ends."""
    level = [value]
    for _ in range(budget.depth + 1):
        if [1 for child in level if (cls := type(child)) is bytearray or cls is memoryview]:
            return True
        level = [child for child in level if (cls := type(child)) is dict or cls is list]
        if not level:
            return False
        level = gc.get_referents(*level)
    return True
