"""Where everything is under the root, and what names mean; pure, no file is touched.

In: a root, a job, ids and worker names. Out: paths, and values back from names. The rule
only this module keeps: a request's id is a function of the dropped file alone, so that all
acceptors agree on it.

    <root>/<job>/roster/<worker>.json     requests/    rejected/    sentinels/
    <root>/<job>/dumps/<id>/request.json  dumps/<id>/<worker>/{claim.json,<part>…,manifest.json}
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass

from oobdump.identity import parse_name

__all__ = [
    "CLAIM",
    "MANIFEST",
    "OUTSIDE",
    "REQUEST",
    "Layout",
    "made_id",
    "part_name",
    "request_id",
    "side_name",
    "writer_of",
]

CLAIM = "claim.json"
MANIFEST = "manifest.json"
REQUEST = "request.json"
OUTSIDE = ".outside"

_RESERVED = {name: name.replace(".", ".part.") for name in (CLAIM, MANIFEST, REQUEST)}
"""Names that mean something else, and what the part of a handler with such a name is called instead."""

_PARTS_OF_RESERVED = {part: name for name, part in _RESERVED.items()}
_PART = re.compile(r"(?P<handler>[A-Za-z_][A-Za-z0-9_-]*)(?:\.(?P<nth>[2-9]|[1-9][0-9]+))?\.(?P<suffix>[a-z0-9]+)")


@dataclass(frozen=True)
class Layout:
    """The directories of one job."""

    root: str
    job: str

    @property
    def job_dir(self) -> str:
        """``<root>/<job>``."""
        return f"{self.root}/{self.job}"

    @property
    def roster(self) -> str:
        """One entry per worker."""
        return f"{self.job_dir}/roster"

    @property
    def sentinels(self) -> str:
        """One file per sentinel that runs."""
        return f"{self.job_dir}/sentinels"

    @property
    def inbox(self) -> str:
        """Where request files are dropped."""
        return f"{self.job_dir}/requests"

    @property
    def rejected(self) -> str:
        """Where request files go that could not be accepted, each with its reason."""
        return f"{self.job_dir}/rejected"

    @property
    def dumps(self) -> str:
        """One directory per request."""
        return f"{self.job_dir}/dumps"

    def entry(self, worker: str) -> str:
        """The worker's roster entry."""
        return f"{self.roster}/{worker}.json"

    def request_dir(self, request: str) -> str:
        """All that belongs to one request."""
        return f"{self.dumps}/{request}"

    def request_json(self, request: str) -> str:
        """The request as accepted."""
        return f"{self.dumps}/{request}/{REQUEST}"

    def dump(self, request: str, writer: str) -> str:
        """One writer's dump: a worker's name, or that with ``.outside``."""
        return f"{self.dumps}/{request}/{writer}"

    def manifest(self, request: str, writer: str) -> str:
        """The file whose presence is the commit."""
        return f"{self.dumps}/{request}/{writer}/{MANIFEST}"


def request_id(name: str, inode: int, mtime_ns: int) -> str:
    """The id of a dropped file: its mtime in UTC to the millisecond, and a hash of what names it."""
    digest = hashlib.sha256(f"{name}\0{inode}\0{mtime_ns}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"{_stamp(mtime_ns)}-{digest[:10]}"


def made_id(now_ns: int, worker: str, count: int) -> str:
    """The id of a request that no file brought: unique by worker and count."""
    return request_id(worker, count, now_ns)


def _stamp(ns: int) -> str:
    seconds, milliseconds = divmod(ns // 1_000_000, 1000)
    seconds = min(max(seconds, 0), 253_402_300_799)  # the years 1970 to 9999: a hostile mtime is no error
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04d}{month:02d}{day:02d}T{hour:02d}{minute:02d}{second:02d}.{milliseconds:03d}Z"


def part_name(handler: str, suffix: str, nth: int = 1) -> str:
    """The file of a part; ``nth`` counts calls of the same handler in one request."""
    name = f"{handler}.{suffix}" if nth == 1 else f"{handler}.{nth}.{suffix}"
    return _RESERVED.get(name, name)


def side_name(part: str) -> str:
    """The file beside a part that holds the bulk data which the part refers to."""
    return f"{part}.bin"


def parse_part_name(name: str) -> tuple[str, str, int] | None:
    """Handler, suffix and count of a part's file; None if it is not one."""
    match = None if name in _RESERVED else _PART.fullmatch(_PARTS_OF_RESERVED.get(name, name))
    if match is None:
        return None
    return match["handler"], match["suffix"], int(match["nth"] or 1)


def writer_of(directory: str) -> tuple[str, bool] | None:
    """The worker that a dump is about, and whether it was made from outside; None if the name says neither."""
    worker = directory.removesuffix(OUTSIDE)
    return None if parse_name(worker) is None else (worker, worker != directory)
