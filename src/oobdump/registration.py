"""A worker's place in its job: what it is among the others, its roster entry, and what the dead left.

In: a layout, an identity, the directory of the bells. Out: an entry that is written, changed, and ended
or taken back. Everything here may wait for the dump root, so it runs on answering threads. The rule only
this module keeps: a child that was never asked leaves nothing behind, since there may be one a second.
"""

from __future__ import annotations

import _thread
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from oobdump import python_line, roles
from oobdump.channels.bell import is_heard
from oobdump.channels.runtime import left_by_the_dead, sweep
from oobdump.identity import Identity
from oobdump.store import retention, roster
from oobdump.store.layout import Layout

__all__ = ["LEAVE_S", "Registration", "identity_after_fork", "own_identity"]


LEAVE_S = 1.0
"""How long an exit waits for the dump root: what is not said by then is found out by whoever looks."""


def own_identity(job: str | None) -> Identity:
    """Who this process is, as far as its environment and its command line tell."""
    return roles.own(Identity.here(job=job), python_line.read(sys.orig_argv))


def identity_after_fork(parent: Identity) -> Identity:
    """Who a forked child is."""
    return roles.after_fork(Identity.here(job=parent.job), python_line.read(sys.orig_argv), parent)


class Registration:
    """One worker's. ``bell`` is its FIFO, None where none could be made."""

    def __init__(self, layout: Layout, identity: Identity, started_at: float, bell: str | None) -> None:
        self._layout = layout
        self._bells = None if bell is None else os.path.dirname(bell)
        self._entry = roster.Entry(identity, 0, started_at=started_at)
        self._known = python_line.known_as(python_line.read(sys.orig_argv))
        self._left = False
        self._writing = _thread.allocate_lock()
        self.was_asked = False

    def role(self) -> Identity:
        """The identity with the role that it has among those who run above it."""
        identity, line = self._entry.identity, python_line.read(sys.orig_argv)
        role = roles.role_below(identity, line, os.environ, self._runs, self._ranked_by)
        self._entry = replace(self._entry, identity=replace(identity, role=role))
        return self._entry.identity

    @property
    def stands_back(self) -> bool:
        """Whether this may be one of very many: whoever it belongs to watches, and rings its bell."""
        return self._entry.identity.role == "child" or self._known == "helper"

    def write(self, identity: Identity, channels: Mapping[str, Any], problems: Iterable[str]) -> None:
        """Enters the roster, or says anew how the worker can be reached."""
        entry = replace(self._entry, identity=identity, channels=channels, problems=tuple(problems))
        with self._writing:
            if not self._left:
                self._entry = roster.write(self._layout, entry)

    def leave(self) -> None:
        """At exit: says so, or is gone without a trace. What is being written just now is waited for."""
        self._left = True
        written = self._writing.acquire(True, LEAVE_S)
        if self._entry.identity.role == "child" and not self.was_asked:
            roster.remove(self._layout, self._entry.worker)
        else:
            self.note_end(roster.EXITING)
        if written:
            self._writing.release()
        self.sweep()

    def note_end(self, how: str) -> None:
        """Says in the roster how the worker ended, if it ever entered."""
        entry = self._entry
        if entry.registered_ns:
            self._entry = roster.note_end(self._layout, entry, at=time.time(), by=entry.worker, how=how)

    def sweep(self) -> None:
        """Removes what dead workers left: a killed one cannot, and a forked one that calls ``os._exit`` does not.

        A child leaves that to others: it may be one of very many, and end before it is done.
        """
        if self._bells is not None and self._entry.identity.role != "child":
            left = left_by_the_dead(self._bells, self._entry.identity)
            retention.forget_children(self._layout, left)  # first: who is killed in between has swept nothing
            sweep(path for paths in left.values() for path in paths)

    def _runs(self, worker: str) -> bool:
        if self._bells is not None:
            return is_heard(f"{self._bells}/{worker}.fifo")
        entry = roster.find(self._layout, worker)
        return entry is not None and entry.alive() is True

    def _ranked_by(self, worker: str) -> str | None:
        entry = roster.find(self._layout, worker)
        return None if entry is None else entry.identity.sources.get("rank")
