"""Values as msgpack, by its specification.

In: any object. Out: one msgpack object. nil, booleans, integers of up to 64 bits, floats of 64
bits, str (valid UTF-8), bin for bytes, arrays for lists and maps for dicts are themselves, and a
map's keys may be of any of these but array and map; all else is a tagged map (see ``model``).
No extension type is written. On reading, a foreign one stays a ``msgpack.ExtType``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import msgpack

from oobdump.codecs import model
from oobdump.codecs.base import Data, Encoded, ModelCodec
from oobdump.codecs.look import Plain, any_keys, is_plain

__all__ = ["CODEC", "EXT_TAG"]

EXT_TAG = 79
"""The extension type of a tag ("O"): its payload is the msgpack of kind and body."""


_LEAVES: dict[int, Callable[[Any], bool]] = {
    id(type(None)): model.always,
    id(bool): model.always,
    id(int): model.in_64_bits,
    id(float): model.always,
    id(str): model.is_unicode,
    id(bytes): model.always,
}

_FORM = model.Form(leaves=MappingProxyType(_LEAVES), keys=frozenset(_LEAVES))
_PLAIN = Plain(types=frozenset({id(bytes)}), keys_fit=any_keys)

_MARKED: bytes = msgpack.packb(model.MARK)


def _write(tree: Any) -> bytes:
    # strict_types: what is not exactly a list, a dict and so on raises, instead of being asked.
    packed: bytes = msgpack.packb(tree, use_bin_type=True, strict_types=True)
    return packed


def _direct(value: object) -> Encoded | None:
    """The document, if the value needs no tag: then nothing of it is walked in Python."""
    if not is_plain(value, _PLAIN):
        return None
    data = _write(value)  # raises for lone surrogates and for integers beyond 64 bits
    return None if _MARKED in data else Encoded(data)  # a user's map may look like a tag


def _read(data: Data) -> Any:
    # Lengths are bounded by that of the data, nesting by the library's own 1,024: it does not recurse.
    return msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=model.read_map)


CODEC = ModelCodec("msgpack", "application/msgpack", "msgpack", _FORM, _direct, _write, _read)
