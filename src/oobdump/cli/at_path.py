"""What ``oobdump show PATH`` prints: a file of any format, or a directory of a dump.

In: a path that somebody typed. Out: lines, or one object. The rules only this module keeps: a file
that is named by hand is read by a process with bounds, whoever wrote it; a path inside a dump is
held against its manifest, and what differs is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from oobdump.cli import content, output, units
from oobdump.cli.content import Content
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.errors import CodecError, DamagedDump
from oobdump.reading import source
from oobdump.reading.confined import Order
from oobdump.reading.source import Source, SourceError
from oobdump.store import reader
from oobdump.store.layout import REQUEST, Layout
from oobdump.store.reader import Dump

__all__ = ["is_path", "request_at", "show"]

SCHEMA_VERSION = 1

_LISTED = 200


def is_path(text: str) -> bool:
    """Whether a path is meant, not a request: it has a slash, or there is such a file here."""
    return "/" in text or text in (".", "..") or ("." in text and "\0" not in text and os.path.lexists(text))


def request_at(path: str) -> tuple[Layout, str] | None:
    """The job and the request whose directory the path is; None if it is none."""
    layout, words = _place_of(os.path.abspath(path))
    if layout is None or len(words) != 1 or not os.path.isfile(f"{path}/{REQUEST}"):
        return None
    return layout, words[0]


def show(path: str, *, trust: bool, full: bool, as_json: bool) -> ExitCode:
    """Prints what is at a path. Raises ``SourceError`` if nothing that can be read is."""
    try:
        if source.what_is(path) == "a directory":
            return _show_directory(path, trust=trust, full=full, as_json=as_json)
        with source.opened(path) as found:
            held, notes = _held(found, trust=trust, full=full, as_json=as_json)
    except (SourceError, CodecError) as error:
        raise CommandError(str(error), ExitCode.NO_DUMPS) from None
    if as_json:
        output.emit(_document(found, held, notes))
    else:
        _print(f"{path}: {found.format}, {units.size(found.size)}", held)
        for note in notes:
            output.note(note)
    return ExitCode.FINE


def _held(found: Source, *, trust: bool, full: bool, as_json: bool) -> tuple[Content, list[str]]:
    """What is in the file; and what its manifest, if there is one, has against it."""
    order = Order("outline", found.format, trust=trust, generous=full or as_json)
    return content.looked_at(found, order), list(_against(found.path))


def _against(path: str) -> Iterator[str]:
    """What the manifest beside a part says that the part is not."""
    layout, words = _place_of(os.path.abspath(path))
    if layout is None or len(words) != 3:  # noqa: PLR2004 - request, writer, part
        return
    dump = reader.read_dump(layout, words[0], words[1])
    record = next((record for record in dump.parts if record.path == words[2]), None)
    if dump.found != "committed":
        yield f"it is in a dump that is {dump.found}: {dump.why}"
    elif record is not None:
        try:
            reader.check_part(dump, record)
        except DamagedDump as error:
            yield str(error)


def _place_of(path: str) -> tuple[Layout | None, list[str]]:
    """The job that a path below ``dumps/`` is in, and what follows ``dumps/``; None for a path anywhere else."""
    head, found, tail = path.rpartition("/dumps/")
    if not found or "/" not in head:
        return None, []
    root, _, job = head.rpartition("/")
    return Layout(root, job), [word for word in tail.split("/") if word]


def _document(found: Source, held: Content, notes: list[str]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "path": found.path,
        "format": found.format,
        "size": found.size,
        "content": held.value,
        "notes": [*([held.note] if held.note else []), *notes],
    }


def _print(heading: str, held: Content) -> None:
    output.sentence(heading)
    output.say(*content.show(held, output.page_width()))


# -- directories -------------------------------------------------------------------------------------------------------


def _show_directory(path: str, *, trust: bool, full: bool, as_json: bool) -> ExitCode:
    """A writer's dump: its manifest and its parts. Any other directory: what is in it."""
    path = os.path.abspath(path)
    layout, words = _place_of(path)
    if layout is not None and len(words) == 2:  # noqa: PLR2004 - request and writer
        dump = reader.read_dump(layout, words[0], words[1])
    else:
        dump = reader.read_alone(path)
    if dump.found != "committed":
        return _list(path, dump, as_json=as_json)
    parts = [(record, _part(dump, record, trust=trust, full=full or as_json)) for record in dump.parts]
    if as_json:
        output.emit(
            {
                "schema_version": SCHEMA_VERSION,
                "path": path,
                "worker": dump.worker,
                "request_id": dump.request_id,
                "status": dump.status,
                "parts": [
                    {"handler": record.handler, "status": record.status, "content": held.value, "note": held.note}
                    for record, held in parts
                ],
            }
        )
        return ExitCode.FINE
    output.sentence(f"{dump.worker}, request {dump.request_id}: {dump.status}, answered by {dump.answered_by}")
    for record, held in parts:
        output.say("")
        _print(f"{record.handler}: {record.status} ({record.media_type}, {units.size(record.size)})", held)
        if record.error is not None:
            output.sentence(f"{record.error.type}: {record.error.message}")
    return ExitCode.FINE


def _part(dump: Dump, record: Any, *, trust: bool, full: bool) -> Content:
    return content.look(dump, record, trust=trust, bounds=content.FULL if full else None)


def _list(path: str, dump: Dump, *, as_json: bool) -> ExitCode:
    """What is in a directory that is no committed dump; nothing of it is opened."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.NO_DUMPS) from None
    entries = [(name, source.what_is(f"{path}/{name}"), _size(f"{path}/{name}")) for name in names[:_LISTED]]
    if as_json:
        listed = [{"name": name, "is": kind, "size": size} for name, kind, size in entries]
        document = {"schema_version": SCHEMA_VERSION, "path": path, "state": dump.found, "why": dump.why}
        output.emit({**document, "entries": listed, "more": max(0, len(names) - _LISTED)})
        return ExitCode.FINE
    output.sentence(f"{path} is no committed dump ({dump.found}: {dump.why}); it holds {len(names):,} entries")
    output.table(("name", "is", "size"), [(name, kind, units.size(size)) for name, kind, size in entries])
    if len(names) > _LISTED:
        output.sentence(f"… {len(names) - _LISTED:,} more")
    return ExitCode.FINE


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
