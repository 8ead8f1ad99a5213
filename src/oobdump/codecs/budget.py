"""How much one part may take: levels, items, bytes and seconds.

In: nothing, or a user's figures. Out: ``Budget``, and ``Purse``, what is left of one while one
value is encoded. Only this module knows the default figures and their reasons.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["DEFAULT", "MAX_BYTES", "MAX_DEPTH", "MAX_ITEMS", "MAX_SECONDS", "Budget", "Purse", "Spent"]

MAX_DEPTH = 160
"""Levels of containers. A level is at most three of a document's (tag, mark, fields): 480, below the
511 of msgpack's packer, and half of the 1,000 at which another reader's recursion ends."""

MAX_ITEMS = 500_000
"""Items of all containers of one value, 15 times the stacks of 200 threads."""

MAX_BYTES = 2**28
"""Of the document, without the bulk data that it refers to: text of this size is no answer that anybody reads."""

MAX_SECONDS = 5.0
"""Ten times what a walk over MAX_ITEMS takes: what is not encoded by then has slow converters, or a starved machine."""


class Spent(Exception):
    """A budget is used up in a place where nothing can be cut: a walk does it."""


@dataclass(frozen=True)
class Budget:
    """What one value may take."""

    depth: int = MAX_DEPTH
    items: int = MAX_ITEMS
    bytes: int = MAX_BYTES
    seconds: float = MAX_SECONDS


DEFAULT = Budget()


class Purse:
    """What is left of a budget in one attempt, and what that attempt had to leave out. Not thread-safe."""

    __slots__ = ("budget", "cut", "deadline", "room", "unknown")

    def __init__(self, budget: Budget, seconds: float) -> None:
        self.budget = budget
        self.deadline = time.monotonic() + seconds
        self.room = budget.items
        self.unknown = 0
        self.cut = 0

    def take(self, items: int) -> None:
        """Pays for items. Raises ``Spent`` if they or the time are beyond the budget."""
        self.room -= items
        if self.room < 0 or time.monotonic() > self.deadline:
            raise Spent
