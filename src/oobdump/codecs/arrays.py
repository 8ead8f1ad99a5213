"""An array as numbers about bytes: what a document says of one, whichever library it was of.

In: the body of an array's tag. Out: ``Array``, which a reader gets where the library is not
loaded, and which every codec writes again as it was read. Only this module knows the fields
that all such bodies have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oobdump.codecs.raw import Raw, Reference

__all__ = ["ARRAY_KINDS", "Array", "array_from", "body_of_array", "shape_in"]

ARRAY_KINDS = ("ndarray", "npscalar", "tensor")

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Array:
    """An array of a library that is not loaded.

    ``dtype`` is its library's name for it, or a dict for a structured one; ``data`` its elements in
    ``order`` (``C``: the last index runs fastest), None if it has none here; ``extra`` what else is told.
    """

    kind: str
    dtype: Any
    shape: tuple[int, ...]
    data: Bytes | Reference | None = None
    order: str = "C"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Equal in all that it says; bytes are bytes, whatever holds them."""
        if type(other) is not Array:
            return NotImplemented
        mine, its = (
            (a.kind, a.dtype, a.shape, a.order, dict(a.extra), bytes(a.data) if isinstance(a.data, Bytes) else a.data)
            for a in (self, other)
        )
        return mine == its

    __hash__ = None  # type: ignore[assignment]


_COMMON = ("dtype", "shape", "order", "data")


def shape_in(body: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape that a body says."""
    shape = body.get("shape", [])
    if type(shape) is not list or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("its shape is not a list of sizes")
    return tuple(shape)


def array_from(kind: str, body: object) -> Array:
    """A body as a value without its library."""
    if type(body) is not dict or "dtype" not in body:
        raise ValueError("it has no dtype")
    data = body.get("data")
    if data is not None and not isinstance(data, (bytes, bytearray, memoryview, Reference)):
        raise ValueError("its data is not bytes")
    if body.get("order", "C") not in ("C", "F"):
        raise ValueError("its order is neither C nor F")
    extra = {key: value for key, value in body.items() if key not in _COMMON}
    return Array(kind, body["dtype"], shape_in(body), data, body.get("order", "C"), extra)


def body_of_array(array: Array) -> dict[str, Any]:
    """The body that it was read from."""
    body: dict[str, Any] = {"dtype": array.dtype, "shape": list(array.shape)}
    if array.order != "C":
        body["order"] = array.order
    if isinstance(array.data, (bytes, bytearray, memoryview)):
        body["data"] = Raw(memoryview(array.data).cast("B"))
    return {**body, **array.extra}
