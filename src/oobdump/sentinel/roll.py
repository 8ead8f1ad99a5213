"""The workers of this machine, as the roster has them.

In: the roster's directory. Out: entries that are new or changed; bells rung; ends noted. The
rules only this module keeps: of a job on many machines only this machine's entries are read (a
worker's name has its host), and a directory that has not changed is not listed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from oobdump.channels.bell import LOOK, ring
from oobdump.identity import Machine, parse_name
from oobdump.store import roster
from oobdump.store.layout import Layout

__all__ = ["Listing", "Roll"]

_SURE_AFTER = 3
"""Listings of a directory with one and the same mtime, after which nothing can have come in its last tick."""


class Listing:
    """A directory's names. Not asked for again while its mtime stands still: it may be long, and far away."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._mtime_ns = -1
        self._times = 0
        self._names: list[str] = []

    def names(self) -> list[str]:
        """The names, hidden ones left out, sorted. Raises ``OSError``."""
        found = os.stat(self._path).st_mtime_ns
        self._times = self._times + 1 if found == self._mtime_ns else 0
        self._mtime_ns = found
        if self._times < _SURE_AFTER:
            self._names = sorted(name for name in os.listdir(self._path) if not name.startswith("."))
        return self._names


class Roll:
    """Who is here. ``gone`` are names of workers of this machine whose end is known."""

    def __init__(self, layout: Layout, machine: Machine) -> None:
        self._layout, self._machine = layout, machine
        self._listing = Listing(layout.roster)
        self._versions: dict[str, tuple[int, int]] = {}
        self._entries: dict[str, roster.Entry] = {}
        self.gone: set[str] = set()

    def look(self) -> Iterator[roster.Entry]:
        """Entries of this machine that are new, or were written again. Raises ``OSError``."""
        names = self._listing.names()
        for worker in self._versions.keys() - {name.removesuffix(".json") for name in names}:
            del self._versions[worker]  # a child that ended well takes its entry with it
            self._entries.pop(worker, None)
        for name in names:
            worker = name.removesuffix(".json")
            parsed = parse_name(worker)
            if worker == name or parsed is None or parsed[1] != self._machine.host:
                continue
            entry = self._read(worker)
            if entry is not None:
                yield entry

    def here(self, worker: str) -> roster.Entry | None:
        """A worker of this machine and pid namespace; None for any other."""
        parsed = parse_name(worker)
        if worker not in self._entries and parsed is not None and parsed[1] == self._machine.host:
            self._read(worker)  # it came after the last look
        return self._entries.get(worker)

    def document(self, entry: roster.Entry) -> dict[str, Any]:
        """What the sentinel is told."""
        return {
            "t": "worker",
            "worker": entry.worker,
            "pid": entry.identity.pid,
            "ticks": entry.identity.start_ticks,
            "signals": roster.armed_signals(entry),
            "ended": entry.alive() is False and entry.ended is not None,
            "entry": roster.to_bytes(entry).decode("ascii"),
        }

    def ring(self, entry: roster.Entry, byte: int = LOOK) -> bool:
        """Rings a worker's bell."""
        path = dict(entry.channels.get("bell") or {}).get("path")
        return isinstance(path, str) and ring(path, byte)

    def end(self, worker: str, wait_status: int | None, by: str) -> roster.Entry | None:
        """Notes in the roster that a worker is gone, and how it ended if the kernel said. Raises ``OSError``."""
        self.gone.add(worker)
        entry = self._read(worker, again=True)
        if entry is None:
            return None  # it took its entry with it
        ended = roster.note_end(self._layout, entry, at=time.time(), by=by, how="found gone", wait_status=wait_status)
        self._entries[worker] = ended
        return ended

    def _read(self, worker: str, *, again: bool = False) -> roster.Entry | None:
        """The entry if it is news; None for a damaged one, and for one of another pid namespace."""
        try:
            found = os.stat(self._layout.entry(worker))
            version = (found.st_ino, found.st_mtime_ns)
            if self._versions.get(worker) == version and not again:
                return None
            entry = roster.read_entry(self._layout, worker)
        except (FileNotFoundError, ValueError):
            return None
        self._versions[worker] = version
        if entry.identity.machine != self._machine:
            return None
        self._entries[worker] = entry
        if entry.alive() is False:
            self.gone.add(worker)
        return entry
