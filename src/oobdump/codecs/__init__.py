"""Codecs: any value to bytes and back, by name.

In: a name (``json``, ``msgpack``, ``pickle``). Out: a ``Codec``. Encoding raises for no object and
calls no method of a type it does not know; decoding raises ``CodecError`` and nothing else.
The types of ``kinds.KINDS``, numpy's and torch's arrays and what ``register_type`` was told come back
equal and of the same type from each format, alike from all three; every other object comes back as
``Marked``, and so does what a budget cut. References that two places share are kept by pickle,
written out by the others. Only this module knows which module a codec is in. ``load_all`` imports
them and warms them up: after it, encoding imports nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from oobdump.errors import CodecError

if TYPE_CHECKING:
    from oobdump.codecs.base import Encoded
    from oobdump.codecs.budget import Budget

__all__ = [
    "CODECS",
    "ENTRY_POINT_GROUP",
    "Codec",
    "get",
    "load_all",
    "load_entry_points",
    "names",
    "register_type",
    "unregister_type",
]

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

    def encode(self, value: object, budget: Budget = ...) -> bytes:
        """The document of any object, whole in itself. Never raises."""

    def encode_to(self, value: object, file: Any, budget: Budget = ...) -> int:
        """Writes that document, without a copy of bulk data; returns its size."""

    def encode_counting(self, value: object, budget: Budget = ...) -> Encoded:
        """The document in pieces, and how many placeholders (``unknown``) and cuts (``cut``) it has."""

    def encode_parts(self, value: object, budget: Budget = ...) -> Encoded:
        """The same for a store that can hold a side part, ``bulk``, beside the document."""

    def decode(self, data: bytes | bytearray | memoryview, bulk: bytes | memoryview | None = None) -> Any:
        """The value of a document and its side part. Raises ``CodecError`` for bytes that are none."""


ENTRY_POINT_GROUP = "oobdump.codecs"
"""Each entry point is a function without arguments, called once, which calls ``register_type``."""

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


def register_type(cls: type, name: str, to_plain: Callable[[Any], object], from_plain: Callable[[Any], object]) -> None:
    """Has objects of exactly this class written as what ``to_plain`` gives, under a name with a dot in it.

    Both functions are given and give values that the codecs know, or that are registered. ``to_plain`` runs in
    the worker while it answers, under the part's deadline; what it raises makes a placeholder. Raises
    ``CodecError`` for a name without a dot, or one that another class has.
    """
    from oobdump.codecs import foreign  # noqa: PLC0415 - not before somebody wants a codec

    foreign.register_type(cls, name, to_plain, from_plain)


def unregister_type(name: str) -> None:
    """Forgets it; nothing happens if nobody registered it."""
    from oobdump.codecs import foreign  # noqa: PLC0415

    foreign.unregister_type(name)


def load_entry_points(group: str = ENTRY_POINT_GROUP) -> list[str]:
    """Calls what other packages offer in the group; returns what went wrong. ``start()`` does it, nobody later."""
    import importlib.metadata  # noqa: PLC0415 - 15 ms, and only programs that call start() need it

    return list(filter(None, map(_call, importlib.metadata.entry_points(group=group))))


def _call(entry: Any) -> str:
    try:
        entry.load()()
    except Exception as error:  # noqa: BLE001 - somebody else's package must not keep a worker from starting
        return f"codec {entry.name} ({entry.value}) is left out: {type(error).__name__}: {error}"
    return ""


def _load(place: str) -> Codec:
    module, _, attribute = place.partition(":")
    codec: Codec = getattr(importlib.import_module(module), attribute)
    return codec
