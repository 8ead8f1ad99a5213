"""Deadlines of what is under way, watched through alarms: when time is up, another thread acts.

In: until when, and what to do then. Out: a ``Turn``, won exactly once, by who finishes it or by
the watch. The rule only this module keeps: an alarm is set only if none comes early enough, so
that a busy connection costs one wake-up per deadline and an idle one none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from oobdump.threads import Latch

__all__ = ["Alarms", "Deadlines", "Turn"]

Alarms = Callable[[float, Callable[[], None]], None]
"""Calls something at a time of the monotonic clock, on a thread that must not be kept: ``Bell.at``."""

_NEVER = float("inf")

AGAIN_S = 0.5
"""After a look that found something late: if its thread was lost in that, another one finishes it."""


class Turn:
    """Something under way. If ``ends_at`` passes first the turn is lost, and ``late`` is called: it must not block."""

    __slots__ = ("_latch", "ends_at", "late", "patience")

    def __init__(self, ends_at: float, late: Callable[[], object], patience: Callable[[], float]) -> None:
        self.ends_at = ends_at
        self.late = late
        self.patience = patience
        self._latch = Latch()

    def win(self) -> bool:
        """True for the first caller."""
        return self._latch.trip()


class Deadlines:
    """All turns of one server. Thread-safe, without a lock that anybody could be caught in."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._turns: dict[Turn, None] = {}
        self._next = _NEVER

    def begin(self, seconds: float, late: Callable[[], object], patience: Callable[[], float] = lambda: 0.0) -> Turn:
        """Something begins that may take so long, and when that is over ``patience()`` seconds more."""
        turn = Turn(time.monotonic() + seconds, late, patience)
        self._turns[turn] = None
        self._remind(turn.ends_at)
        return turn

    def extend(self, turn: Turn, seconds: float, late: Callable[[], object]) -> None:
        """The same turn goes on with something else."""
        turn.late, turn.patience = late, lambda: 0.0
        turn.ends_at = time.monotonic() + seconds
        self._remind(turn.ends_at)

    def end(self, turn: Turn) -> bool:
        """It is finished; False if its time was up before."""
        self._turns.pop(turn, None)
        return turn.win()

    def _remind(self, when: float) -> None:
        if when < self._next:
            self._next = when
            self._alarms(when, partial(self._look))  # an alarm of its own each time: equal ones replace each other

    def _look(self) -> None:
        """On an alarm's thread. The next alarm is set first, so that a thread that is lost here loses nothing."""
        self._next = _NEVER
        now, under_way = time.monotonic(), list(self._turns)
        self._remind(min((max(turn.ends_at, now + AGAIN_S) for turn in under_way), default=_NEVER))
        for turn in under_way:
            if turn.ends_at > now:
                continue
            more_s = turn.patience()
            if more_s > 0:
                turn.ends_at = now + more_s
            elif turn.win():
                self._turns.pop(turn, None)
                turn.late()
