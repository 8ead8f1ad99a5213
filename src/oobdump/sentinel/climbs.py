"""Climbing the ladder: a child for each worker, with a deadline, a few at a time.

In: duties that are due. Out: how each climb ended. The rule only this module keeps: a climb that
hangs (the root, a process in D state) costs one child and nobody else's answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial

from oobdump.election.orders import Orders
from oobdump.identity import Machine
from oobdump.outside.answer import answer_for
from oobdump.sentinel.children import Child, start
from oobdump.sentinel.duties import Duty, Key
from oobdump.store import roster
from oobdump.wire import read_accepted

__all__ = ["Climbs"]

DEADLINE_S = 10.0
"""Of one ladder: what its rungs may take together."""

OVER_S = 12.0
"""Beyond that a root may hang for twice five seconds; then it hangs where no deadline of its own can end it."""

MAX_AT_ONCE = 4
"""Each reads another process's memory: more would only share the same processors."""

MAX_UNNEEDED = 64
"""Entries of workers that are gone, at some kilobytes each."""

_OUTCOMES = ("committed", "failed", "theirs", "elsewhere", "away")
"""What a climb can end with; a child's exit status is a position in it, and 1 also that of one that raised.
``away``: it is in a fallback directory."""


@dataclass
class Known:
    """What is known of workers by name: their roster entry as it stands there, and how they ended."""

    entries: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int | None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def forget(self, needed: Collection[str]) -> None:
        """Keeps what is known of these; of others it is told again when somebody asks for them.

        A job whose DataLoader makes new children for each epoch has thousands of workers in a day.
        """
        if len(self.entries) > len(needed) + MAX_UNNEEDED:
            self.entries = {name: text for name, text in self.entries.items() if name in needed}
            self.statuses = {name: status for name, status in self.statuses.items() if name in needed}
            self.gone &= set(needed)


class Climbs:
    """The climbs under way."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._children: dict[Key, Child] = {}
        self._lost: list[Child] = []

    @property
    def descriptors(self) -> list[int]:
        """What to poll."""
        return [child.pidfd for child in self._children.values()]

    @property
    def full(self) -> bool:
        """Whether there are enough for now."""
        return len(self._children) >= MAX_AT_ONCE

    def start(self, duty: Duty, known: Known, now: float) -> bool:
        """Begins a climb; False if no process can be started."""
        entry, status = known.entries.get(duty.worker, ""), known.statuses.get(duty.worker)
        work = partial(_climb, self._orders, duty, entry, status)
        try:
            self._children[duty.key] = start(work, (), DEADLINE_S + OVER_S, now)
        except OSError:
            return False
        return True

    def ended(self, now: float) -> Iterator[tuple[Key, str]]:
        """Climbs that ended, or were given up."""
        self._lost = [child for child in self._lost if child.reap() is None]
        for key, child in [*self._children.items()]:
            status = child.reap()
            if status is None and now < child.deadline:
                continue
            del self._children[key]
            child.close()
            if status is None:
                child.kill()
                self._lost.append(child)
            yield key, _OUTCOMES[status] if status is not None and 0 <= status < len(_OUTCOMES) else "failed"

    def next_at(self) -> float | None:
        """When the first is to be given up."""
        return min((child.deadline for child in self._children.values()), default=None)

    def close(self) -> None:
        """Ends those under way."""
        for child in self._children.values():
            child.kill()
            child.close()
        self._children.clear()


def _climb(orders: Orders, duty: Duty, entry: str, wait_status: int | None) -> int:
    """In the child: climbs; its exit status is the position of its outcome."""
    answer = answer_for(
        orders.layout,
        duty.request_id,
        duty.worker,
        by="sentinel",
        reason=duty.reason,
        deadline_s=DEADLINE_S,
        grace_s=orders.grace_s,
        fallbacks=orders.fallback_layouts,
        accepted=read_accepted(duty.request.encode("ascii")) if duty.request else None,
        entry=_entry(duty.worker, entry, wait_status) if entry else None,
    )
    os._exit(_OUTCOMES.index("away" if answer.outcome == "committed" and answer.store else answer.outcome))


def _entry(worker: str, text: str, wait_status: int | None) -> roster.Entry:
    """The worker's entry, with the end that a hung root may not have taken."""
    entry = roster.from_bytes(worker, text.encode("ascii"))
    if wait_status is None:
        return entry
    by = f"sentinel.{Machine.here().host}.{os.getppid()}"
    return roster.with_end(entry, at=time.time(), by=by, how="found gone", wait_status=wait_status)
