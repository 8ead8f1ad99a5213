"""How the containers, texts and arrays of the table are written in a pickle, and made again from one.

In: a kind's body. Out: what the pickler takes for a reduction: a class or function of the standard
library, or of numpy, and what it is called with. And for each of those the function that our own
reader calls in its place. A kind that neither could make again is a ``Warning`` with its name and
body, from which our reader makes the value. The pickler builds a dict item by item, so that no
key is hashed on this side.
"""

from __future__ import annotations

import array
import operator
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from oobdump.codecs.arrays import Array
from oobdump.codecs.kinds import revive
from oobdump.codecs.kinds_of_containers import FACTORIES
from oobdump.codecs.kinds_of_texts import IP_TYPES
from oobdump.codecs.marked import Marked, Tag
from oobdump.codecs.numpy_kinds import describe_dtype

__all__ = ["MAKERS", "REDUCERS", "Reduced", "is_library_global"]

Reduced = tuple[Any, ...]

# -- writing


def _pairs(flat: list[Any]) -> Any:
    return iter(list(zip(flat[::2], flat[1::2], strict=False)))


def _reduce_default(body: Any) -> Reduced:
    name, _, *flat = body or [None, None]
    return defaultdict, (None if name is None else FACTORIES[name],), None, None, _pairs(flat)


def _reduce_deque(body: Any) -> Reduced:
    most, *items = body or [None]
    return deque, ((), most), None, iter(items)


def _reduce_view(body: Any) -> Reduced:
    form, shape, data, is_readonly = body
    if form != "B" or shape != [len(data)]:
        return Warning, ("memoryview", body)
    return memoryview, (data if is_readonly else bytearray(data),)


def _numpy() -> Any:
    return sys.modules.get("numpy")


def _dtype_argument(told: Any) -> Any:
    """What numpy makes the dtype of: a string, or that which ``numpy.dtype`` is called with."""
    return told if type(told) is str else Tag("numpy.dtype", told)


def _dtype_spec(told: Any) -> Any:
    if type(told) is not dict:
        return told
    if "base" in told:
        return (_dtype_spec(told["base"]), tuple(told["shape"]))
    return {**told, "formats": [_dtype_spec(form) for form in told["formats"]]}


def _reduce_dtype(told: Any) -> Reduced:
    return (Warning, ("numpy.dtype", told)) if _numpy() is None else (_numpy().dtype, (_dtype_spec(told),))


def _reduce_array(body: Any) -> Reduced:
    if _numpy() is None or "data" not in body:
        return Warning, ("ndarray", body)
    shape, order = tuple(body["shape"]), body.get("order", "C")
    return _numpy().ndarray, (shape, _dtype_argument(body["dtype"]), body["data"], 0, None, order)


def _reduce_scalar(body: Any) -> Reduced:
    if _numpy() is None or "data" not in body or body["dtype"] == "S":
        return Warning, ("npscalar", body)
    return operator.getitem, (Tag("ndarray", body), ())


REDUCERS: Mapping[str, Callable[[Any], Reduced]] = MappingProxyType(
    {
        "OrderedDict": lambda body: (OrderedDict, (), None, None, _pairs(body)),
        "Counter": lambda body: (Counter, (), None, None, _pairs(body)),
        "defaultdict": _reduce_default,
        "deque": _reduce_deque,
        "array": lambda body: (array.array, (body[0], body[3])),
        "memoryview": _reduce_view,
        "Pattern": lambda body: (re.compile, tuple(body)),
        "ZoneInfo": lambda body: (ZoneInfo, (body,)),
        **{cls.__name__: lambda body, cls=cls: (cls, (body,)) for cls in IP_TYPES},  # type: ignore[misc]
        "ndarray": _reduce_array,
        "npscalar": _reduce_scalar,
        "numpy.dtype": _reduce_dtype,
    }
)

STANDARD = (OrderedDict, Counter, defaultdict, deque, array.array, memoryview, re.compile, ZoneInfo, operator.getitem)
_STANDARD_IDS = frozenset(map(id, (*STANDARD, *IP_TYPES)))


def is_library_global(value: object) -> bool:
    """Whether it is one of the classes and functions that reductions name."""
    if id(value) in _STANDARD_IDS:
        return True
    numpy = _numpy()
    return numpy is not None and (value is vars(numpy).get("ndarray") or value is vars(numpy).get("dtype"))


# -- reading: what is called in the place of each, with what the pickle says


def _make_array(code: Any, data: Any) -> object:
    if type(data) is not bytes:
        raise ValueError("an array is of bytes")
    return revive("array", [code, array.array(code).itemsize, sys.byteorder, data])


def _make_view(data: Any) -> memoryview:
    if type(data) not in (bytes, bytearray):
        raise ValueError("a memoryview is of bytes")
    return memoryview(data)


def _make_ndarray(*args: Any) -> object:
    shape, dtype, data, offset, strides, order = args
    if offset != 0 or strides is not None or type(data) not in (bytes, bytearray):
        raise ValueError("it is no array that oobdump writes")
    told = dtype if type(dtype) is str else dtype.value if type(dtype) is Marked else describe_dtype(dtype)
    body = {"dtype": told, "shape": list(shape), "data": data}
    return revive("ndarray", {**body, "order": "F"} if order == "F" else body)


def _words(spec: Any) -> Any:
    """A dtype as the body of its kind has it."""
    if type(spec) is tuple:
        return {"base": _words(spec[0]), "shape": list(spec[1])}
    return {**spec, "formats": [_words(form) for form in spec["formats"]]} if type(spec) is dict else spec


def _make_dtype(spec: Any) -> Any:
    return revive("numpy.dtype", _words(spec))


def _take(value: Any, key: Any) -> object:
    if key != ():
        raise ValueError("it takes what no dump takes")
    if type(value) is Array:
        return Array("npscalar", value.dtype, value.shape, value.data, value.order, value.extra)
    numpy = _numpy()
    if numpy is None or type(value) is not numpy.ndarray or value.shape != ():
        raise ValueError("it takes from what is no array")
    return value[()]


def _kind(name: str) -> Callable[..., object]:
    return lambda *args: revive(name, args[0] if len(args) == 1 else list(args))


MAKERS: Mapping[tuple[str, str], Callable[..., object]] = MappingProxyType(
    {
        ("array", "array"): _make_array,
        ("builtins", "memoryview"): _make_view,
        ("re", "compile"): _kind("Pattern"),
        ("re", "_compile"): _kind("Pattern"),
        ("zoneinfo", "ZoneInfo"): _kind("ZoneInfo"),
        **{("ipaddress", cls.__name__): cls for cls in IP_TYPES},
        ("numpy", "ndarray"): _make_ndarray,
        ("numpy", "dtype"): _make_dtype,
        ("_operator", "getitem"): _take,
    }
)
