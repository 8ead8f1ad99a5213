"""One look at a value, at C speed, to tell whether a C encoder can be given it as it is.

In: any object and ``Plain`` (what the encoder writes without loss). Out: yes or no. Yes means
exact types only, no cycle, and within the budgets of ``model``.
It comes before every C encoder that has no such rule of its own: those call ``items()`` and
``__iter__`` of subclasses, write tuples as lists and keys as strings without a word, write out
what is shared again and again (a graph as nested dicts: 2**n), and can overflow a small C stack.
Only this module decides that a value needs no walk; a third to a half of a walk's time is its price.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from oobdump.codecs import model

__all__ = ["Plain", "any_keys", "is_plain", "text_keys"]


@dataclass(frozen=True)
class Plain:
    """What an encoder writes without loss, beside str, int, float, bool, None, list and dict.

    ``types`` are ids of further types, ``keys_fit`` says of exact dicts whether it can write their keys.
    """

    types: frozenset[int]
    keys_fit: Callable[[list[dict[Any, Any]]], bool]


def any_keys(_: list[dict[Any, Any]]) -> bool:
    """For a format whose maps take keys of each type that needs no walk."""
    return True


def text_keys(dicts: list[dict[Any, Any]]) -> bool:
    """Whether all keys are strings, at C speed: ``join`` takes nothing else (subclasses: see ``is_plain``)."""
    try:
        "".join(chain.from_iterable(dicts))
    except TypeError:
        return False
    return True


def is_plain(value: object, plain: Plain) -> bool:
    """Whether a C encoder can be given the value as it is. Looks at a whole level at a time.

    May raise ``RuntimeError`` if the value changes meanwhile: then it is not plain either.
    """
    level, items = [value], 1
    for _ in range(model.MAX_DEPTH + 1):
        dicts, lists, odd = _sort(level)
        if odd and not plain.types.issuperset(map(id, map(type, odd))):
            return False
        items += 2 * sum(map(len, dicts)) + sum(map(len, lists))
        if items > model.MAX_ITEMS or not plain.keys_fit(dicts):
            return False
        if not dicts and not lists:
            return True
        level = gc.get_referents(*dicts, *lists)  # their keys and values: a C loop that calls nobody
    return False


def _sort(level: list[Any]) -> tuple[list[dict[Any, Any]], list[list[Any]], list[Any]]:
    """The dicts, the lists, and what is neither one of these nor of the five plain types."""
    # `is`, one by one, not a set of types: hashing or comparing a class can run its metaclass.
    rest = [
        value
        for value in level
        if (cls := type(value)) is not str
        and cls is not int
        and cls is not float
        and cls is not bool
        and value is not None
    ]
    dicts = [value for value in rest if type(value) is dict]
    lists = [value for value in rest if type(value) is list]
    if len(dicts) + len(lists) == len(rest):
        return dicts, lists, []
    return dicts, lists, [value for value in rest if type(value) is not dict and type(value) is not list]
