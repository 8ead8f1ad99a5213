"""Dumps that are away: those of dead workers, and the sentinel's own, in the fallback directories.

In: the fallback directories of this node, and who is gone. Out: their dumps under the root, tried
again later and later. The rule only this module keeps: a live worker's dumps are not touched: it
brings them home itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from oobdump.election.orders import Orders
from oobdump.errors import StoreError
from oobdump.homecoming import AGAIN_S
from oobdump.identity import parse_name
from oobdump.store.fallback import bring_home
from oobdump.store.layout import Layout, writer_of

__all__ = ["Ends"]

Say = Callable[[dict[str, Any]], None]


class Ends:
    """What must be carried home. ``again_s`` is when to try next, None while nothing is away."""

    def __init__(self, orders: Orders, name: str) -> None:
        self._home, self._fallbacks = orders.layout, orders.fallback_layouts
        self._name = name
        self._due: float | None = 0.0
        self._tries = 0

    @property
    def again_s(self) -> float | None:
        """Seconds until the next try."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def expect(self) -> None:
        """Somebody is gone, or a dump went to a fallback directory."""
        self._due, self._tries = time.monotonic(), 0

    def carry(self, gone: Collection[str], say: Say) -> None:
        """Brings home what can be; says how many are still away, so that the sentinel stays for them."""
        if self._due is None or time.monotonic() < self._due:
            return
        away = sum(
            not self._brought(fallback, *found) for fallback in self._fallbacks for found in _away(fallback, gone)
        )
        self._due = time.monotonic() + AGAIN_S[min(self._tries, len(AGAIN_S) - 1)] if away else None
        self._tries += 1
        say({"t": "away", "count": away})

    def _brought(self, fallback: Layout, request_id: str, writer: str) -> bool:
        try:
            return bring_home(fallback, self._home, request_id, writer) or True  # uncommitted: nothing to bring
        except (OSError, ValueError, StoreError):
            return False


def _away(fallback: Layout, gone: Collection[str]) -> Iterator[tuple[str, str]]:
    """Dumps in one fallback directory whose writer cannot bring them home: (request id, writer)."""
    for request_id in _names(fallback.dumps):
        for writer in _names(fallback.request_dir(request_id)):
            about = writer_of(writer)
            if about is not None and (about[1] or about[0] in gone) and parse_name(about[0]) is not None:
                yield request_id, writer


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]
    except OSError:
        return []
