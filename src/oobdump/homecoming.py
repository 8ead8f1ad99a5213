"""Carrying dumps home that the root did not take in time.

In: ids of requests whose dump went to a fallback directory. Out: the same dumps under the
root, tried again later and later until it takes them. One carrier at a time, on an answering
thread, so that a root that still hangs costs one thread and no more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from oobdump.channels.bell import Bell
from oobdump.crew import Crew
from oobdump.errors import StoreError
from oobdump.store.fallback import bring_home
from oobdump.store.layout import Layout

__all__ = ["Homecoming"]

AGAIN_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""How long to wait before the next try; the last one repeats."""


class Homecoming:
    """The dumps of one worker that are away. ``expect`` may be called from any thread."""

    def __init__(self, bell: Bell, crew: Crew, home: Layout, fallbacks: Sequence[Layout], worker: str) -> None:
        self._bell = bell
        self._crew = crew
        self._home = home
        self._fallbacks = fallbacks
        self._worker = worker
        self._away: dict[str, Layout] = {}
        self._tries = 0
        self._carrying = False

    def expect(self, request_id: str, fallback: int) -> None:
        """A dump was committed in that fallback directory (by position): bring it home."""
        self._away[request_id] = self._fallbacks[fallback]
        self._tries = 0
        self._later()

    def _later(self) -> None:
        self._bell.at(time.monotonic() + AGAIN_S[min(self._tries, len(AGAIN_S) - 1)], self._soon)

    def _soon(self) -> None:
        self._crew.give(self._carry)

    def _carry(self) -> None:
        if self._carrying:
            return
        self._carrying = True
        try:
            for request_id, fallback in list(self._away.items()):
                bring_home(fallback, self._home, request_id, self._worker)
                self._away.pop(request_id, None)
        except (OSError, ValueError, StoreError):
            self._tries += 1
            self._later()
        finally:
            self._carrying = False
