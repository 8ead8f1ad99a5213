"""Values as msgpack, by its specification.

In: any object. Out: one msgpack object. nil, booleans, integers of up to 64 bits, floats of 64
bits, str (valid UTF-8), bin for bytes, arrays for lists and maps for dicts are themselves; all
else is an ext of type ``EXT_TAG`` whose data is the msgpack of ``[kind, body]``, as a key of a map
too. A document with bulk data is an array: ``[ext of kind bulk and their number, a bin for each,
the value]``, where the value has an ext of kind bulk with the number of its bin.
Other ext types are neither written nor understood: a foreign one stays a ``msgpack.ExtType``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

import msgpack

from oobdump.codecs import model
from oobdump.codecs.base import Data, ModelCodec, Pieces
from oobdump.codecs.bins import may_have_bytes
from oobdump.codecs.budget import Purse
from oobdump.codecs.kinds import revive
from oobdump.codecs.look import has_buffers, size
from oobdump.codecs.marked import Tag
from oobdump.codecs.packing import EXT_TAG, MAX_HOOKS, Packing, open_paid
from oobdump.codecs.raw import Aside, Bulk, Raw
from oobdump.errors import CodecError

__all__ = ["CODEC", "EXT_TAG", "MAX_READ_DEPTH"]

MAX_READ_DEPTH = 400
"""Ext in ext that is read; of what we write none is deeper than 160."""

HELD_BYTES, HELD_TIMES = 2**25, MAX_HOOKS
"""Each ext that is being read is a copy of a part of the document: so many bytes, and so many times the document."""

_MAX_BIN_BYTES = 2**32 - 1
_ARRAY = _BIN = struct.Struct(">BI")
_ARRAY_32, _BIN_32 = 0xDD, 0xC6

_LEAVES: dict[int, Callable[[Any], bool]] = {
    id(type(None)): model.always,
    id(bool): model.always,
    id(int): model.in_64_bits,
    id(float): model.always,
    id(str): model.is_unicode,
    id(bytes): model.always,
    id(Raw): model.always,
}


class _Node(dict[str, Any]):
    """A tag in a walked tree. Not a plain dict, so that the packer hands it over."""


_FORM = model.Form(
    leaves=MappingProxyType(_LEAVES),
    keys=frozenset(_LEAVES) - {id(Raw)},
    tag=lambda kind: _Node(model.empty_tag(kind)),
)


def _opened(node: Any) -> Tag:
    return Tag(node[model.MARK], node[model.BODY])


def _document(value: object, open_object: Callable[[Any], Tag], bulk: Bulk, most_hooks: int) -> Pieces:
    """The packed value, the last piece, with the bulk data that it refers to before it."""

    def place(raw: Raw) -> object:
        if len(raw.data) > _MAX_BIN_BYTES:
            return Tag("bulk", None)
        return bytes(raw.data) if bulk.place(raw) is None else Tag("bulk", len(bulk.pieces) - 1)

    packed = Packing(open_object, place, most_hooks).document(value)
    if not bulk.pieces:
        return (packed,)
    head = _ARRAY.pack(_ARRAY_32, len(bulk.pieces) + 2) + _bulk_marker(len(bulk.pieces))
    pieces: list[Data] = []
    for view in bulk.pieces:
        pieces += [head + _BIN.pack(_BIN_32, len(view)), view]
        head = b""
    bulk.pieces.clear()  # they are in the document
    return (*pieces, packed)


class _Msgpack:
    """The format."""

    form = _FORM

    def direct(self, value: object, purse: Purse, bulk: Bulk) -> Pieces | None:
        """The document, if the value needs no walk; raises for lone surrogates and a budget that is spent."""
        items = size(value, purse.budget)
        if items is None:
            return None
        purse.take(items)
        pieces = _document(value, partial(open_paid, purse), bulk, MAX_HOOKS)
        return None if may_have_bytes(bytes(pieces[-1])) and has_buffers(value, purse.budget) else pieces

    def write(self, tree: Any, bulk: Bulk) -> Pieces:
        """The document of a walked tree: only tags and bulk data are handed over."""
        return _document(tree, _opened, bulk, MAX_READ_DEPTH)

    def read(self, data: Data, bulk: Data | None) -> Any:  # noqa: ARG002 - msgpack's are in the document
        """The value. Lengths are bounded by that of the data, nesting by the library's own 1,024."""
        return _Reading(memoryview(data).cast("B")).value()


class _Reading:
    """One document being read."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._bins: list[memoryview] = []
        self._depth = self._held = 0

    def value(self) -> Any:
        at = self._bulk()
        return self._unpack(self._data[at:] if at else self._data)

    def _unpack(self, data: Any) -> Any:
        return msgpack.unpackb(
            data, raw=False, strict_map_key=False, object_pairs_hook=model.unique_map, ext_hook=self._ext
        )

    def _ext(self, code: int, data: bytes) -> Any:
        if code != EXT_TAG:
            return msgpack.ExtType(code, data)
        self._depth += 1
        self._held += len(data)
        if self._depth > MAX_READ_DEPTH or self._held > HELD_BYTES + HELD_TIMES * len(self._data):
            raise CodecError("values are tagged deeper, and more of it at a time, than oobdump writes")
        kind, body = self._unpack(data)
        self._depth -= 1
        self._held -= len(data)
        return self._bin(body) if kind == "bulk" else revive(kind, body)

    def _bin(self, number: object) -> object:
        if number is None:
            return None
        if type(number) is not int or not 0 <= number < len(self._bins):
            raise CodecError("it refers to bulk data that it does not have")
        return self._bins[number]

    def _bulk(self) -> int:
        """Notes the bulk data that the document begins with; where the value begins."""
        data, start = self._data, bytes(self._data[: _ARRAY.size + 16])
        if not start or start[0] != _ARRAY_32 or len(start) < _ARRAY.size:
            return 0
        count = _ARRAY.unpack_from(start)[1] - 2
        marker = _bulk_marker(count) if count > 0 else b"\xc1"
        at = _ARRAY.size + len(marker)
        if bytes(data[_ARRAY.size : at]) != marker:
            return 0
        for _ in range(count):
            head, length = _BIN.unpack_from(data, at)
            at += _BIN.size
            if head != _BIN_32 or at + length > len(data):
                raise CodecError("its bulk data is torn")
            self._bins.append(data[at : at + length])
            at += length
        return at


def _bulk_marker(count: int) -> bytes:
    inner = msgpack.packb(["bulk", count])
    packed: bytes = msgpack.packb(msgpack.ExtType(EXT_TAG, inner))
    return packed


CODEC = ModelCodec("msgpack", "application/msgpack", "msgpack", _Msgpack(), Aside, Aside)
