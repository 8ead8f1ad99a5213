"""What a signal asks for, and how often: a storm of signals is one question.

In: "somebody wants this". Out: the request handed in, at once if it is quiet, else once when
it is quiet again. The rule only this module keeps: the last signal of a storm is answered by
a dump that began after it, and soon; storms cost one dump a second, or one part in
``QUIET_FACTOR`` of the time, whichever is more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from oobdump.answer import Ticket
from oobdump.channels.bell import Bell
from oobdump.config import Settings, signal_number
from oobdump.crew import Crew
from oobdump.errors import Refused
from oobdump.request import HandlerCall, Request

__all__ = ["QUIET_AT_MOST_S", "QUIET_FACTOR", "QUIET_S", "Quiet", "asks"]

QUIET_S = 0.1
"""At least so long between two dumps that one signal asks for."""

QUIET_FACTOR = 20
"""And at least so many times as long as the dump before it took."""

QUIET_AT_MOST_S = 1.0
"""But never longer than this: on a busy worker a dump takes long because it waits, and a person waits for it."""

_LONGEST_ANSWER_S = 3600.0


def asks(
    chosen: Settings, bell: Bell, crew: Crew, ask: Callable[[Request, str], Ticket]
) -> dict[int, Callable[[], None]]:
    """What each request signal does when it is heard, by its number."""
    found = {}
    for name, handlers in chosen.signals.items():
        calls = tuple(HandlerCall(handler) for handler in handlers)
        request = Request(calls, chosen.format, timeout_s=chosen.timeout_s)
        found[signal_number(name)] = Quiet(bell, crew, partial(ask, request, "signal")).heard
    return found


class Quiet:
    """One signal's question. ``heard`` is called by the bell and only hands over."""

    def __init__(self, bell: Bell, crew: Crew, ask: Callable[[], Ticket]) -> None:
        self._bell = bell
        self._crew = crew
        self._ask = ask
        self._ticket: Ticket | None = None
        self._not_before = 0.0

    def heard(self) -> None:
        """Asks now, or as soon as it is quiet."""
        self._bell.at(max(time.monotonic(), self._not_before), self._due)

    def _due(self) -> None:
        self._crew.give(self._answer)

    def _answer(self) -> None:
        if self._ticket is not None and self._ticket.response is None:
            self._bell.at(time.monotonic() + QUIET_S, self._due)
            return
        began = time.monotonic()
        try:
            self._ticket = ticket = self._ask()
        except Refused:
            self._bell.at(began + QUIET_S, self._due)
            return
        ticket.wait(_LONGEST_ANSWER_S)
        ended = time.monotonic()
        self._not_before = ended + min(QUIET_AT_MOST_S, max(QUIET_S, QUIET_FACTOR * (ended - began)))
