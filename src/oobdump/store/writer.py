"""One writer's dump of one request: claim, parts, manifest.

In: parts as bytes and what the manifest says of them. Out: a directory whose manifest is its
commit. The invariants, which `tests/faults` breaks call by call:

1. The claim is on disk before a handler runs.
2. A file has its final name only once it is whole.
3. The manifest is written after every part that it lists; it lists nothing else.
4. A committed dump is not changed: the first commit wins, and who comes late writes no part.
5. Nothing outside ``dumps/<request>/<writer>/`` is touched.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from oobdump.identity import Identity, iso
from oobdump.request import AcceptedRequest
from oobdump.response import Bytes, ErrorInfo, Part, Status, worst
from oobdump.store import atomic
from oobdump.store.layout import CLAIM, MANIFEST, Layout, part_name, side_name
from oobdump.store.roster import identity_document
from oobdump.wire import accepted_to_bytes

__all__ = ["SCHEMA_VERSION", "DumpWriter", "FileRecord", "PartRecord", "checksum"]

SCHEMA_VERSION = 1
"""Of claims and manifests."""


@dataclass(frozen=True)
class FileRecord:
    """A file beside the manifest."""

    path: str
    size: int
    checksum: str


@dataclass(frozen=True)
class PartRecord:
    """What the manifest says of one part; ``path`` is a name beside it, None if nothing was written."""

    handler: str
    status: Status
    code: int
    media_type: str
    path: str | None
    size: int
    checksum: str | None
    seconds: float
    error: ErrorInfo | None = None
    side: FileRecord | None = None


def checksum(data: Any) -> str:
    """CRC-32 of a part: it tells damage, not malice (SHA-256 would cost a fifth of a bulk write)."""
    return f"crc32:{zlib.crc32(data):08x}"


@dataclass(frozen=True)
class DumpWriter:
    """Writes one dump; every method is one bounded piece of I/O and may be called again.

    ``identity`` is whom the dump is about, ``answered_by`` who makes it, ``name`` its directory's if not the worker's.
    """

    layout: Layout
    request_id: str
    identity: Identity
    durable: bool = False
    answered_by: str = "worker"
    name: str = ""

    @property
    def directory(self) -> str:
        """Where this dump is."""
        return self.layout.dump(self.request_id, self.name or self.identity.worker)

    def publish(self, accepted: AcceptedRequest) -> None:
        """Writes ``request.json`` where no acceptor has: no file brought it, or this is a fallback directory."""
        self._make_directories()
        path = self.layout.request_json(self.request_id)
        if not os.path.exists(path):
            atomic.publish(path, accepted_to_bytes(accepted), durable=self.durable)

    def claim(self, handlers: tuple[str, ...], now: float) -> None:
        """Says that this worker took the request, before anything can go wrong with it."""
        self._make_directories()
        document = {
            "schema_version": SCHEMA_VERSION,
            "request_id": self.request_id,
            "worker": self.identity.worker,
            "pid": self.identity.pid,
            "claimed_at": iso(now),
            "claimed_at_s": now,
            "handlers": list(handlers),
        }
        atomic.publish(f"{self.directory}/{CLAIM}", _json(document), durable=self.durable)

    def write_part(self, part: Part, nth: int = 1) -> PartRecord:
        """Writes a part's file, if it has any content, and returns what the manifest will say."""
        record = PartRecord(
            part.handler, part.status, part.code, part.media_type, None, 0, None, round(part.seconds, 6), part.error
        )
        if part.size == 0:
            return record
        name = part_name(part.handler, part.suffix, nth)
        self._make_directories()
        side = self._write(side_name(name), part.side) if part.side else None
        written = self._write(name, (part.body, *part.more))
        return replace(record, path=name, size=written.size, checksum=written.checksum, side=side)

    def _write(self, name: str, pieces: tuple[Bytes, ...]) -> FileRecord:
        if os.path.exists(self._manifest):
            size, crc = sum(memoryview(piece).nbytes for piece in pieces), 0
        else:
            size, crc = atomic.replace_summed(f"{self.directory}/{name}", pieces, durable=self.durable)
        return FileRecord(name, size, f"crc32:{crc:08x}")

    def commit(self, records: tuple[PartRecord, ...], state: str, evidence: Mapping[str, Any], now: float) -> bool:
        """Writes the manifest: the dump is committed. False if it had been already."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "request_id": self.request_id,
            "worker": self.identity.worker,
            "answered_by": self.answered_by,
            "identity": identity_document(self.identity),
            "status": worst(record.status for record in records),
            "state": state,
            "evidence": dict(evidence),
            "committed_at": iso(now),
            "committed_at_s": now,
            "parts": [_entry(record) for record in records],
        }
        self._make_directories()
        return atomic.publish(self._manifest, _json(document), durable=self.durable)

    @property
    def _manifest(self) -> str:
        return f"{self.directory}/{MANIFEST}"

    def _make_directories(self) -> None:
        layout, request_dir = self.layout, self.layout.request_dir(self.request_id)
        try:
            atomic.private_dir(request_dir)
        except FileNotFoundError:  # a fallback directory at its first dump, or somebody removed ours
            atomic.make_tree(layout.root, layout.job_dir, layout.dumps, request_dir)
        atomic.private_dir(self.directory)


def _entry(record: PartRecord) -> dict[str, Any]:
    entry = asdict(record)
    return entry if record.side is not None else {name: entry[name] for name in entry if name != "side"}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, indent=1).encode("ascii") + b"\n"
