"""What is in a part of a committed dump: read, decoded where that is safe, and shown.

In: a part of a committed dump. Out: ``Content``: a value, a text, an outline, or why there is none.
The rules only this module keeps: a pickle is not decoded without being told to, and never in this
process; what cannot be decoded is described, so that one bad part hides no other; and what is
large is read in a process with bounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from oobdump import codecs
from oobdump.cli import units
from oobdump.cli.pretty import pretty
from oobdump.errors import CodecError, StoreError
from oobdump.reading import confined, documents, source
from oobdump.reading.arrays import Look
from oobdump.reading.confined import Order
from oobdump.reading.outline import Bounds, Outline
from oobdump.reading.source import Source
from oobdump.report.harmless import harmless
from oobdump.store import reader
from oobdump.store.reader import Dump
from oobdump.store.writer import PartRecord

__all__ = ["FULL", "Content", "look", "looked_at", "read", "show"]

_CODECS = {"application/json": "json", "application/msgpack": "msgpack", "application/vnd.oobdump.pickle": "pickle"}

FULL = Bounds.generous()
"""For ``--full`` and ``--json``."""

MAX_HERE_BYTES = 2**24
"""Decoded in this process, if a worker of ours wrote it: the stacks of 200 threads have a fifth of a megabyte."""


@dataclass(frozen=True)
class Content:
    """What a part holds. ``kind`` is ``value``, ``text``, ``outline`` or ``none``; ``note`` says what is missing."""

    kind: str
    value: Any = None
    note: str = ""
    document: bytes = b""
    """The JSON document that it was read from: it refers to a side part, which no value does."""

    @property
    def plain(self) -> Any:
        """For ``--json``: the value in the codecs' tagged JSON model, the text, or None."""
        if self.document:
            return json.loads(self.document)
        return json.loads(codecs.get("json").encode(self.value)) if self.kind == "value" else self.value


def read(dump: Dump, record: PartRecord, *, trust: bool = False) -> Content:
    """A part's value; ``trust`` allows a pickle to be decoded. Never raises for what is in the file."""
    codec, path = _codec_of(record), f"{dump.directory}/{record.path}"
    if (why := _unread(record, codec, path, trust=trust)) is not None:
        return Content("none", note=why)
    try:
        if codec == "text":
            return Content("text", reader.part_bytes(dump, record).decode("utf-8", "backslashreplace"))
        if codec == "pickle" or record.size > MAX_HERE_BYTES:
            return Content("value", codecs.get("json").decode(_converted(dump, record, trust=trust)))
        data = reader.part_bytes(dump, record)
        return Content("value", codecs.get(codec).decode(data), document=data if codec == "json" else b"")
    except (CodecError, StoreError) as error:
        return Content("none", note=f"{error}; it is {path}")


def _unread(record: PartRecord, codec: str, path: str, *, trust: bool) -> str | None:
    """Why a part is not decoded at all."""
    if record.path is None:
        return "no content"
    if codec == "pickle" and not trust:
        return f"a pickle of {units.size(record.size)}: not decoded without --trust; it is {path}"
    return f"{units.size(record.size)} of {record.media_type}; it is {path}" if codec == "binary" else None


def look(dump: Dump, record: PartRecord, *, trust: bool = False, bounds: Bounds | None = None) -> Content:
    """A part as a person is shown it: its outline. Never raises for what is in the file."""
    if record.path is None:
        return Content("none", note="no content")
    try:
        if _codec_of(record) in ("json", "msgpack") and record.size <= MAX_HERE_BYTES:
            return _outlined(dump, record, bounds or Bounds())
        reader.check_part(dump, record)
        with source.opened(f"{dump.directory}/{record.path}", record.media_type) as found:
            order = Order("outline", found.format, trust=trust, generous=bounds is not None)
            held = looked_at(found, order)
            note = held.note if found.format != "binary" else f"{units.size(record.size)} of {record.media_type}"
            return replace(held, note=f"{note}; it is {found.path}" if note else "")
    except (CodecError, StoreError) as error:
        return Content("none", note=f"{error}; it is {dump.directory}/{record.path}")


def looked_at(found: Source, order: Order) -> Content:
    """The outline of a file, read by a process with bounds. Raises ``CodecError``, ``StoreError``."""
    with source.directory_of(found.path) as directory:
        answer = confined.ask(found, order, directory)
    return Content("outline", json.loads(answer.data), "; ".join(answer.notes))


def show(content: Content, width: int) -> Iterator[str]:
    """The lines that a terminal may get."""
    if content.kind in ("value", "outline"):
        yield from pretty(content.plain, width)
    elif content.kind == "text":
        yield from map(harmless, content.value.splitlines())
    if content.note:
        yield harmless(f"({content.note})")


def _codec_of(record: PartRecord) -> str:
    """What the manifest says that the part is: ``text``, ``binary`` or a codec's name."""
    media_type = record.media_type.partition(";")[0].strip().lower()
    return _CODECS.get(media_type) or ("text" if media_type.startswith("text/") else "binary")


def _outlined(dump: Dump, record: PartRecord, bounds: Bounds) -> Content:
    """What a worker of ours wrote, and is not large, is outlined here."""
    found = documents.READERS[_codec_of(record)](reader.part_bytes(dump, record), trust=False)
    with source.directory_of(f"{dump.directory}/{record.path}") as directory:
        arrays = Look(directory, str(record.path), found.bins)
        tree = Outline(bounds, arrays.tree).of(found.tree)
    return Content("outline", tree, "; ".join([*found.notes, *arrays.notes]))


def _converted(dump: Dump, record: PartRecord, *, trust: bool) -> bytes:
    """The part as a JSON document, made by a process with bounds: no object of a pickle gets in here."""
    reader.check_part(dump, record)
    path = f"{dump.directory}/{record.path}"
    with source.opened(path, record.media_type) as found, source.directory_of(path) as directory:
        return confined.ask(found, Order("convert", found.format, trust=trust, to="json"), directory).data
