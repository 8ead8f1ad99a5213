"""The answer that somebody else gives for a worker: climb, write, publish.

In: a request, a worker that it asked, who answers and why. Out: ``OutsideAnswer``, and on disk one
``<worker>.outside/`` that is whole. The rules only this module keeps: nothing here raises for one
worker; what touches a store runs on a thread under a deadline, so that a root that hangs costs its
deadline and the dump goes to the next store; a worker that answers meanwhile is left to itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from oobdump.errors import DamagedDump, OobdumpError
from oobdump.identity import Identity, Machine, parse_name
from oobdump.outside import state
from oobdump.outside.asked import parts_for
from oobdump.outside.ladder import LADDER_S, Climbed, Subject, climb
from oobdump.outside.rungs import bounded
from oobdump.outside.usable import usable
from oobdump.request import AcceptedRequest
from oobdump.response import Part
from oobdump.store import reader, roster
from oobdump.store.from_outside import OutsideDump
from oobdump.store.layout import OUTSIDE, Layout

__all__ = ["STORE_S", "OutsideAnswer", "answer_for"]

STORE_S = 5.0
"""One store may take this long for all parts: they are small, but for a recorder's trace."""

_LOOK_EVERY_S = 0.05

By = Literal["sentinel", "client"]

Came = Literal["committed", "theirs", "elsewhere", "failed"]
"""``committed``: ours is on disk. ``theirs``: the worker answered meanwhile. ``elsewhere``: somebody else's stands.
``failed``: no store took it, or it cannot be told what was asked."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class OutsideAnswer:
    """What came of one worker. ``directory`` is where the dump is, empty if nowhere; ``store`` which store has it."""

    worker: str
    outcome: Came
    state: str = ""
    why: str = ""
    directory: str = ""
    store: int = 0


def answer_for(  # noqa: PLR0913 - one argument a fact
    layout: Layout,
    request_id: str,
    worker: str,
    *,
    by: By,
    reason: str,
    deadline_s: float = LADDER_S,
    grace_s: float = 2.5,
    fallbacks: Sequence[Layout] = (),
    accepted: AcceptedRequest | None = None,
    entry: roster.Entry | None = None,
) -> OutsideAnswer:
    """Answers for a worker. ``accepted`` and ``entry`` spare the reading, where a root may hang."""
    try:
        accepted = accepted or _within(lambda: reader.open_request(layout, request_id))
        entry = entry or _within(lambda: _entry(layout, worker))
    except (OSError, DamagedDump) as error:
        return OutsideAnswer(worker, "failed", why=f"what was asked cannot be read: {error}")
    if accepted is None:
        return OutsideAnswer(worker, "failed", why=f"there is no request {request_id}")
    identity = entry.identity if entry is not None else _identity(layout, worker)
    if identity is None:
        return OutsideAnswer(worker, "failed", why=f"{worker!a} is no worker's name")
    return _Turn(accepted, Subject(identity, entry, grace_s), by, reason).answer([layout, *fallbacks], deadline_s)


@dataclass
class _Turn:
    """One try for one worker."""

    accepted: AcceptedRequest
    subject: Subject
    by: By
    reason: str

    @property
    def worker(self) -> str:
        return self.subject.identity.worker

    def answer(self, stores: Sequence[Layout], deadline_s: float) -> OutsideAnswer:
        home = stores[0]
        dump = OutsideDump.of(home, self.accepted.id, self.subject.identity, self.by)
        deadline = time.monotonic() + deadline_s
        refusal = usable(home.job_dir)
        try:
            if not refusal and not _within(lambda: self._claimed(dump, deadline)):
                return self._other(home)
        except OSError:
            pass  # a root that does not take a claim may take the dump; a fallback does
        climbed = climb(self.subject, max(1.0, deadline - time.monotonic()))
        parts = parts_for(self.accepted.request.calls, self.subject.identity.pid, climbed)
        reasons = []
        for number, layout in enumerate(stores):
            each = dump if layout is home else OutsideDump.of(layout, self.accepted.id, self.subject.identity, self.by)
            if refusal := usable(layout.job_dir):
                reasons.append(refusal)
                continue
            try:
                found = _within(lambda dump=each, store=number: self._stored(dump, store, climbed, parts))  # type: ignore[misc]
            except (OSError, OobdumpError) as error:
                reasons.append(f"{layout.root}: {error}")
                continue
            return found
        return OutsideAnswer(self.worker, "failed", climbed.verdict.state, "; ".join(reasons))

    def _claimed(self, dump: OutsideDump, deadline: float) -> bool:
        """Whether it is ours to climb. Waits while somebody who lives is at it."""
        while not self._answered(dump.layout):
            if dump.claim(deadline - time.monotonic() + STORE_S):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY_S)
        return False

    def _answered(self, layout: Layout) -> bool:
        request_id = self.accepted.id
        return reader.has_manifest(layout, request_id, self.worker) or reader.has_outside(
            layout, request_id, self.worker
        )

    def _other(self, layout: Layout) -> OutsideAnswer:
        """Somebody answered: the worker itself, or another that climbed."""
        if reader.has_manifest(layout, self.accepted.id, self.worker):
            return OutsideAnswer(self.worker, "theirs", "busy", "it answered meanwhile")
        found = reader.read_dump(layout, self.accepted.id, self.worker + OUTSIDE)
        if found.found != "committed":
            return OutsideAnswer(self.worker, "failed", why="somebody else is at it, and is not done in time")
        return OutsideAnswer(self.worker, "elsewhere", found.state or "", _why(found), found.directory)

    def _stored(self, dump: OutsideDump, store: int, climbed: Climbed, parts: tuple[Part, ...]) -> OutsideAnswer:
        layout = dump.layout
        if reader.has_manifest(layout, self.accepted.id, self.worker):
            dump.drop()
            return self._other(layout)
        writer, now = dump.writer, time.time()
        try:
            writer.publish(self.accepted)
            writer.claim(tuple(call.name for call in self.accepted.request.calls), now)
            records = tuple(writer.write_part(part) for part in parts)
            writer.commit(records, climbed.verdict.state, self._evidence(climbed), time.time())
            if not dump.publish():
                return self._other(layout)
        except BaseException:
            dump.drop()
            raise
        return OutsideAnswer(
            self.worker, "committed", climbed.verdict.state, climbed.verdict.why, dump.directory, store
        )

    def _evidence(self, climbed: Climbed) -> dict[str, Any]:
        return {
            "why": climbed.verdict.why,
            "reason": self.reason,
            "by": {"role": self.by, "host": Machine.here().host, "pid": os.getpid()},
            "grace_s": self.subject.grace_s,
            **state.plain(climbed.evidence),
            "rungs": [rung.plain() for rung in climbed.rungs],
        }


def _within(task: Callable[[], _T]) -> _T:
    return bounded(task, STORE_S)


def _why(found: reader.Dump) -> str:
    return str(found.evidence.get("why", ""))


def _entry(layout: Layout, worker: str) -> roster.Entry | None:
    try:
        return roster.read_entry(layout, worker)
    except (FileNotFoundError, ValueError):
        return None


def _identity(layout: Layout, worker: str) -> Identity | None:
    """Of one that is in no roster: what its name says, if it is of this machine."""
    named = parse_name(worker)
    if named is None:
        return None
    rank, host, pid = named
    here = Machine.here()
    return Identity(here if host == here.host else Machine(host), pid, 0, layout.job, rank)
