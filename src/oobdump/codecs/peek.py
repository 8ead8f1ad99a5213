"""What can be told of an object without running any code of its class.

In: any object. Out: its class's name and ancestors, its attributes as they lie in memory, and
the plain value inside an instance of a subclass of ``dict``, ``str`` and the like.
Only this module looks inside foreign objects, and it keeps this rule: every read goes through a
C descriptor of a built-in type, fetched here once. ``getattr``, ``isinstance``, ``repr``,
``len``, ``==`` and hashing could all run a method of the object, of its class or of its
metaclass, and that method may hang.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

__all__ = [
    "ABSENT",
    "MAX_NAME_CHARS",
    "MAX_TRIES",
    "attributes",
    "clean",
    "inherited",
    "is_kind_of",
    "items_of",
    "lineage",
    "plain_base",
    "referent",
    "slot",
    "text_of",
    "type_name",
]

MAX_NAME_CHARS = 500
"""Far above any name that a person wrote; a generated one may be a megabyte."""

MAX_TRIES = 5
"""A dict that another thread resizes five times within as many copies is not going to hold still."""

ABSENT: Final = object()
"""What a look-up gives that found nothing (None is a value)."""

_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: made by a class statement, so that its dict holds its ``__module__``."""

# Any: typeshed has no types for these descriptors.
_MRO: Any = type.__dict__["__mro__"]
_VARS: Any = type.__dict__["__dict__"]
_QUALNAME: Any = type.__dict__["__qualname__"]
_MODULE: Any = type.__dict__["__module__"]
_FLAGS: Any = type.__dict__["__flags__"]


def clean(text: str) -> str:
    """The text, cut to a name's length, with lone surrogates made visible: any format can hold it."""
    return text[:MAX_NAME_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(value: object) -> str:
    """A name that should be a string: cleaned if it is one, ``?`` if somebody put another thing there."""
    return clean(value) if type(value) is str else "?"


def lineage(cls: type) -> tuple[type, ...]:
    """The class and its ancestors, in method resolution order."""
    found: tuple[type, ...] = _MRO.__get__(cls)
    return found


def is_kind_of(value: object, base: type) -> bool:
    """``isinstance``, from the object's real class alone: no ``__class__``, no ``__instancecheck__``."""
    return any(cls is base for cls in lineage(type(value)))


def items_of(value: Any, limit: int | None = None) -> list[tuple[Any, Any]]:
    """The first items of a dict, of a subclass too, as they lie in memory.

    Raises ``RuntimeError`` if it is resized each time: a copy may run the garbage collector.
    """
    for _ in range(MAX_TRIES - 1):
        try:
            return list(islice(dict.items(value), limit))
        except RecursionError:
            raise
        except RuntimeError:
            continue
    return list(islice(dict.items(value), limit))


def _own(cls: type, name: str) -> object:
    """A name of the class's own dict. Not by look-up: a key of it may be a string with its own ``__eq__``."""
    for key, value in list(_VARS.__get__(cls).items()):
        if type(key) is str and key == name:
            return value
    return ABSENT


def inherited(cls: type, name: str) -> object:
    """A name as the class statement left it, the class's own or an ancestor's; ``ABSENT`` if none has it."""
    for ancestor in lineage(cls):
        found = _own(ancestor, name)
        if found is not ABSENT:
            return found
    return ABSENT


def type_name(cls: type) -> str:
    """``module.qualname``, cleaned."""
    module = _own(cls, "__module__") if _FLAGS.__get__(cls) & _HEAP_TYPE else _MODULE.__get__(cls)
    return clean(f"{text_of(module)}.{str.__str__(_QUALNAME.__get__(cls))}")


def attributes(value: object) -> dict[str, object]:
    """The instance's own dict as it lies in memory (keys that are not plain strings left out)."""
    for cls in lineage(type(value)):
        getter = _own(cls, "__dict__")
        if type(getter) is types.GetSetDescriptorType:
            return {key: item for key, item in items_of(getter.__get__(value)) if type(key) is str}
    return {}


def slot(value: object, name: str) -> object:
    """What a ``__slots__`` entry holds; ``ABSENT`` if there is no such slot or it is empty."""
    member = inherited(type(value), name)
    if type(member) is not types.MemberDescriptorType:
        return ABSENT
    try:
        return member.__get__(value)
    except AttributeError:
        return ABSENT


def referent(value: object) -> object:
    """What an object of a C type refers to, if that is one thing: the dict of a proxy, say."""
    found = gc.get_referents(value)
    return found[0] if len(found) == 1 else ABSENT


def _flat_items(value: Any) -> list[object]:
    return [part for pair in items_of(value) for part in pair]


_WHOLE = slice(None)

# Of a subclass, the value of its built-in base, by the base's own method. For dict: keys and
# values in turn, since putting the keys into another dict could call their __eq__.
_BASES: dict[int, tuple[str, Callable[[Any], object]]] = {
    id(str): ("str", str.__str__),
    id(int): ("int", int.__int__),
    id(float): ("float", float.__float__),
    id(complex): ("complex", complex.__pos__),
    id(bytes): ("bytes", lambda value: bytes.__getitem__(value, _WHOLE)),
    id(bytearray): ("bytearray", lambda value: bytearray.__getitem__(value, _WHOLE)),
    id(list): ("list", lambda value: list.__getitem__(value, _WHOLE)),
    id(tuple): ("tuple", lambda value: tuple.__getitem__(value, _WHOLE)),
    id(dict): ("dict", _flat_items),
    id(set): ("set", lambda value: list(set.__iter__(value))),
    id(frozenset): ("frozenset", lambda value: list(frozenset.__iter__(value))),
}


def plain_base(value: object) -> tuple[str, object] | None:
    """Of an instance of a subclass of a built-in type: that type's name and the value in its terms.

    A dict comes as a flat list of keys and values in turn, a set as a list. None if no
    ancestor is such a type.
    """
    for cls in lineage(type(value)):
        base = _BASES.get(id(cls))
        if base is not None:
            return base[0], base[1](value)
    return None
