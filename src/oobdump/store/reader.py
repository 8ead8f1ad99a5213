"""What the dumps say: requests, and each writer's dump as committed, partial or foreign.

In: a layout. Out: frozen values. Reads files that anybody may have damaged: what is not as
its writer committed it is said in words, per writer, and never ends a listing. The rule only
this module keeps: a part is handed out only if a manifest lists it and its bytes still match.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from oobdump.errors import DamagedDump, RequestError
from oobdump.request import AcceptedRequest
from oobdump.response import ErrorInfo, Status
from oobdump.store import atomic
from oobdump.store.layout import CLAIM, MANIFEST, OUTSIDE, REQUEST, Layout, parse_part_name, side_name, writer_of
from oobdump.store.writer import SCHEMA_VERSION, FileRecord, PartRecord, checksum
from oobdump.wire import MAX_ACCEPTED_BYTES, read_accepted

__all__ = [
    "Dump",
    "check_part",
    "dumps",
    "has_manifest",
    "has_outside",
    "open_request",
    "part_bytes",
    "read_alone",
    "read_dump",
    "request_ids",
]

_MAX_MANIFEST_BYTES = 2**24
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError)
"""What reading a document that anybody may have damaged can raise."""
_STATUSES = ("ok", "error", "timeout", "refused")

DumpState = Literal["committed", "partial", "foreign"]


@dataclass(frozen=True)
class Dump:
    """One writer's dump. ``why`` says in words what a partial or foreign one lacks."""

    request_id: str
    worker: str
    directory: str
    outside: bool
    found: DumpState
    why: str = ""
    status: Status | None = None
    answered_by: str | None = None
    state: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    parts: tuple[PartRecord, ...] = ()
    claimed_at: float | None = None
    committed_at: float | None = None


def request_ids(layout: Layout) -> list[str]:
    """The ids of all requests that have a directory, oldest first."""
    try:
        names = os.listdir(layout.dumps)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def open_request(layout: Layout, request_id: str) -> AcceptedRequest | None:
    """The request as accepted; None if it is not published yet. Raises ``DamagedDump``."""
    try:
        data = atomic.read_bounded(layout.request_json(request_id), MAX_ACCEPTED_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DamagedDump(f"{layout.request_json(request_id)}: {error}") from None
    try:
        accepted = read_accepted(data)
    except RequestError as error:
        raise DamagedDump(f"{layout.request_json(request_id)}: {error}") from None
    if accepted.id != request_id:
        raise DamagedDump(f"{layout.request_json(request_id)} is about request {accepted.id}: it was put there by hand")
    return accepted


def has_manifest(layout: Layout, request_id: str, worker: str) -> bool:
    """Whether the worker's own dump is committed; one system call."""
    return os.path.exists(layout.manifest(request_id, worker))


def has_outside(layout: Layout, request_id: str, worker: str) -> bool:
    """Whether somebody else's dump about the worker is committed; one system call."""
    return os.path.exists(layout.manifest(request_id, worker + OUTSIDE))


def dumps(layout: Layout, request_id: str) -> list[Dump]:
    """Every writer's dump of one request, by name; other things in the directory are foreign."""
    try:
        names = sorted(os.listdir(layout.request_dir(request_id)))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [read_dump(layout, request_id, name) for name in names if name != REQUEST and not name.startswith(".")]


def read_dump(layout: Layout, request_id: str, writer: str) -> Dump:
    """One writer's dump, whatever its condition."""
    directory = layout.dump(request_id, writer)
    named = writer_of(writer)
    if named is None:
        why = "its name is no worker's: oobdump did not make it"
        return Dump(request_id, writer, directory, outside=False, found="foreign", why=why)
    if not os.path.lexists(directory):
        return Dump(request_id, named[0], directory, named[1], "partial", why="no dump was begun")
    base = Dump(request_id, named[0], directory, named[1], "foreign", why=_not_ours(directory))
    if base.why:
        return base
    base = replace(base, claimed_at=_claimed_at(directory))
    try:
        document = json.loads(atomic.read_bounded(f"{directory}/{MANIFEST}", _MAX_MANIFEST_BYTES))
        return _committed(base, document)
    except FileNotFoundError:
        why = "no manifest" if base.claimed_at is None else "claimed, not committed"
        return replace(base, found="partial", why=why)
    except _UNREADABLE as error:
        return replace(base, why=f"its manifest cannot be read: {type(error).__name__}: {error}")


def read_alone(directory: str) -> Dump:
    """A writer's dump that was copied to somewhere else: its manifest says whose it is."""
    base = Dump("", "", directory, outside=False, found="foreign", why=_not_ours(directory))
    if base.why:
        return base
    try:
        document = json.loads(atomic.read_bounded(f"{directory}/{MANIFEST}", _MAX_MANIFEST_BYTES))
        named = replace(base, worker=str(document["worker"]), request_id=str(document["request_id"]))
        return _committed(named, document)
    except FileNotFoundError:
        return replace(base, found="partial", why="no manifest")
    except _UNREADABLE as error:
        return replace(base, why=f"its manifest cannot be read: {type(error).__name__}: {error}")


def part_bytes(dump: Dump, record: PartRecord) -> bytes:
    """A part's content, checked against its manifest. Raises ``DamagedDump``."""
    if record.path is None:
        return b""
    path = f"{dump.directory}/{record.path}"
    try:
        data = atomic.read_bounded(path, max(0, record.size))  # never more than the manifest says there is
    except OSError as error:
        raise DamagedDump(f"{path}: {error}") from None
    except ValueError as error:
        raise DamagedDump(f"{path} is not what its manifest says: {error}") from None
    if len(data) != record.size or checksum(data) != record.checksum:
        raise _changed(path, record.size, record.checksum)
    return data


def check_part(dump: Dump, record: PartRecord) -> None:
    """Checks a part of any size, and its side part, without holding them. Raises ``DamagedDump``."""
    if record.path is not None:
        _check(f"{dump.directory}/{record.path}", record.size, record.checksum)
    if record.side is not None:
        _check(f"{dump.directory}/{record.side.path}", record.side.size, record.side.checksum)


def _check(path: str, wanted: int, checksum_wanted: str | None) -> None:
    size = crc = 0
    try:
        for piece in atomic.read_pieces(path, max(0, wanted)):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
    except OSError as error:
        raise DamagedDump(f"{path}: {error}") from None
    except ValueError as error:
        raise DamagedDump(f"{path} is not what its manifest says: {error}") from None
    if size != wanted or f"crc32:{crc:08x}" != checksum_wanted:
        raise _changed(path, wanted, checksum_wanted)


def _changed(path: str, size: int, checksum_wanted: str | None) -> DamagedDump:
    return DamagedDump(f"{path} is not what its manifest says ({size} bytes, {checksum_wanted}): it was changed later")


def _committed(base: Dump, document: Any) -> Dump:
    if document["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema version {document['schema_version']!r}, this oobdump reads {SCHEMA_VERSION}")
    if document["worker"] != base.worker or document["request_id"] != base.request_id:
        raise ValueError("it is about another worker or request")
    return replace(
        base,
        found="committed",
        status=_status(document["status"]),
        answered_by=str(document["answered_by"]),
        state=str(document["state"]),
        evidence=dict(document["evidence"]),
        identity=dict(document["identity"]),
        parts=tuple(_record(item) for item in document["parts"]),
        committed_at=float(document["committed_at_s"]),
    )


def _record(item: Any) -> PartRecord:
    path, error, side = item["path"], item["error"], item.get("side")
    if path is not None and parse_part_name(path) is None:
        raise ValueError(f"{path!a} is no name of a part")  # so that no path leads out of the directory
    if side is not None and (path is None or side["path"] != side_name(path)):
        raise ValueError("the side part is not named after its part")
    return PartRecord(
        handler=str(item["handler"]),
        status=_status(item["status"]),
        code=int(item["code"]),
        media_type=str(item["media_type"]),
        path=path,
        size=int(item["size"]),
        checksum=item["checksum"],
        seconds=float(item["seconds"]),
        error=None if error is None else ErrorInfo(str(error["type"]), str(error["message"]), str(error["traceback"])),
        side=None if side is None else FileRecord(str(side["path"]), int(side["size"]), str(side["checksum"])),
    )


def _status(value: Any) -> Status:
    if value not in _STATUSES:
        raise ValueError(f"{value!a} is no status")
    known: Status = value
    return known


def _claimed_at(directory: str) -> float | None:
    try:
        return float(json.loads(atomic.read_bounded(f"{directory}/{CLAIM}", _MAX_MANIFEST_BYTES))["claimed_at_s"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _not_ours(directory: str) -> str:
    try:
        found = os.lstat(directory)
    except OSError as error:
        return f"cannot be looked at: {error}"
    if not stat.S_ISDIR(found.st_mode):
        return "not a directory: oobdump did not make it"
    if found.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        return f"belongs to uid {found.st_uid}"
    return ""
