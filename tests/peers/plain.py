"""A value as one line of text that a program in another language can write too, bit for bit.

In: a Python value that comes back as itself. Out: text in which types differ and nothing is
rounded; a kind that JSON has no word for is ``<kind body>``, as it is tagged. ``json_text`` is
that of ``tools/read_tags.js``, ``msgpack_text`` that of ``node/msgpack_peer.js``, where whole
floats and integers are one type.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from oobdump.codecs.kinds import open_value

__all__ = ["json_text", "msgpack_text"]

JS_EXACT = 2**53
"""The largest integer up to which JavaScript's numbers have each one."""

IN_64_BITS = range(-(2**63), 2**64)


def json_text(value: Any) -> str:
    """As a reader of JSON has it that keeps integers whole."""
    return _text(value, json_text, _exact, _utf16)


def msgpack_text(value: Any) -> str:
    """As a reader of msgpack has it, in a language with one type of numbers."""
    if type(value) is bytes:
        return f"bytes {value.hex()}"
    if type(value) is int and value not in IN_64_BITS:
        return f"<int {msgpack_text(hex(value))}>"
    if type(value) is str and not _is_unicode(value):
        return f"<str {msgpack_text(open_value(value).body)}>"
    return _text(value, msgpack_text, _number, lambda text: f"str {text.encode().hex()}")


def _text(value: Any, again: Callable[[Any], str], number: Callable[[Any], str], text: Callable[[str], str]) -> str:
    if value is None or type(value) in (bool, int, float, str):
        return text(value) if type(value) is str else number(value) if type(value) in (int, float) else str(value)
    if type(value) is bytes:
        return f"bytes {value.hex()}"
    if type(value) is list:
        return f"[{', '.join(map(again, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{again(key)}: {again(item)}' for key, item in value.items())}}}"
    tag = open_value(value)
    if tag.kind in ("ndarray", "npscalar", "tensor"):
        return _array_text(tag)
    return f"<{tag.kind} {again(tag.body)}>"


def _array_text(tag: Any) -> str:
    """Type, shape, order and every byte."""
    data = "None" if "data" not in tag.body else f"bytes {bytes(tag.body['data'].data).hex()}"
    shape = ", ".join(map(str, tag.body["shape"]))
    return f"<{tag.kind} {tag.body['dtype']} [{shape}] {tag.body.get('order', 'C')} {data}>"


def _exact(value: float) -> str:
    return f"int {value}" if type(value) is int else f"float {_bits(value)}"


def _number(value: float) -> str:
    return f"int {value}" if type(value) is int and abs(value) > JS_EXACT else f"num {_bits(float(value))}"


def _bits(value: float) -> str:
    return struct.pack(">d", math.nan if math.isnan(value) else value).hex()


def _utf16(value: str) -> str:
    units = value.encode("utf-16-be", "surrogatepass")
    return f'str "{" ".join(units[at : at + 2].hex() for at in range(0, len(units), 2))}"'


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
