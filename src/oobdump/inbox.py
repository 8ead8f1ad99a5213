"""Accepting request files: a pure decision and a small apply.

In: the inbox directory and the roster. Out: ``AcceptedRequest`` values, each published once
whoever accepts (a worker, a sentinel, a client), and rejected files with their reasons. The
rule only this module keeps: a file leaves the inbox only after ``request.json`` stands, or
for ``rejected/`` with its reason.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from oobdump.errors import DamagedDump, RequestError, StoreError, UnreadableRequest
from oobdump.request import AcceptedRequest, Request
from oobdump.store import atomic, drops, reader, roster
from oobdump.store.fallen import fallen
from oobdump.store.layout import Layout, request_id
from oobdump.targets import Candidate, select
from oobdump.wire import MAX_REQUEST_BYTES, accepted_to_bytes, read_request, request_for_handler

__all__ = [
    "HALF_WRITTEN_S",
    "SETTLED_S",
    "Accept",
    "Decision",
    "Ignore",
    "Inbox",
    "Look",
    "Reject",
    "Seen",
    "Wait",
    "candidates",
    "decide",
]

HALF_WRITTEN_S = 2.0
"""A file that is no whole document and has not changed for this long is not in the writing any more."""

SETTLED_S = 0.010
"""`touch` and `cp -p` set a file's times after making it, and so change its id: only a file whose ctime is
older than this (twice the coarsest tick of a file system's clock) is accepted."""

MAX_FILES_A_LOOK = 64
"""A look is one bounded piece of work, so that whoever watches it can tell slow from stuck."""

TROUBLE_AGAIN_S = 5.0
"""A file that can be neither accepted nor rejected, on a full disk perhaps, is tried again: nobody rings for space."""

_ENCODINGS = {".json": "json", ".msgpack": "msgpack"}


@dataclass(frozen=True)
class Seen:
    """What one look at a file found. ``data`` is None where it could not be read, ``problem`` says why."""

    name: str
    inode: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    uid: int = 0
    data: bytes | None = None
    problem: str = ""

    @property
    def version(self) -> drops.Version:
        """Changes whenever the file does."""
        return (self.inode, self.mtime_ns, self.ctime_ns)


@dataclass(frozen=True)
class Accept:
    """The file is a request."""

    request: Request


@dataclass(frozen=True)
class Wait:
    """The file may still be in the writing: look again after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Reject:
    """The file is no request, and will not become one."""

    reason: str


@dataclass(frozen=True)
class Ignore:
    """The file is none of our business yet."""


Decision = Accept | Wait | Reject | Ignore


def ignored(name: str) -> bool:
    """Names that are nobody's until they are renamed."""
    return name.startswith(".") or name.endswith(".tmp")


def decide(  # noqa: C901, PLR0911 - one rule a line, in the order in which they count
    seen: Seen, age_s: float, unchanged_s: float, uid: int, oldest_ns: int | None
) -> Decision:
    """What to do with a file.

    ``age_s`` is the time since its last change as far as clocks agree, ``unchanged_s`` the time for
    which this acceptor has seen it unchanged; ``uid`` is ours; ``oldest_ns`` is when the oldest live
    worker registered, by the file system's clock, None if there is none.
    """
    if ignored(seen.name):
        return Ignore()
    if age_s < SETTLED_S:
        return Wait(SETTLED_S - age_s)
    if seen.data is None:
        return Reject(seen.problem)
    if seen.uid not in (0, uid):
        return Reject(f"it belongs to uid {seen.uid}: a request file must belong to us (uid {uid}) or to root")
    if oldest_ns is None:
        return Reject("no worker of this job is running: start the job, then drop the file again")
    if seen.ctime_ns < oldest_ns:
        return Reject("it is older than every running worker: nobody was there when it was dropped; drop it again")
    try:
        return Accept(_parse(seen.name, seen.data))
    except UnreadableRequest as error:
        left = HALF_WRITTEN_S - unchanged_s
        return Wait(left) if left > 0 else Reject(str(error))
    except RequestError as error:
        return Reject(str(error))


def _parse(name: str, data: bytes) -> Request:
    stem, suffix = os.path.splitext(name)
    if suffix in _ENCODINGS:
        return read_request(data, _ENCODINGS[suffix])
    if data:
        raise UnreadableRequest(
            f"{name!a} has content, but its name does not say what: rename it to {stem + '.json'!a} or "
            f"{stem + '.msgpack'!a}; an empty file asks for the handler that it is named after"
        )
    return request_for_handler(name)


@dataclass(frozen=True)
class Look:
    """What one look at the inbox did.

    ``left`` counts the files that stay for now, ``again_s`` is when one of them wants another look; ``more``
    says that others were not looked at, and may be at once.
    """

    accepted: tuple[AcceptedRequest, ...] = ()
    rejected: tuple[str, ...] = ()
    again_s: float | None = None
    problems: tuple[str, ...] = ()
    left: int = 0
    more: bool = False

    def leaving(self, again_s: float) -> Look:
        """The same, and one more file that stays."""
        return replace(self, left=self.left + 1, again_s=min(again_s, self.again_s or again_s))


@dataclass
class Inbox:
    """Accepts on behalf of ``acceptor`` (a worker's name, ``client`` or ``sentinel`` with host and pid).

    One thread at a time; any number of processes.
    """

    layout: Layout
    acceptor: str
    _first_seen: dict[str, tuple[drops.Version, float]] = field(default_factory=dict)
    _start: int = field(default_factory=os.getpid)

    def look(self, whole: Collection[str] = ()) -> Look:
        """Accepts or rejects all that can be decided now. Raises ``OSError`` if the inbox cannot be listed.

        ``whole`` are names that the caller dropped by one rename: they come first and need not settle.
        """
        there = {name for name in os.listdir(self.layout.inbox) if not ignored(name)}
        self._first_seen = {name: seen for name, seen in self._first_seen.items() if name in there}
        if not there:
            return Look()
        known = roster.read(self.layout)[0]
        live = [entry for entry in known if entry.alive() is not False]
        gone = fallen(known) if live else []
        look = Look()
        for name in self._in_turn(there, whole):
            look = self._one(look, name, live, gone, settled=name in whole)
        return replace(look, more=len(there) > MAX_FILES_A_LOOK > look.left)

    def _in_turn(self, there: Collection[str], whole: Collection[str]) -> list[str]:
        """The names of one look. Each acceptor starts elsewhere, and each look of one goes on where the last ended."""
        names = sorted(there)
        start = self._start % len(names)
        self._start = start + MAX_FILES_A_LOOK
        turned = sorted(names[start:] + names[:start], key=lambda name: name not in whole)
        return turned[:MAX_FILES_A_LOOK]

    def _one(
        self, look: Look, name: str, live: Sequence[roster.Entry], gone: Sequence[roster.Entry], *, settled: bool
    ) -> Look:
        wall, now = (
            time.time(),
            time.monotonic(),
        )  # before the look: whoever is preempted after it must not seem patient
        try:
            seen = observe(self.layout.inbox, name)
            if seen is None:
                return look
            oldest = min((entry.registered_ns for entry in live), default=None)
            unchanged_s = self._unchanged_s(seen, now)
            age_s = SETTLED_S if settled else max(unchanged_s, wall - seen.ctime_ns / 1e9)
            decision = decide(seen, age_s, unchanged_s, os.geteuid(), oldest)
            if isinstance(decision, Accept):
                return self._accept(look, seen, decision.request, candidates(live, gone))
            if isinstance(decision, Wait):
                return look.leaving(decision.seconds)
            if isinstance(decision, Reject):
                return self._reject(look, seen, decision.reason)
        except (OSError, StoreError) as error:  # a full or read-only disk: another acceptor may do better
            return replace(look, problems=(*look.problems, f"{name}: {error}")).leaving(TROUBLE_AGAIN_S)
        return look

    def _unchanged_s(self, seen: Seen, now: float) -> float:
        version, since = self._first_seen.get(seen.name, (None, now))
        if version != seen.version:
            since = now
        self._first_seen[seen.name] = (seen.version, since)
        return now - since

    def _accept(self, look: Look, seen: Seen, request: Request, there: Sequence[Candidate]) -> Look:
        try:
            asked = select(request.targets, there)
        except RequestError as error:
            return self._reject(look, seen, str(error))
        accepted = AcceptedRequest(
            id=request.id or request_id(seen.name, seen.inode, seen.mtime_ns),
            request=request,
            asked=asked,
            accepted_at=time.time(),
            accepted_by=self.acceptor,
            source=_source(seen),
        )
        try:
            standing = publish(self.layout, accepted)
        except StoreError as error:
            if request.id is None:
                raise
            return self._reject(look, seen, f"the id {request.id} cannot be used: {error}")
        if standing is not None and dict(standing.source) != dict(accepted.source):
            return self._reject(
                look, seen, f"the id {accepted.id} is already used: choose another, or `touch` the file"
            )
        drops.take_away(self.layout, seen.name, seen.version, accepted.id)
        return replace(look, accepted=(*look.accepted, standing or accepted))

    def _reject(self, look: Look, seen: Seen, reason: str) -> Look:
        if not drops.reject(self.layout, seen.name, seen.version, reason, self.acceptor):
            return look
        return replace(look, rejected=(*look.rejected, f"{seen.name}: {reason}"))


def publish(layout: Layout, accepted: AcceptedRequest) -> AcceptedRequest | None:
    """Publishes a request; None if it is ours now, else the one that stands under this id."""
    atomic.private_dir(layout.request_dir(accepted.id))
    if atomic.publish(layout.request_json(accepted.id), accepted_to_bytes(accepted)):
        return None
    standing = reader.open_request(layout, accepted.id)
    if standing is None:
        raise DamagedDump(f"{layout.request_json(accepted.id)} came and went: is somebody removing dumps?")
    return standing


def observe(directory: str, name: str) -> Seen | None:
    """One careful look at a file of the inbox; None if it vanished: then it was accepted."""
    path, base = f"{directory}/{name}", Seen(name)
    try:
        found = os.lstat(path)
        base = Seen(name, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_uid)
        if not stat.S_ISREG(found.st_mode):
            return replace(base, problem="it is not a regular file")
        descriptor = os.open(path, atomic.CAREFUL)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        return replace(base, problem=f"it cannot be opened: {error.strerror}")
    try:
        return _read(base, descriptor)
    finally:
        os.close(descriptor)


def _read(base: Seen, descriptor: int) -> Seen | None:
    found = os.fstat(descriptor)
    if found.st_nlink == 0:
        return None
    base = replace(base, inode=found.st_ino, mtime_ns=found.st_mtime_ns, ctime_ns=found.st_ctime_ns, uid=found.st_uid)
    try:
        return replace(base, data=atomic.read_descriptor(descriptor, MAX_REQUEST_BYTES))
    except ValueError as error:
        return replace(base, problem=str(error))


def candidates(live: Sequence[roster.Entry], gone: Sequence[roster.Entry]) -> list[Candidate]:
    """Who can be asked, and whose end can be told."""
    return [_candidate(entry, gone=False) for entry in live] + [_candidate(entry, gone=True) for entry in gone]


def _candidate(entry: roster.Entry, *, gone: bool) -> Candidate:
    return Candidate(entry.worker, entry.identity.host, entry.identity.rank, entry.identity.role, gone)


def _source(seen: Seen) -> dict[str, str | int]:
    return {
        "channel": "request_file",
        "name": seen.name,
        "inode": seen.inode,
        "mtime_ns": seen.mtime_ns,
        "ctime_ns": seen.ctime_ns,
    }
