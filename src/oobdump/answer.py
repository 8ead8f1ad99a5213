"""One request being answered: what is known of it so far, as data that outlives any thread.

In: an accepted request. Out: outcomes by step, each set exactly once by whoever is first.
The rule only this module keeps: a step's first outcome stands. A thread that comes back late
finds another outcome there and lets go; so a stuck thread costs its step, never the answer.
"""

from __future__ import annotations

import _thread
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from oobdump.request import AcceptedRequest
from oobdump.response import Part, Response
from oobdump.store.writer import PartRecord
from oobdump.threads import Latch

__all__ = ["Answer", "Outcome", "StepKey", "Ticket", "Turn"]

StepKey = tuple[Any, ...]
"""What a step is: ("run", call) · ("claim" | "commit", ticket, store) · ("part", ticket, store, call)."""


class Ticket:
    """What a channel holds of a request that it handed in. Compared by identity."""

    def __init__(self, accepted: AcceptedRequest) -> None:
        self.accepted = accepted
        self.response: Response | None = None
        self.directory: str | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def wait(self, timeout_s: float) -> bool:
        """Waits until the request is answered; False if it is not in time. Any thread, any number of times."""
        if not self._done.acquire(True, timeout_s):
            return False
        self._done.release()
        return True

    def finish(self, response: Response, directory: str | None) -> None:
        """Called once, by the dispatcher: the outcome, and where it is on disk (None: nowhere)."""
        self.response, self.directory = response, directory
        self._done.release()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a step gave: ``value`` if it went well, ``lost`` in words if not."""

    value: Part | PartRecord | bool | None = None
    lost: str = ""


@dataclass(eq=False)
class Turn:
    """One thread's go at one step, until ``ends_at`` on the monotonic clock."""

    key: StepKey
    ends_at: float
    last: bool = True
    thread: int = field(default_factory=_thread.get_ident)
    expired: Latch = field(default_factory=Latch)
    returned: bool = False


class Answer:
    """The shared state of one or more equal requests that are answered together."""

    def __init__(self, first: Ticket) -> None:
        self.request = first.accepted.request
        self.waiting: deque[Ticket] = deque([first])
        self.tickets: list[Ticket] = []
        self.outcomes: dict[StepKey, Outcome] = {}
        self.waits: dict[StepKey, float] = {}
        self.turn = Turn(("start",), float("inf"))
        self.rescued = Latch()
        self.began = time.monotonic()
        self.finished = Latch()

    @property
    def request_id(self) -> str:
        """The id of the first request that this answers."""
        return self.tickets[0].accepted.id

    def close(self) -> None:
        """No further request joins: each that did is taken by exactly one ``popleft``."""
        while True:
            try:
                self.tickets.append(self.waiting.popleft())
            except IndexError:
                return

    def leave(self, ticket: Ticket) -> bool:
        """Takes back a ticket that may have come too late to join; False if it is being answered."""
        try:
            self.waiting.remove(ticket)
        except (ValueError, IndexError):
            return False
        return True

    def settle(self, key: StepKey, outcome: Outcome) -> bool:
        """Sets a step's outcome; False if another thread was first."""
        return self.outcomes.setdefault(key, outcome) is outcome

    def part(self, call: int) -> Part:
        """A handler's part, once its step is settled."""
        value = self.outcomes["run", call].value
        assert isinstance(value, Part)  # noqa: S101 - run steps always settle with a part
        return value
