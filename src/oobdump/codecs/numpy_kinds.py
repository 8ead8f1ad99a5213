"""numpy's arrays, scalars and dtypes, as bodies of numbers about bytes.

In: numpy, as it was found among the loaded modules. Out: for its types how they are opened, and
for its kinds how they are revived. Only exact types: a subclass may have methods of its own.
The data of a contiguous array is not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from oobdump.codecs.arrays import array_from, shape_in
from oobdump.codecs.kind import text_in
from oobdump.codecs.marked import mark
from oobdump.codecs.raw import Raw, Reference

__all__ = ["describe_dtype", "rows"]

Opens = Mapping[int, tuple[str, Callable[[Any], object]]]
Revives = Mapping[str, Callable[[Any], object]]

_EMPTY = memoryview(b"")


def rows(numpy: Any) -> tuple[Opens, Revives] | None:
    """What opens numpy's types and revives its kinds; None while it is still being imported."""
    names = vars(numpy)
    if any(name not in names for name in ("ndarray", "generic", "dtype", "frombuffer", "sctypeDict", "dtypes")):
        return None
    opens: dict[int, tuple[str, Callable[[Any], object]]] = {
        id(numpy.ndarray): ("ndarray", partial(_open_array, numpy))
    }
    for scalar in {id(cls): cls for cls in numpy.sctypeDict.values()}.values():
        if scalar is not numpy.object_:
            opens[id(scalar)] = ("npscalar", partial(_open_scalar, numpy))
    for cls in {id(type(made)): type(made) for made in _dtypes(numpy)}.values():
        opens[id(cls)] = ("numpy.dtype", _open_dtype)
    revives: Revives = {
        "ndarray": partial(_revive_array, numpy),
        "npscalar": partial(_revive_scalar, numpy),
        "numpy.dtype": partial(_make_dtype, numpy),
    }
    return opens, revives


def _dtypes(numpy: Any) -> list[Any]:
    """One of each class of dtypes."""
    made = [numpy.dtype(code) for code in numpy.typecodes["All"] if code not in "OV"]
    return [*made, numpy.dtype("O"), numpy.dtype("V1")]


# -- dtypes: their string, or for a structured one its fields


def describe_dtype(dtype: Any) -> object:
    """A dtype in plain values; None for one that only numpy can describe."""
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        formats = [describe_dtype(field[0]) for field in fields]
        if None in formats:
            return None
        told = {"names": list(dtype.names), "formats": formats, "offsets": [int(field[1]) for field in fields]}
        titles = [field[2] if len(field) > 2 else None for field in fields]  # noqa: PLR2004
        more = {"titles": titles} if any(type(title) is str for title in titles) else {}
        return {**told, "itemsize": int(dtype.itemsize), **more}
    if dtype.subdtype is not None:
        base = describe_dtype(dtype.subdtype[0])
        return None if base is None else {"base": base, "shape": list(dtype.subdtype[1])}
    return dtype.str if dtype.char != "T" else None


def _open_dtype(dtype: Any) -> object:
    told = describe_dtype(dtype)
    return mark(dtype, "object", why="only numpy can describe it") if told is None else told


def _make_dtype(numpy: Any, told: Any) -> Any:
    if type(told) is str:
        return numpy.dtype(told)
    if type(told) is not dict:
        raise ValueError("it is no dtype")
    if "base" in told:
        return numpy.dtype((_make_dtype(numpy, told["base"]), tuple(told["shape"])))
    return numpy.dtype({**told, "formats": [_make_dtype(numpy, form) for form in told["formats"]]})


# -- arrays


def _open_array(numpy: Any, value: Any) -> object:
    dtype, shape = value.dtype, list(value.shape)
    told = describe_dtype(dtype)
    if told is None:
        return mark(value, "object", {"shape": shape}, "only numpy can describe its dtype")
    if dtype.hasobject:
        if dtype.names is not None or dtype.subdtype is not None:
            return mark(value, "object", {"dtype": told, "shape": shape}, "its fields are objects")
        return {"dtype": told, "shape": shape, "items": value.reshape(-1).tolist()}
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    body: dict[str, object] = {"dtype": told, "shape": shape}
    if is_fortran:
        body["order"] = "F"
    whole = value.T if is_fortran else value if value.flags.c_contiguous else value.copy(order="C")
    body["data"] = Raw(_bytes_of(numpy, whole))
    return body


def _bytes_of(numpy: Any, array: Any) -> memoryview:
    """The memory of a C-contiguous array, by a view of bytes: not every dtype has a buffer."""
    if array.size == 0 or array.dtype.itemsize == 0:
        return _EMPTY
    return memoryview(array.reshape(-1).view(numpy.uint8))


def _revive_array(numpy: Any, body: Any) -> object:
    neutral = array_from("ndarray", body)
    dtype = _make_dtype(numpy, neutral.dtype)
    if "items" in neutral.extra:
        made = numpy.empty(len(neutral.extra["items"]), dtype=dtype)
        for at, item in enumerate(neutral.extra["items"]):
            made[at] = item
        return made.reshape(shape_in(body))
    if neutral.data is None or isinstance(neutral.data, Reference):
        return neutral
    if dtype.hasobject:
        raise ValueError("bytes are no objects")
    return numpy.ndarray(neutral.shape, dtype, bytearray(neutral.data), order=neutral.order)


# -- scalars


def _open_scalar(numpy: Any, value: Any) -> object:
    if type(value) is numpy.str_:
        return {"dtype": "U", "shape": [], "text": str.__str__(value)}
    if type(value) is numpy.bytes_:
        return {"dtype": "S", "shape": [], "data": Raw(memoryview(bytes.__getitem__(value, slice(None))))}
    dtype = value.dtype
    told = describe_dtype(dtype)
    if told is None or dtype.hasobject:
        return mark(value, "object", told, "its fields are objects")
    return {"dtype": told, "shape": [], "data": Raw(memoryview(value.tobytes()))}


def _revive_scalar(numpy: Any, body: Any) -> object:
    neutral = array_from("npscalar", body)
    if neutral.dtype == "U":  # of these two numpy would drop the NULs at their end
        return numpy.str_(text_in(neutral.extra.get("text")))
    if neutral.dtype == "S" and isinstance(neutral.data, (bytes, bytearray, memoryview)):
        return numpy.bytes_(bytes(neutral.data))
    dtype = _make_dtype(numpy, neutral.dtype)
    if neutral.data is None or isinstance(neutral.data, Reference) or dtype.hasobject:
        raise ValueError("it has no data")
    return numpy.ndarray((), dtype, bytearray(neutral.data))[()]
