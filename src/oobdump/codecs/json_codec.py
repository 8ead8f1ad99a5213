"""Values as JSON text: strict RFC 8259, UTF-8, compact.

In: any object. Out: a document that any JSON reader takes. Strings, integers of up to 64 bits,
finite floats, booleans, null, lists and maps with string keys are themselves; all else is
tagged (see ``model``). Bulk data is in a side part, if there is one, and base64 otherwise.
No NaN literal, no lone surrogate, no key twice: neither written nor,
but for surrogates that are spelled out as escapes, read.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn

import msgpack

from oobdump.codecs import model
from oobdump.codecs.base import Data, ModelCodec, Pieces
from oobdump.codecs.budget import Budget, Purse
from oobdump.codecs.kinds import revive, to_base64
from oobdump.codecs.look import has_buffers, size
from oobdump.codecs.marked import Tag
from oobdump.codecs.packing import EXT_TAG, Packing, open_paid
from oobdump.codecs.raw import MAX_INLINE_BYTES, Aside, Bulk, Inline, Raw, Reference
from oobdump.errors import CodecError

__all__ = ["CODEC", "FORM", "MAX_READ_DEPTH", "refuse_deep"]

MAX_READ_DEPTH = 900
"""Where Python's own reader gives up by default; checked by us where the program raised that limit,
as the reader then overflows the C stack instead."""

FORM = model.Form(
    leaves=MappingProxyType(
        {
            id(type(None)): model.always,
            id(bool): model.always,
            id(int): model.in_64_bits,
            id(float): math.isfinite,
            id(str): model.is_unicode,
            id(Raw): model.always,
        }
    ),
    keys=frozenset({id(str)}),
)


def _no_literal(literal: str) -> NoReturn:
    raise CodecError(f"{literal} is not JSON: write it as a tag, or as a string")


def _tag(kind: str, body: object) -> dict[str, object]:
    return {model.MARK: kind, model.BODY: body}


def _place(bulk: Bulk, raw: object) -> object:
    """What stands for bulk data; of a text document without a side part, itself as far as that is bearable."""
    if type(raw) is not Raw:
        raise TypeError("bytes, or the value changed after the look at it")  # the standard text asks for __class__
    offset = bulk.place(raw)
    if offset is not None:
        return _tag("bulk", {"offset": offset, "size": len(raw.data)})
    return _tag("bytes", to_base64(raw.data)) if len(raw.data) <= MAX_INLINE_BYTES else _tag("bulk", None)


def _default_of(bulk: Bulk, value: object, budget: Budget) -> Callable[[Any], object]:
    """The same where nothing was walked: msgpack's packer makes no difference between bytes and their like."""
    has_others: list[bool] = []

    def place_or_tag(raw: object) -> object:
        if type(raw) is bytes and not has_others:
            has_others.append(has_buffers(value, budget))
        if type(raw) is bytes and not has_others[0]:
            return _tag("bytes", to_base64(raw))
        return _place(bulk, raw)

    return place_or_tag


def _encoder(default: Callable[[Any], object]) -> json.JSONEncoder:
    # What the encoder is given was looked at or walked: it has no cycle.
    return json.JSONEncoder(
        ensure_ascii=False,
        allow_nan=False,
        check_circular=False,
        separators=(",", ":"),
        default=default,
    )


_PACKED_MARK: bytes = msgpack.packb(model.MARK)

_NUMBERS_TO_ZERO = bytes.maketrans(b"123456789+-.", b"000000000000")
_LONG_NUMBER = b"0" * 20
"""2**64 has 20 digits: what has fewer is in 64 bits."""

_INTEGER_OR_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"|(?<![\d.-])(-?\d{20,})', re.DOTALL)
_NUMBER_AS_KEY = re.compile(rb'"0[0e]*":')
_WORDS_AS_KEYS = (b'"true":', b'"false":', b'"null":')


def _has_long_integer(data: bytes) -> bool:
    if _LONG_NUMBER not in data.translate(_NUMBERS_TO_ZERO):
        return False
    found = (match[1] for match in _INTEGER_OR_TEXT.finditer(data))  # not in a text, nor behind a point
    return any(digits and not model.in_64_bits(int(digits)) for digits in found)


def _may_have_other_keys(data: bytes) -> bool:
    """Whether there is a key that the encoder made a string of: it does so without a word."""
    zeros = data.translate(_NUMBERS_TO_ZERO)
    return (b'"0' in zeros and _NUMBER_AS_KEY.search(zeros) is not None) or any(key in data for key in _WORDS_AS_KEYS)


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)


def refuse_deep(text: str) -> None:
    """Raises ``CodecError`` for a document too deep for the C reader, where nothing else would stop it."""
    if sys.getrecursionlimit() <= MAX_READ_DEPTH + 100 or text.count("[") + text.count("{") <= MAX_READ_DEPTH:
        return
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += bool(match[1]) - bool(match[2])
        if depth > MAX_READ_DEPTH:
            raise CodecError(f"the document is nested more than {MAX_READ_DEPTH} deep: oobdump writes none like that")


def _set_aside(raws: list[Raw], raw: Raw) -> Tag:
    raws.append(raw)
    return Tag("raw", len(raws) - 1)


def _tree(packed: bytes, raws: list[Raw]) -> Any:
    """What was packed, with tags for the exts: raises for what cannot be the key of a map."""

    def ext(code: int, data: bytes) -> Any:
        kind, body = unpack(data)
        if code != EXT_TAG:
            raise ValueError("an ExtType of msgpack's is an object like any other")
        return raws[body] if kind == "raw" else _tag(kind, body)

    unpack = partial(msgpack.unpackb, raw=False, strict_map_key=True, ext_hook=ext)
    return unpack(packed)


class _Json:
    """The format."""

    form = FORM

    def direct(self, value: object, purse: Purse, bulk: Bulk) -> Pieces | None:
        """The document, if the value needs no tag: then nothing of it is walked in Python."""
        items = size(value, purse.budget)
        if items is None:
            return None
        purse.take(items)
        raws: list[Raw] = []
        packing = Packing(partial(open_paid, purse), partial(_set_aside, raws))
        packed = packing.document(value)  # raises for lone surrogates; opens integers beyond 64 bits
        if _PACKED_MARK in packed:  # a user's map that may look like a tag
            return None
        default = _default_of(bulk, value, purse.budget)
        if packing.exts:
            value = _tree(packed, raws)
        data = _encoder(default).encode(value).encode("utf-8")  # raises for NaN
        return None if not packing.exts and _may_have_other_keys(data) else (data,)

    def write(self, tree: Any, bulk: Bulk) -> Pieces:
        """The document of a walked tree; raises for what ``direct`` raises for."""
        data = _encoder(partial(_place, bulk)).encode(tree).encode("utf-8")
        if _has_long_integer(data):
            raise OverflowError("an integer beyond 64 bits has a tag")
        return (data,)

    def read(self, data: Data, bulk: Data | None) -> Any:
        """The value."""
        text = str(data, "utf-8")
        refuse_deep(text)
        side = None if bulk is None else memoryview(bulk).cast("B")
        hook = partial(model.read_map, revive=partial(_revive, side))
        return json.JSONDecoder(object_pairs_hook=hook, parse_constant=_no_literal).decode(text)


def _revive(side: memoryview | None, kind: object, body: object) -> object:
    if kind != "bulk":
        return revive(kind, body)
    if body is None:
        return None
    if type(body) is not dict or body.keys() != {"offset", "size"}:
        raise CodecError("a reference to bulk data has an offset and a size")
    offset, size = body["offset"], body["size"]
    if type(offset) is not int or type(size) is not int or offset < 0 or size < 0:
        raise CodecError("a reference to bulk data has an offset and a size")
    if side is None:
        return Reference(offset, size)
    if offset + size > len(side):
        raise CodecError("the side part is shorter than what the document refers to")
    return side[offset : offset + size]


CODEC = ModelCodec("json", "application/json", "json", _Json(), Inline, Aside)
