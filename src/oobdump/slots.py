"""One run of a handler at a time, and a handler that never returns keeps its slot.

In: a handler's name, who runs it and for how long at most. Out: the slot, or in words why it
is not to be had. A run that is overdue refuses the next one at once, so that a stuck handler
blocks only itself and costs one thread, however often it is asked for.
"""

from __future__ import annotations

import _thread
import time
from dataclasses import dataclass

__all__ = ["Slot", "Slots"]

_MARGIN_S = 0.01
"""Beyond a deadline, so that whoever wakes up finds it passed."""


@dataclass(frozen=True, eq=False)
class Slot:
    """A handler that runs, for ``owner``, and when it should be done (monotonic clock)."""

    owner: tuple[object, ...]
    since: float
    ends_at: float
    freed: _thread.LockType


class Slots:
    """The handlers that run now. Thread-safe; no lock is held while a handler runs."""

    def __init__(self) -> None:
        self._held: dict[str, Slot] = {}

    def at_once(self, name: str, owner: tuple[object, ...]) -> bool:
        """Whether ``take`` would not wait: the slot is free, shared, or held by a run that is overdue."""
        holder = self._held.get(name)
        return holder is None or holder.owner == owner or time.monotonic() > holder.ends_at

    def take(self, name: str, owner: tuple[object, ...], timeout_s: float) -> Slot | str:
        """Waits for the slot as long as its holder may still be in time; a text if it is not to be had.

        An equal ``owner`` shares the slot: a second thread for the same run.
        """
        began = time.monotonic()
        lock = _thread.allocate_lock()
        lock.acquire()
        mine = Slot(owner, began, began + timeout_s, lock)
        while (holder := self._held.setdefault(name, mine)) is not mine and holder.owner != owner:
            left = min(holder.ends_at, mine.ends_at) - time.monotonic()
            if left < 0:
                return f"handler {name} has not returned for {time.monotonic() - holder.since:.0f} s and keeps its slot"
            if holder.freed.acquire(True, left + _MARGIN_S):
                holder.freed.release()
        return holder

    def free(self, name: str, slot: Slot) -> None:
        """The run returned, however late."""
        if self._held.get(name) is slot:
            self._held.pop(name, None)
            slot.freed.release()
