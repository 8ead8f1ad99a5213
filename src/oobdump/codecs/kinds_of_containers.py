"""The containers of the standard library that come back as themselves, as rows of the table of types.

In: values of exactly these types, which other threads may change. Out: ``Kind``s.
"""

from __future__ import annotations

import array
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from oobdump.codecs import peek
from oobdump.codecs.kind import Kind, flat, items_in, pairs_in, text_in
from oobdump.codecs.marked import Tag, mark

__all__ = ["FACTORIES", "KINDS_OF_CONTAINERS", "KINDS_OF_PAIRS"]

FACTORIES: Mapping[str, Callable[[], object]] = MappingProxyType(
    {cls.__name__: cls for cls in (list, dict, set, int, float, str, bytes, tuple, bool, frozenset, deque, Counter)}
)
"""What a defaultdict makes that comes back as itself; any other factory is somebody's code."""

KINDS_OF_PAIRS = frozenset({"dict", "OrderedDict", "defaultdict", "Counter", "mappingproxy"})
"""Whose bodies are keys and values in turn; a defaultdict's begins with a pair that names its factory."""

_BY_ID = {id(factory): name for name, factory in FACTORIES.items()}


def _open_default(value: Any) -> object:
    factory = value.default_factory
    if factory is not None and id(factory) not in _BY_ID:
        told = {"items": Tag("dict", flat(value)), "default_factory": factory}
        return mark(value, "instance", told, "its factory is not one of the standard types")
    return [None if factory is None else _BY_ID[id(factory)], None, *flat(value)]


def _revive_default(body: object) -> defaultdict[Any, Any]:
    name, _, *items = items_in(body) or [None, None]
    return defaultdict(None if name is None else FACTORIES[name], pairs_in(items))


def _revive_deque(body: object) -> deque[Any]:
    most, *items = items_in(body) or [None]
    return deque(items, most)


def _items_of(value: Any) -> list[Any]:
    """Those of a deque, which refuses while it is changed."""
    for _ in range(peek.MAX_TRIES - 1):
        try:
            return list(value)
        except RuntimeError:
            continue
    return list(value)


def _open_proxy(value: Any) -> object:
    """Of a proxy its dict; what else one may stand for is foreign, and answers itself."""
    inner = peek.referent(value)
    return flat(inner) if type(inner) is dict else mark(value, "object", why="it is not a dict's")


def _open_array(value: Any) -> object:
    return [value.typecode, value.itemsize, sys.byteorder, value.tobytes()]


def _revive_array(body: object) -> array.array[Any]:
    code, size, order, data = items_in(body)
    made: array.array[Any] = array.array(text_in(code))
    if made.itemsize != size:
        raise ValueError(f"its items have {size} bytes, here {made.itemsize}")
    made.frombytes(data)
    if order != sys.byteorder:
        made.byteswap()
    return made


def _open_view(value: Any) -> object:
    return [value.format, list(value.shape), value.tobytes(), value.readonly]


def _revive_view(body: object) -> memoryview:
    form, shape, data, is_readonly = items_in(body)
    if type(data) is not bytes:
        raise ValueError("it is not of bytes")
    view = memoryview(data if is_readonly else bytearray(data))
    return view if form == "B" and shape == [len(data)] else view.cast(text_in(form), shape)  # type: ignore[call-overload]


KINDS_OF_CONTAINERS: tuple[Kind, ...] = (
    Kind(OrderedDict, flat, lambda body: OrderedDict(pairs_in(body)), OrderedDict(a=1)),
    Kind(defaultdict, _open_default, _revive_default, defaultdict(list, {"a": [1]})),
    Kind(Counter, flat, lambda body: Counter(pairs_in(body)), Counter("aab")),
    Kind(deque, lambda value: [value.maxlen, *_items_of(value)], _revive_deque, deque([1], 3)),
    Kind(MappingProxyType, _open_proxy, lambda body: MappingProxyType(pairs_in(body)), MappingProxyType({"a": 1})),
    Kind(array.array, _open_array, _revive_array, array.array("i", [1])),
    Kind(memoryview, _open_view, _revive_view, memoryview(b"a")),
)
