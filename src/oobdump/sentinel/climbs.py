"""Climbing the ladder: a child for each worker, with a deadline, a few at a time.

In: duties that are due. Out: how each climb ended. The rule only this module keeps: a climb that
hangs (the root, a process in D state) costs one child and nobody else's answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from oobdump import outside
from oobdump.election.orders import Orders
from oobdump.sentinel.children import Child, start
from oobdump.sentinel.duties import Duty, Key

__all__ = ["Climbs"]

DEADLINE_S = 10.0
"""Of one ladder: what its rungs may take together."""

OVER_S = 5.0
"""Beyond that it hangs where no deadline of its own can end it."""

MAX_AT_ONCE = 4
"""Each reads another process's memory: more would only share the same processors."""

_OUTCOMES = ("committed", "theirs", "elsewhere", "failed")
"""What a climb can end with; a child's exit status is a position in it."""


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

    def start(self, duty: Duty, now: float) -> bool:
        """Begins a climb; False if no process can be started."""
        try:
            self._children[duty.key] = start(partial(_climb, self._orders, duty), (), DEADLINE_S + OVER_S, now)
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


def _climb(orders: Orders, duty: Duty) -> int:
    """In the child: climbs, and ends with the position of its outcome."""
    answer = outside.answer_for(
        orders.layout,
        duty.request_id,
        duty.worker,
        by="sentinel",
        reason=duty.reason,
        deadline_s=DEADLINE_S,
        fallbacks=orders.fallback_layouts,
    )
    os._exit(_OUTCOMES.index(answer.outcome))
