"""JSON, msgpack and pickle as trees to be outlined: whoever wrote them, as far as they can be read.

In: bytes. Out: ``Found``: a tree with tags as they stand, and notes. What is no document of ours
is read all the same where it can be: a JSON with NaN or a key twice, a msgpack of foreign types.
Only this module reads leniently, and it says each time what a strict reader would refuse.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgpack

from oobdump import codecs
from oobdump.codecs import json_codec, model, msgpack_codec
from oobdump.errors import CodecError
from oobdump.reading import pickles

__all__ = ["READERS", "Found", "decoded"]


@dataclass(frozen=True)
class Found:
    """A tree, and what is to be said of it."""

    tree: Any
    notes: tuple[str, ...] = ()
    bins: tuple[Any, ...] = ()
    """Bulk data that the document carries beside the tree."""
    revived: bool = False
    """Whether the tree is a value, in which a dict is a dict, whatever it looks like."""


def read_json(data: bytes, *, trust: bool) -> Found:  # noqa: ARG001 - one signature for all
    """Text in UTF-8, NaN and double keys too."""
    notes: list[str] = []
    text = _utf8(data, notes)
    json_codec.refuse_deep(text)

    def literal(name: str) -> float:
        notes.append(f"{name} is not JSON: other readers refuse this file")
        return float(name)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            notes.append("a key comes twice in one object: of each, the last is shown")
        return made

    try:
        tree = json.JSONDecoder(object_pairs_hook=pairs, parse_constant=literal).decode(text)
    except RecursionError:
        raise CodecError("no JSON that can be read: it is nested too deep") from None
    except ValueError as error:
        raise CodecError(f"no JSON: {error!s:.200}") from None
    return Found(tree, tuple(dict.fromkeys(notes)))


def _utf8(data: bytes, notes: list[str]) -> str:
    try:
        return str(data, "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8")
    except UnicodeDecodeError as error:
        notes.append(f"it is no valid UTF-8 (byte {error.start})")
        return data.decode("utf-8", "backslashreplace")


def read_msgpack(data: bytes, *, trust: bool) -> Found:  # noqa: ARG001
    """One object; what comes behind it is said."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) + 1, **_Tags(len(data)).options)
    unpacker.feed(data)
    try:
        tree = unpacker.unpack()
        behind = len(data) - unpacker.tell()
    except CodecError:
        raise
    except Exception as error:  # noqa: BLE001 - of each version of the library its own
        raise CodecError(f"no msgpack: {type(error).__name__}: {error!s:.200}") from None
    notes = (f"{behind:,} bytes behind the end of the document: not shown",) if behind else ()
    bins, tree = _parted(tree)
    return Found(tree, notes, bins)


class _Tags:
    """How a msgpack document is read: exts of ours become tags, maps stay maps. Exts in exts are bounded."""

    def __init__(self, size: int) -> None:
        self._depth = self._held = 0
        self._most = msgpack_codec.HELD_BYTES + msgpack_codec.HELD_TIMES * size
        self.options: dict[str, Any] = {
            "raw": False,
            "strict_map_key": False,
            "unicode_errors": "surrogateescape",
            "object_pairs_hook": _pairs_kept,
            "ext_hook": self._tagged,
            "timestamp": 3,
        }

    def _tagged(self, code: int, data: bytes) -> Any:
        """A tag of ours, from its extension type; any other stays what it is."""
        if code != msgpack_codec.EXT_TAG:
            return msgpack.ExtType(code, data)
        self._depth += 1
        self._held += len(data)
        if self._depth > msgpack_codec.MAX_READ_DEPTH or self._held > self._most:
            raise CodecError("values are tagged deeper, and more of it at a time, than oobdump writes")
        kind, body = msgpack.unpackb(data, **self.options)
        self._depth -= 1
        self._held -= len(data)
        return {model.MARK: kind, model.BODY: body}


def _parted(tree: Any) -> tuple[tuple[Any, ...], Any]:
    """The bins in front of a document that has bulk data, and its value."""
    head = tree[0] if type(tree) is list and tree else None
    if type(head) is dict and head.get(model.MARK) == "bulk" and head.get(model.BODY) == len(tree) - 2:
        return tuple(tree[1:-1]), tree[-1]
    return (), tree


def _pairs_kept(pairs: list[tuple[Any, Any]]) -> Any:
    """A map; one that Python cannot hold, or that looks like a tag, as the tag that lists its keys and values."""
    try:
        found = dict(pairs)
    except TypeError:
        found = {}
    if len(found) == len(pairs) and model.MARK not in found:
        return found
    return {model.MARK: "dict", model.BODY: [part for pair in pairs for part in pair]}


def read_pickle(data: bytes, *, trust: bool) -> Found:
    """What it is; with ``trust`` also what is in it, as our reader, which refuses every global but its own, has it."""
    if not trust:
        description = pickles.describe(data)
        return Found(description.plain, ("a pickle: described, and not decoded without --trust",))
    return Found(codecs.get("pickle").decode(data), revived=True)


READERS: Mapping[str, Callable[..., Found]] = MappingProxyType(
    {"json": read_json, "msgpack": read_msgpack, "pickle": read_pickle}
)


def decoded(data: bytes, kind: str, side: Any = None, *, trust: bool) -> tuple[Any, tuple[str, ...]]:
    """The value itself, to be written in another format; ``side`` is its side part."""
    if kind == "pickle" and not trust:
        raise CodecError("a pickle is not decoded without --trust; `oobdump show` describes it without running it")
    try:
        return codecs.get(kind).decode(data, side), ()
    except CodecError as error:
        if kind == "pickle":
            raise
        found = READERS[kind](data, trust=trust)
        return found.tree, (f"it is no document of oobdump: taken as plain data ({error!s:.200})", *found.notes)
