"""Values as JSON text: strict RFC 8259, UTF-8, compact.

In: any object. Out: a document that any JSON reader takes. Strings, integers of up to 64 bits,
finite floats, booleans, null, lists and maps with string keys are themselves; all else is
tagged (see ``model``). No NaN literal, no lone surrogate, no key twice: neither written nor,
but for surrogates that are spelled out as escapes, read.
"""

from __future__ import annotations

import json
import math
import re
import sys
from types import MappingProxyType
from typing import Any, NoReturn

from oobdump.codecs import model
from oobdump.codecs.base import Data, Encoded, ModelCodec
from oobdump.codecs.look import Plain, is_plain, text_keys
from oobdump.errors import CodecError

__all__ = ["CODEC", "FORM", "MAX_READ_DEPTH", "refuse_deep"]

MAX_READ_DEPTH = 900
"""Where Python's own reader gives up by default; checked by us where the program raised that limit,
as the reader then overflows the C stack instead."""


def _no_literal(literal: str) -> NoReturn:
    raise CodecError(f"{literal} is not JSON: write it as a tag, or as a string")


def _no_default(_: object) -> NoReturn:
    raise TypeError("the value changed after the look at it")  # the standard text asks for __class__


FORM = model.Form(
    leaves=MappingProxyType(
        {
            id(type(None)): model.always,
            id(bool): model.always,
            id(int): model.in_64_bits,
            id(float): math.isfinite,
            id(str): model.is_unicode,
        }
    ),
    keys=frozenset({id(str)}),
)
_PLAIN = Plain(types=frozenset(), keys_fit=text_keys)

# What the encoder is given was looked at or walked: it has no cycle.
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_no_default
)
_DECODER = json.JSONDecoder(object_pairs_hook=model.read_map, parse_constant=_no_literal)

_MARKED = f'"{model.MARK}":'
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 20
"""2**64 has 20 digits: what has fewer is in 64 bits. (A float's repr has 17 at most.)"""


def _direct(value: object) -> Encoded | None:
    """The document, if the value needs no tag: then nothing of it is walked in Python."""
    if not is_plain(value, _PLAIN):
        return None
    text = _ENCODER.encode(value)  # raises for NaN
    if _MARKED in text:  # a user's map that looks like a tag; inside a string the quotes have backslashes
        return None
    data = text.encode("utf-8")  # raises for lone surrogates
    return None if _LONG_NUMBER in data.translate(_DIGITS_TO_ZERO) else Encoded(data)


def _write(tree: Any) -> bytes:
    return _ENCODER.encode(tree).encode("utf-8")


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


def _read(data: Data) -> Any:
    text = str(data, "utf-8")
    refuse_deep(text)
    return _DECODER.decode(text)


CODEC = ModelCodec("json", "application/json", "json", FORM, _direct, _write, _read)
