"""The request file channel of a worker: accept what was dropped, answer what names it.

In: rings of the bell. Out: requests handed to the dispatcher, other workers' bells rung.
One look at a time; a look that stands still for ``LEASE_S`` has lost its thread (a hung file
system, a user's ``__del__``), and the next ring starts another. The disk is the queue: what
the dispatcher has no room for is found again at the next look.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from oobdump.channels.bell import Bell, ring
from oobdump.crew import Crew
from oobdump.dispatcher import Dispatcher
from oobdump.errors import DamagedDump, Refused, StoreError
from oobdump.inbox import Inbox
from oobdump.request import AcceptedRequest
from oobdump.store import atomic, reader, roster
from oobdump.store.layout import CLAIM, Layout
from oobdump.watch import Watch

__all__ = ["LEASE_S", "RequestFiles"]

LEASE_S = 2.0
"""A look is cut into pieces that take milliseconds; one that takes this long is stuck."""

_MAX_LOST_LOOKS = 3
"""Each stuck look holds a thread; with so many in the same hung file system another would not help."""


@dataclass(eq=False)
class _Lease:
    """The right to look. Lost when another look took it over."""

    renewed: float


class RequestFiles:
    """The channel. ``look_soon`` may be called from any thread and only hands over."""

    def __init__(self, layout: Layout, dispatcher: Dispatcher, crew: Crew, bell: Bell, watch: Watch) -> None:
        self._layout = layout
        self._dispatcher = dispatcher
        self._crew = crew
        self._bell = bell
        self._watch = watch
        self._worker = dispatcher.identity.worker
        self._inbox = Inbox(layout, self._worker)
        self._known: set[str] = set()
        self._lease: _Lease | None = None
        self._again = False
        self._lost: dict[_Lease, bool] = {}
        self._full = False
        self.on_home: Callable[[], None] = lambda: None
        self.on_accepted: Callable[[], None] = lambda: None
        self.relayed: Callable[[], bool] = lambda: False

    def look_soon(self) -> None:
        """Somebody rang: look, on a thread that may be lost."""
        self._again = True
        self._crew.give(self._look)

    def finished(self) -> None:
        """A request was answered: there is room for one that waits on disk."""
        if self._full:
            self._full = False
            self.look_soon()

    def _look(self) -> None:
        lease = self._take_lease()
        if lease is None:
            return
        self._bell.at(lease.renewed + LEASE_S + 0.1, self._lease_over)
        try:
            while self._again and self._mine(lease):
                self._again = False
                self._once(lease)
        except (OSError, StoreError):
            self._bell.at(time.monotonic() + self._watch.poll_s, self.look_soon)  # a full or foreign directory may heal
        finally:
            self._lost.pop(lease, None)
            if self._lease is lease:
                self._lease = None
                self._bell.cancel(self._lease_over)
                self._plan_next()

    def _lease_over(self) -> None:
        """A look that should have ended has not: it goes on for long, or it is stuck."""
        held = self._lease
        if held is not None and time.monotonic() - held.renewed < LEASE_S:
            self._bell.at(held.renewed + LEASE_S + 0.1, self._lease_over)
        elif held is not None:
            self.look_soon()

    def _take_lease(self) -> _Lease | None:
        now, held = time.monotonic(), self._lease
        if held is not None and now - held.renewed < LEASE_S:
            return None
        if held is not None:
            self._lost[held] = True
        if len(self._lost) >= _MAX_LOST_LOOKS:
            return None
        self._lease = lease = _Lease(now)
        return lease

    def _mine(self, lease: _Lease) -> bool:
        lease.renewed = time.monotonic()
        return self._lease is lease

    def _plan_next(self) -> None:
        if self._again:
            self.look_soon()
        elif self._watch.polls and not self.relayed():
            self._bell.at(time.monotonic() + self._watch.poll_s, self.look_soon)

    def _once(self, lease: _Lease) -> None:
        self._open_directories()
        look = self._inbox.look()
        if not self._mine(lease):
            return
        self._again = self._again or look.more
        if look.again_s is not None:
            self._bell.at(time.monotonic() + look.again_s, self.look_soon)
        self._ring_others(look.accepted)
        self._answer_new(lease)
        if look.accepted:
            self.on_accepted()

    def _open_directories(self) -> None:
        """Somebody may have removed or replaced any of them since the last look."""
        layout = self._layout
        atomic.make_tree(layout.root, layout.job_dir, layout.roster, layout.inbox, layout.dumps)
        self._watch.renew(layout.inbox)
        if not os.path.exists(layout.entry(self._worker)):
            self.on_home()

    def _ring_others(self, accepted: tuple[AcceptedRequest, ...]) -> None:
        """Those asked on this machine: some have no watch of their own, some had theirs too early."""
        if accepted:
            ring_workers(self._layout, {worker for request in accepted for worker in request.asked} - {self._worker})

    def _answer_new(self, lease: _Lease) -> None:
        listed = reader.request_ids(self._layout)
        self._known &= set(listed)
        for request_id in listed:
            if request_id in self._known or not self._mine(lease):
                continue
            try:
                if self._answer(request_id):
                    self._known.add(request_id)
            except Refused:
                self._full = True
                if self._dispatcher.room:  # it emptied while we were refused
                    self.finished()
                return

    def _answer(self, request_id: str) -> bool:
        """Hands one request in; False if it is not published yet."""
        try:
            accepted = reader.open_request(self._layout, request_id)
        except DamagedDump:
            return True
        if accepted is None:
            return False
        dropped = accepted.source.get("channel") == "request_file"  # any other was handed in by whoever published it
        named = dropped and self._worker in accepted.asked
        if named and not os.path.exists(f"{self._layout.dump(request_id, self._worker)}/{CLAIM}"):
            self._dispatcher.submit(accepted)
        return True


def ring_workers(layout: Layout, workers: set[str]) -> int:
    """Rings the bells of those workers that are on this machine; returns how many heard."""
    heard = 0
    for worker in workers:
        entry = roster.find(layout, worker)
        if entry is None:
            continue
        path = dict(entry.channels.get("bell") or {}).get("path")
        if isinstance(path, str) and entry.alive():
            heard += ring(path)
    return heard
