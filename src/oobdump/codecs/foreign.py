"""Types that are not the standard library's: of numpy and torch, where they are loaded, and registered ones.

In: a class, or the name of a kind and its body. Out: its row of the table, or None; the value. numpy
and torch are looked up among the loaded modules and never imported. Only this module holds what
users registered, and says what is read where nobody knows a kind: an ``Array``, or a mark of kind
``UNKNOWN`` that any codec writes again as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from oobdump.codecs import numpy_kinds, torch_kinds
from oobdump.codecs.arrays import ARRAY_KINDS, array_from
from oobdump.codecs.marked import Marked
from oobdump.errors import CodecError

__all__ = ["UNKNOWN", "Foreign", "Rows", "kind_of", "register_type", "registered", "revive", "unregister_type"]

UNKNOWN = "converted"
"""The kind of a mark that stands for a value of a kind with a dot in its name that nobody here knows."""


@dataclass(frozen=True)
class Foreign:
    """One row: as ``kind.Kind``, under a name of its own."""

    name: str
    to_body: Callable[[Any], object]
    from_body: Callable[[Any], object]


@dataclass(frozen=True)
class Rows:
    """What one module's types are: by ``id(type)``, and back by name."""

    module: object
    by_type: Mapping[int, Foreign]
    by_name: Mapping[str, Callable[[Any], object]]


_LIBRARIES: Mapping[str, Any] = {"numpy": numpy_kinds, "torch": torch_kinds}
_rows: dict[str, Rows] = {}
_registered: dict[int, Foreign] = {}
_registered_names: dict[str, tuple[type, Foreign]] = {}  # keeps the classes alive: their ids are keys


def _library(name: str) -> Rows | None:
    """The rows of a library, if it is loaded; made when it is first seen whole."""
    module = sys.modules.get(name)
    found = _rows.get(name)
    if module is None or (found is not None and found.module is module):
        return found if module is not None else None
    if type(module) is not ModuleType:
        return None
    made = _LIBRARIES[name].rows(module)
    if made is None:  # its import has not ended
        return None
    kinds, revivers = made
    by_type = {key: Foreign(kind, to_body, revivers[kind]) for key, (kind, to_body) in kinds.items()}
    found = _rows[name] = Rows(module, by_type, revivers)
    return found


def kind_of(cls: type) -> Foreign | None:
    """The row of a class that is not of the standard library; None if there is none."""
    key = id(cls)
    found = _registered.get(key)
    if found is not None:
        return found
    for name in _LIBRARIES:
        rows = _library(name)
        if rows is not None and key in rows.by_type:
            return rows.by_type[key]
    return None


def revive(name: str, body: object) -> object:
    """The value of a kind that the standard table does not have. Raises ``KeyError`` for one that nobody may have."""
    if name in _registered_names:
        try:
            return _registered_names[name][1].from_body(body)
        except Exception as error:  # noqa: BLE001 - a user's function, perhaps for a body that was cut
            return Marked(UNKNOWN, name, body, f"its converter raised {type(error).__name__}")
    for library in _LIBRARIES:
        rows = _library(library)
        if rows is not None and name in rows.by_name:
            return rows.by_name[name](body)
    if name in ARRAY_KINDS:
        return array_from(name, body)
    if "." in name:
        return Marked(UNKNOWN, name, body, "nothing here knows this kind")
    raise KeyError(name)


def register_type(cls: type, name: str, to_plain: Callable[[Any], object], from_plain: Callable[[Any], object]) -> None:
    """Has objects of exactly this class written as what ``to_plain`` gives, under a name with a dot in it.

    ``to_plain`` runs in the worker while it answers, under the part's deadline; whatever it raises makes a
    placeholder. Raises ``CodecError`` for a name without a dot, or one that another class has.
    """
    if type(name) is not str or "." not in name.strip(".") or not name.isprintable():
        raise CodecError(f"{name!r:.100} cannot be the name of a kind: write the package's name, a dot, and the type's")
    held = _registered_names.get(name)
    if held is not None and held[0] is not cls:
        raise CodecError(f"the kind {name} is that of {held[0].__qualname__} already: choose another name")
    row = Foreign(name, to_plain, from_plain)
    _registered_names[name] = (cls, row)
    _registered[id(cls)] = row


def unregister_type(name: str) -> None:
    """Forgets it; nothing happens if nobody registered it."""
    held = _registered_names.pop(name, None)
    if held is not None:
        _registered.pop(id(held[0]), None)


def registered() -> tuple[str, ...]:
    """The names of the kinds that were registered."""
    return tuple(_registered_names)
