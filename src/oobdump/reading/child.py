"""What runs in the confined process: one file read, one answer written, within bounds.

In: an order as JSON (see ``confined``) and open descriptors. Out: on stdout one line of JSON (notes
and facts, or an error), then the document. The rules only this module keeps: the bounds are set
before a byte of the file is read, and whatever goes wrong is answered in words.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from oobdump import codecs
from oobdump.bare_python import limit
from oobdump.codecs.base import Encoded
from oobdump.errors import CodecError
from oobdump.reading import arrays, documents, foreign
from oobdump.reading.documents import Found
from oobdump.reading.outline import Bounds, Outline
from oobdump.reading.torch_file import TORCH, torch_file

__all__ = ["main"]

_OUT = 1
_RECURSION = 20_000
"""Outlines and encoders are bounded far below it; readers of a library's own recurse in C."""

Chunks = Iterator[bytes | bytearray | memoryview]


def main(words: str) -> None:
    """Does what the order says, and ends."""
    order = json.loads(words)
    limit(resource.RLIMIT_AS, order["memory"])
    limit(resource.RLIMIT_CPU, order["cpu"])
    limit(resource.RLIMIT_CORE, 0)
    answer: dict[str, Any]
    chunks: Chunks = iter(())
    try:
        notes, facts, chunks = _TASKS[order["task"]](order)
        answer = {"notes": notes, "facts": facts}
    except CodecError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"decoding it takes more than {order['memory'] >> 20} MiB: it is a bomb, or huge"}
    except RecursionError:
        answer = {"error": "it is nested too deep to be read"}
    except Exception as error:  # noqa: BLE001 - said in the parent, where somebody reads it
        answer = {"error": f"it cannot be read: {type(error).__name__}: {error!s:.300}"}
    _write(json.dumps(answer).encode("ascii") + b"\n")
    for chunk in chunks:
        _write(chunk)


def _write(data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(_OUT, view) :]


def _whole(order: Mapping[str, Any]) -> bytes:
    """All bytes of the file; the bound on memory is the bound on its size."""
    pieces: list[bytes] = []
    at = 0
    while piece := os.pread(order["file"], 2**24, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _side(order: Mapping[str, Any]) -> mmap.mmap | None:
    """The side part beside a document, if there is one; not copied."""
    if order["directory"] is None:
        return None
    descriptor = arrays.open_side(order["directory"], order["name"])
    if descriptor is None:
        return None
    try:
        return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) if os.fstat(descriptor).st_size else None
    finally:
        os.close(descriptor)


def _outline(order: Mapping[str, Any]) -> tuple[list[str], dict[str, Any], Chunks]:
    """The file as a tree to be laid out."""
    kind = order["format"]
    if kind in foreign.FOREIGN:
        found: Found = foreign.FOREIGN[kind](order["file"], os.fstat(order["file"]).st_size)
    else:
        found = documents.READERS[kind](_whole(order), trust=order["trust"])
    look = arrays.Look(order["directory"], order["name"], found.bins)
    outline = Outline(Bounds.generous() if order["generous"] else Bounds(), look.tree, revived=found.revived)
    tree = outline.of(found.tree)
    text = json.dumps(tree, ensure_ascii=True, separators=(",", ":"))
    return [*found.notes, *look.notes], {"format": kind}, iter((text.encode("ascii"),))


def _convert(order: Mapping[str, Any]) -> tuple[list[str], dict[str, Any], Chunks]:
    """The file's value in another format, and what that lost."""
    if order["format"] not in codecs.CODECS:
        raise CodecError(f"it is {order['format']}: only {', '.join(codecs.CODECS)} are converted")
    value, notes = documents.decoded(_whole(order), order["format"], _side(order), trust=order["trust"])
    before = codecs.get(order["format"]).encode_parts(value)
    if order["to"] == TORCH:
        return _for_torch(value, before, list(notes))
    to = codecs.get(order["to"])
    after = to.encode_parts(value) if order["side"] else to.encode_counting(value)
    facts = {
        "side": sum(map(len, after.bulk)),
        "placeholders": after.unknown,
        "cuts": after.cut,
        "new_placeholders": max(0, after.unknown - before.unknown),
        "new_cuts": max(0, after.cut - before.cut),
    }
    return list(notes), facts, iter((*after.bulk, *after.pieces))  # the side part first: the document is its commit


def _for_torch(value: object, before: Encoded, notes: list[str]) -> tuple[list[str], dict[str, Any], Chunks]:
    """The value as a file for ``torch.load``."""
    made = torch_file(value)
    if made.tags:
        notes.append(
            f"{made.tags:,} values are of types that torch.load(weights_only=True) refuses: tagged dicts instead"
        )
    facts = {"side": 0, "tensors": made.tensors, "placeholders": made.unknown, "cuts": made.cut}
    new = {"new_placeholders": max(0, made.unknown - before.unknown), "new_cuts": max(0, made.cut - before.cut)}
    return notes, {**facts, **new}, iter(made.pieces)


_TASKS: Mapping[str, Callable[[Mapping[str, Any]], tuple[list[str], dict[str, Any], Chunks]]] = MappingProxyType(
    {"outline": _outline, "convert": _convert}
)
