"""What is in a part: read, decoded where that is safe, and shown.

In: a part of a committed dump. Out: ``Content``: a value, a text, bytes, or why there is none.
The rules only this module keeps: a pickle is not decoded without being told to, and what
cannot be decoded is described, so that one bad part hides no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oobdump import codecs
from oobdump.cli import units
from oobdump.cli.pretty import pretty
from oobdump.errors import CodecError, DamagedDump
from oobdump.report.harmless import harmless
from oobdump.store import reader
from oobdump.store.reader import Dump
from oobdump.store.writer import PartRecord

__all__ = ["Content", "read", "show"]

_CODECS = {"application/json": "json", "application/msgpack": "msgpack", "application/vnd.oobdump.pickle": "pickle"}


@dataclass(frozen=True)
class Content:
    """What a part holds. ``kind`` is ``value``, ``text`` or ``none``; ``note`` says what is missing, and what next."""

    kind: str
    value: Any = None
    note: str = ""

    @property
    def plain(self) -> Any:
        """For ``--json``: the value in the codecs' tagged JSON model, the text, or None."""
        return json.loads(codecs.get("json").encode(self.value)) if self.kind == "value" else self.value


def read(dump: Dump, record: PartRecord, *, trust: bool = False) -> Content:
    """A part's content; ``trust`` allows a pickle to be decoded. Never raises for what is in the file."""
    media_type = record.media_type.partition(";")[0].strip().lower()
    codec = _CODECS.get(media_type)
    path = f"{dump.directory}/{record.path}"
    if record.path is None:
        return Content("none", note="no content")
    if codec == "pickle" and not trust:
        return Content("none", note=f"a pickle of {units.size(record.size)}: not decoded without --trust; it is {path}")
    if codec is None and not media_type.startswith("text/"):
        return Content("none", note=f"{units.size(record.size)} of {media_type}; it is {path}")
    try:
        return _decoded(reader.part_bytes(dump, record), codec)
    except (DamagedDump, CodecError) as error:
        return Content("none", note=f"{error}; it is {path}")


def show(content: Content, width: int) -> Iterator[str]:
    """The lines that a terminal may get."""
    if content.kind == "value":
        yield from pretty(content.plain, width)
    elif content.kind == "text":
        yield from map(harmless, content.value.splitlines())
    if content.note:
        yield harmless(f"({content.note})")


def _decoded(data: bytes, codec: str | None) -> Content:
    """What the bytes say; without a codec they are text."""
    if codec is None:
        return Content("text", data.decode("utf-8", "backslashreplace"))
    return Content("value", codecs.get(codec).decode(data))
