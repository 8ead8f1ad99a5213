"""Until when one waits for a worker, and who looks at it from outside then.

In: an accepted request. Out: for each asked worker whether it is settled. A worker that has not
taken the request after ``grace``, or has taken it and is past its deadline, or is gone, is left to the
sentinel of its node, if one runs; else, and if that brings nothing, this process climbs. The rules
only this module keeps: nobody is waited for who cannot answer, and one worker's ladder delays no other.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from oobdump.identity import Machine
from oobdump.outside.answer import OutsideAnswer, answer_for
from oobdump.outside.usable import usable
from oobdump.request import AcceptedRequest
from oobdump.store import reader, roster, sentinels
from oobdump.store.layout import CLAIM, OUTSIDE, Layout

__all__ = ["LATE_S", "MARGIN_S", "SENTINEL_S", "Patience"]

LATE_S = 5.0
"""For who runs and is only slow, or cannot be seen from here: a worker that polls looks every second."""

STORE_HANGS_S = 9.0
"""Where the root takes no file: a worker gives it five seconds, and then goes to its fallback directory."""

MARGIN_S = 3.0
"""Beyond a request's own deadlines: for writing, and for clocks of another node."""

SENTINEL_S = 4.0
"""What a sentinel has from when it would act until this process climbs itself."""

AT_ONCE = 8
"""Ladders of this process at the same time: three small programs each."""

_MAY_YET_ANSWER = ("busy", "unreachable")
"""States of a worker that is there and held by nothing that was seen."""


@dataclass
class _Waiting:
    """What is known of one worker that has not answered."""

    since: float | None = None
    reason: str = ""
    thread: threading.Thread | None = None
    answer: OutsideAnswer | None = None


@dataclass
class Patience:
    """The waiting for one request. Use from one thread.

    ``fallbacks`` are where workers of this machine put a dump that the root does not take, and where we do;
    ``home`` is where the roster is, if not in ``layout``.
    """

    layout: Layout
    accepted: AcceptedRequest
    grace_s: float
    fallbacks: Sequence[Layout] = ()
    home: Layout | None = None
    _room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))
    _workers: dict[str, _Waiting] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _sentinels: dict[Machine, str | None] = field(default_factory=dict)

    def settled(self, worker: str) -> bool:
        """Whether there is nothing more to wait for."""
        stores = (self.layout, *self.fallbacks)
        if any(reader.has_manifest(store, self.accepted.id, worker) for store in stores):
            return True
        known = self._workers.setdefault(worker, _Waiting())
        waited = time.monotonic() - self._began
        if any(reader.has_outside(store, self.accepted.id, worker) for store in stores):
            late_s = STORE_HANGS_S if usable(self.layout.job_dir) else LATE_S
            return waited > late_s or not self._may_yet_answer(worker)
        if known.thread is not None:
            return not known.thread.is_alive()
        entry = roster.find(self.home or self.layout, worker)
        known.reason = known.reason or self._reason(worker, entry, waited)
        if not known.reason:
            return False
        known.since = known.since or time.monotonic()
        return self._look_from_outside(worker, entry, known, waited)

    def failure(self, worker: str) -> str:
        """Why this process has no dump of the worker from outside, if it tried."""
        answer = self._workers.get(worker, _Waiting()).answer
        return answer.why if answer is not None and answer.outcome == "failed" else ""

    def _reason(self, worker: str, entry: roster.Entry | None, waited: float) -> str:
        """Why the worker is not waited for any longer; nothing while it may answer."""
        request = self.accepted.request
        patience = request.timeout_s * len(request.calls) + MARGIN_S
        if entry is not None and entry.alive() is False:
            return "its process is gone"
        if waited > patience:
            return f"no manifest after {patience:g} s"
        claimed = os.path.exists(f"{self.layout.dump(self.accepted.id, worker)}/{CLAIM}")
        if not claimed and waited > min(self.grace_s, patience):
            return f"it has not taken the request after {self.grace_s:g} s"
        return ""

    def _look_from_outside(self, worker: str, entry: roster.Entry | None, known: _Waiting, waited: float) -> bool:
        """Leaves it to a sentinel, or begins to climb; True if neither can be."""
        if self._sentinel(entry) and time.monotonic() - (known.since or 0.0) < SENTINEL_S:
            return False
        if entry is None or entry.identity.machine != Machine.here():
            return waited > LATE_S or known.reason == "its process is gone"
        known.thread = threading.Thread(target=self._climb, args=(worker, entry, known), daemon=True, name="ladder")
        known.thread.start()
        return False

    def _climb(self, worker: str, entry: roster.Entry, known: _Waiting) -> None:
        with self._room:
            known.answer = answer_for(
                self.layout,
                self.accepted.id,
                worker,
                by="client",
                reason=known.reason,
                grace_s=self.grace_s,
                accepted=self.accepted,
                entry=entry,
                fallbacks=self.fallbacks,
            )

    def _may_yet_answer(self, worker: str) -> bool:
        stores = (self.layout, *self.fallbacks)
        found = (reader.read_dump(store, self.accepted.id, worker + OUTSIDE) for store in stores)
        dump = next((each for each in found if each.found == "committed"), None)
        return (
            dump is not None
            and dump.state in _MAY_YET_ANSWER
            and roster.find(self.home or self.layout, worker) is not None
        )

    def _sentinel(self, entry: roster.Entry | None) -> str | None:
        """The sentinel that answers for this worker; looked up once for each machine."""
        if entry is None:
            return None
        machine = entry.identity.machine
        if machine not in self._sentinels:
            try:
                self._sentinels[machine] = sentinels.live(self.home or self.layout, machine)
            except OSError:
                self._sentinels[machine] = None
        return self._sentinels[machine]
