"""Values as msgpack, by its specification.

In: any object. Out: one msgpack object. nil, booleans, integers of up to 64 bits, floats of 64
bits, str (valid UTF-8), bin for bytes, arrays for lists and maps for dicts are themselves, and a
map's keys may be of any of these but array and map; all else is a tagged map (see ``model``).
No extension type is written. On reading, a foreign one stays a ``msgpack.ExtType``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import msgpack

from oobdump.codecs import model
from oobdump.errors import CodecError

__all__ = ["CODEC", "MsgpackCodec"]


def _tag(kind: str) -> dict[str, Any]:
    return {model.MARK: kind, model.BODY: None}


_LEAVES = MappingProxyType(
    {
        id(type(None)): model.always,
        id(bool): model.always,
        id(int): model.in_64_bits,
        id(float): model.always,
        id(str): model.is_unicode,
        id(bytes): model.always,
    }
)

_FORM = model.Form(
    leaves=_LEAVES,
    keys=frozenset(_LEAVES),
    plain=frozenset({id(bytes)}),
    keys_fit=model.any_keys,
    tag=_tag,
)

_MARKED: bytes = msgpack.packb(model.MARK)


def _write(tree: Any) -> bytes:
    # strict_types: what is not exactly a list, a dict and so on raises, instead of being asked.
    packed: bytes = msgpack.packb(tree, use_bin_type=True, strict_types=True)
    return packed


def _direct(value: object) -> model.Encoded | None:
    """The document, if the value needs no tag: then nothing of it is walked in Python."""
    if not model.is_plain(value, _FORM):
        return None
    data = _write(value)  # raises for lone surrogates and for integers beyond 64 bits
    return None if _MARKED in data else model.Encoded(data)  # a user's map may look like a tag


class MsgpackCodec:
    """``oobdump.codecs.get("msgpack")``."""

    name = "msgpack"
    media_type = "application/msgpack"
    suffix = "msgpack"

    def encode(self, value: object) -> bytes:
        """The document of any object. Never raises."""
        return self.encode_counting(value).data

    def encode_counting(self, value: object) -> model.Encoded:
        """The document, and how many placeholders and cuts it has."""
        return model.encode_with(value, _FORM, _direct, _write)

    def decode(self, data: bytes | bytearray | memoryview) -> Any:
        """The value of a document. Raises ``CodecError`` and nothing else."""
        try:
            # Lengths are bounded by that of the data, nesting by the library's own 1,024 (it does not recurse).
            return msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=model.read_map)
        except CodecError:
            raise
        except Exception as error:  # noqa: BLE001 - rubbish, memory: all one to the caller
            raise CodecError(f"not a msgpack document of oobdump: {type(error).__name__}: {error!s:.200}") from error


CODEC = MsgpackCodec()
