"""Codecs: any value to bytes and back, by name.

In: a name (``json``, ``msgpack``, ``pickle``). Out: a ``Codec``. Encoding raises for no object and
calls no method of a type it does not know; decoding raises ``CodecError`` and nothing else.
What holds today: the types of ``kinds.KINDS`` come back equal and of the same type from each
format, alike from all three; every other object comes back as ``Marked``, and so does what a
budget cut. References that two places share are kept by pickle, written out by the others.
Only this module knows which module a codec is in. ``load_all`` imports them and warms them up:
after it, encoding imports nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from oobdump.errors import CodecError

if TYPE_CHECKING:
    from oobdump.codecs.base import Encoded

__all__ = ["CODECS", "Codec", "get", "load_all", "names"]

CODECS: Mapping[str, str] = MappingProxyType(
    {
        "json": "oobdump.codecs.json_codec:CODEC",
        "msgpack": "oobdump.codecs.msgpack_codec:CODEC",
        "pickle": "oobdump.codecs.pickle_codec:CODEC",
    }
)
"""Where each codec is: ``module:attribute``."""


class Codec(Protocol):
    """A format: any value to bytes, and back."""

    @property
    def name(self) -> str:
        """Its name, as a request gives it."""

    @property
    def media_type(self) -> str:
        """The media type of its documents."""

    @property
    def suffix(self) -> str:
        """The suffix of its files, without the dot."""

    def encode(self, value: object) -> bytes:
        """The document of any object. Never raises."""

    def encode_counting(self, value: object) -> Encoded:
        """The document (``data``), and how many placeholders (``unknown``) and cuts (``cut``) it has."""

    def encode_parts(self, value: object) -> Encoded:
        """The same for a store that can hold a side part: ``bulk`` is what goes there."""

    def decode(self, data: bytes | bytearray | memoryview, bulk: Any = None) -> Any:
        """The value of a document. Raises ``CodecError`` for bytes that are none."""


_loaded: dict[str, Codec] = {}


def names() -> tuple[str, ...]:
    """The codecs there are."""
    return tuple(CODECS)


def get(name: str) -> Codec:
    """The codec of that name, imported on first use. Raises ``CodecError`` for a name that has none."""
    codec = _loaded.get(name)
    if codec is None:
        if name not in CODECS:
            raise CodecError(f"unknown codec {name!r}: use one of {', '.join(CODECS)}")
        codec = _loaded[name] = _load(CODECS[name])
    return codec


def load_all() -> None:
    """Imports every codec and lets each one encode a value of every kind: a worker does this at start."""
    from oobdump.codecs.kinds import KINDS  # noqa: PLC0415 - not before somebody wants a codec

    sample = [*(kind.example for kind in KINDS), object(), ValueError("warm")]
    for codec in map(get, CODECS):
        codec.decode(codec.encode(sample))
        codec.decode(codec.encode(None))


def _load(place: str) -> Codec:
    module, _, attribute = place.partition(":")
    codec: Codec = getattr(importlib.import_module(module), attribute)
    return codec
