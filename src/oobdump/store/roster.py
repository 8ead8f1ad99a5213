"""Who answers: one entry per worker of a job.

In: identities and what their channels say. Out: ``Entry`` values; a damaged entry is a
problem in words, never an exception. The rule only this module keeps: an entry is written
by its worker while that lives, and by whoever finds it dead afterwards.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oobdump.config import signal_number
from oobdump.identity import Identity, Machine, Role, is_alive, iso, parse_name
from oobdump.store import atomic
from oobdump.store.layout import Layout

__all__ = [
    "PROTOCOL_VERSION",
    "Entry",
    "armed_signals",
    "find",
    "from_bytes",
    "note_end",
    "read",
    "read_entry",
    "to_bytes",
    "with_end",
    "write",
]

PROTOCOL_VERSION = 1
"""Of all that is on disk; a reader refuses a larger one."""

EXITING = "exiting"
"""How a worker's end is noted that has begun to exit: it may still hang there, and still answer."""

_MAX_ENTRY_BYTES = 2**18

_LATEST_S = 253_402_300_800
"""The year 10000: no time of ours, and none that can be shown."""

_OUT_OF_SOMETHING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What a process lacks says nothing of the file that it wanted to read."""


@dataclass(frozen=True)
class Entry:
    """One worker in the roster.

    ``registered_ns`` is the file system's own clock when the worker registered, so that it can be
    compared with a dropped file's ctime whatever the clocks of two machines say. ``problems`` are
    what ``start()`` could not set up, in words.
    """

    identity: Identity
    registered_ns: int
    channels: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    started_at: float = 0.0
    ended: Mapping[str, Any] | None = None

    @property
    def worker(self) -> str:
        """The worker's name."""
        return self.identity.worker

    def alive(self) -> bool | None:
        """Whether it runs; None if it ended nowhere that we know of and cannot be seen from here."""
        if self.ended is not None and self.ended.get("how") != EXITING:
            return False
        running = is_alive(self.identity.machine, self.identity.pid, self.identity.start_ticks)
        return False if running is None and self.ended is not None else running


def write(layout: Layout, entry: Entry) -> Entry:
    """Writes the entry; one with ``registered_ns`` 0 gets the file system's clock."""
    if entry.registered_ns == 0:
        entry = replace(entry, registered_ns=_clock_of(layout.entry(entry.worker)))
    atomic.replace(layout.entry(entry.worker), (to_bytes(entry),))
    return entry


def read(layout: Layout) -> tuple[list[Entry], list[str]]:
    """All entries by name, and what was wrong with the others.

    Raises ``OSError`` if this process is out of descriptors or memory: who is there must not seem absent.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    try:
        names = sorted(os.listdir(layout.roster))
    except FileNotFoundError:
        return [], []
    for name in names:
        if name.startswith(".") or not name.endswith(".json"):
            continue
        try:
            entries.append(read_entry(layout, name.removesuffix(".json")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _OUT_OF_SOMETHING:
                raise
            problems.append(f"roster entry {name!a} cannot be read: {type(error).__name__}: {error}")
    return entries, problems


def read_entry(layout: Layout, worker: str) -> Entry:
    """One worker's entry. Raises ``OSError``, or ``ValueError`` if it is damaged."""
    return from_bytes(worker, atomic.read_bounded(layout.entry(worker), _MAX_ENTRY_BYTES))


def find(layout: Layout, worker: str) -> Entry | None:
    """The same, for who can do without: None if there is none, or none that can be read."""
    try:
        return read_entry(layout, worker)
    except (OSError, ValueError):
        return None


def from_bytes(worker: str, data: bytes) -> Entry:
    """The content of a worker's entry. Raises ``ValueError`` if it is damaged."""
    try:
        entry = _decode(json.loads(data))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an entry of ours: {type(error).__name__}: {error}") from None
    if parse_name(worker) is None or entry.worker != worker:
        raise ValueError(f"the entry is about {entry.worker!a}")
    return entry


def armed_signals(entry: Entry) -> dict[str, int]:
    """The signals that a worker says it answers, by name."""
    about = entry.channels.get("signal")
    names = about.get("armed") if isinstance(about, Mapping) else None
    found = {}
    for name in names if isinstance(names, list) else ():
        try:
            found[str(name)] = signal_number(str(name))
        except ValueError:
            continue  # damaged, or a signal that this machine does not have
    return found


def note_end(layout: Layout, entry: Entry, *, at: float, by: str, how: str, wait_status: int | None = None) -> Entry:
    """Notes that the worker ended. An end that is noted stays, and is given the wait status that it lacks."""
    ended = with_end(entry, at=at, by=by, how=how, wait_status=wait_status)
    if ended is not entry:
        atomic.replace(layout.entry(entry.worker), (to_bytes(ended),))
    return ended


def with_end(entry: Entry, *, at: float, by: str, how: str, wait_status: int | None = None) -> Entry:
    """The entry as ``note_end`` would write it; the same one if there is nothing to add."""
    before = entry.ended or {}
    if before and (wait_status is None or before.get("wait_status") is not None):
        return entry
    known: dict[str, Any] = {"at": iso(at), "at_s": at, "by": by, "how": how, **before}
    if wait_status is not None:
        known |= {"wait_status": wait_status, "wait_status_by": by}
    return replace(entry, ended=known)


def remove(layout: Layout, worker: str) -> None:
    """Forgets a worker; only retention does this, and only for ended ones."""
    try:
        os.unlink(layout.entry(worker))
    except FileNotFoundError:
        pass


def _clock_of(path: str) -> int:
    """The file system's clock now: the mtime of a file just made beside ``path``."""
    directory, name = os.path.split(path)
    probe = f"{directory}/.{name}.clock.tmp"
    atomic.replace(probe, (b"",))
    try:
        return os.stat(probe).st_mtime_ns
    finally:
        os.unlink(probe)


def to_bytes(entry: Entry) -> bytes:
    """The content of a worker's entry."""
    identity = entry.identity
    document = {
        "schema_version": 1,
        "protocol_version": PROTOCOL_VERSION,
        "worker": identity.worker,
        **identity_document(identity),
        "registered_ns": entry.registered_ns,
        "started_at": iso(entry.started_at),
        "started_at_s": entry.started_at,
        "channels": dict(entry.channels),
        "problems": list(entry.problems),
        "ended": None if entry.ended is None else dict(entry.ended),
    }
    return json.dumps(document, ensure_ascii=True, indent=1).encode("ascii") + b"\n"


def identity_document(identity: Identity) -> dict[str, Any]:
    """An identity as it stands in roster entries and manifests."""
    return {
        "host": identity.host,
        "pid": identity.pid,
        "start_ticks": identity.start_ticks,
        "boot": identity.machine.boot,
        "pid_namespace": identity.machine.pid_namespace,
        "job": identity.job,
        "rank": identity.rank,
        "local_rank": identity.local_rank,
        "world_size": identity.world_size,
        "node": identity.node,
        "attempt": identity.attempt,
        "role": identity.role,
        "sources": dict(identity.sources),
    }


def _decode(document: Any) -> Entry:
    if not isinstance(document, dict):
        raise ValueError("not an object")
    if document.get("protocol_version") != PROTOCOL_VERSION:
        raise ValueError(
            f"protocol version {document.get('protocol_version')!r}: this oobdump reads {PROTOCOL_VERSION}"
        )
    return Entry(
        identity=_identity(document),
        registered_ns=int(document["registered_ns"]),
        channels=dict(document.get("channels") or {}),
        problems=tuple(str(problem) for problem in document.get("problems") or ()),
        started_at=_seconds(document["started_at_s"]),
        ended=_ended(document.get("ended")),
    )


def _ended(value: Any) -> dict[str, Any] | None:
    return None if value is None else {**value, "at_s": _seconds(value["at_s"])}


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < _LATEST_S:
        raise ValueError(f"{seconds} is no time in seconds since 1970")
    return seconds


def _identity(document: Mapping[str, Any]) -> Identity:
    role = document["role"]
    if role not in ("rank", "child", "other"):
        raise ValueError(f"unknown role {role!a}")
    known: Role = role
    return Identity(
        machine=Machine(_str(document, "host"), _str(document, "boot"), _str(document, "pid_namespace")),
        pid=int(document["pid"]),
        start_ticks=int(document["start_ticks"]),
        job=_str(document, "job"),
        rank=_int_or_none(document, "rank"),
        local_rank=_int_or_none(document, "local_rank"),
        world_size=_int_or_none(document, "world_size"),
        node=_int_or_none(document, "node"),
        attempt=_int_or_none(document, "attempt"),
        role=known,
        sources={str(key): str(value) for key, value in dict(document.get("sources") or {}).items()},
    )


def _str(document: Mapping[str, Any], key: str) -> str:
    value = document[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is not a text")
    return value


def _int_or_none(document: Mapping[str, Any], key: str) -> int | None:
    value = document.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise TypeError(f"{key} is not a number")
    return value
