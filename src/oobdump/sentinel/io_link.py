"""The sentinel's end of its I/O child: commands out, reports in, and another child if one is lost.

In: commands, each with a number. Out: reports. The rules only this module keeps: a child that does
not acknowledge a command in time hangs in the root, and is given up; its commands go to the next
one; and there is a pause between two, since the root will hang for that one as well.
"""

from __future__ import annotations

import os
from functools import partial

from oobdump.election.orders import Orders
from oobdump.sentinel.children import Child, start
from oobdump.sentinel.io_child import run
from oobdump.sentinel.lines import Lines, Message, say

__all__ = ["IoLink"]

PATIENCE_S = 10.0
"""Noting an end takes milliseconds, retention of thousands of dumps some seconds."""

PAUSES_S = (0.0, 1.0, 5.0, 20.0, 60.0)
"""Before the next child, after one that was lost; the last one repeats."""

MAX_LOST = 4
"""Killed, and not dead: each waits in the same hung file system, and costs memory."""


class IoLink:
    """One I/O child at a time."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._child: Child | None = None
        self._lines: Lines | None = None
        self._commands = -1
        self._unheard: dict[int, tuple[Message, float]] = {}
        self._number = 0
        self._failures = 0
        self._next_start = 0.0
        self._lost: list[Child] = []

    @property
    def descriptors(self) -> list[int]:
        """What to poll."""
        return (
            [self._child.pidfd, self._lines.descriptor] if self._child is not None and self._lines is not None else []
        )

    @property
    def pid(self) -> int | None:
        """The child that works now."""
        return None if self._child is None else self._child.pid

    def command(self, message: Message, now: float) -> int:
        """Gives a command; its number comes back in an ``ack``."""
        self._number += 1
        self._unheard[self._number] = ({**message, "n": self._number}, now)
        if self._commands >= 0 and not say(self._commands, self._unheard[self._number][0]):
            self._give_up(now)
        return self._number

    def keep_going(self, now: float) -> None:
        """Sees to it that a child works: the first, the next after a lost one."""
        oldest = min((at for _, at in self._unheard.values()), default=now)
        if self._child is not None and now - oldest > PATIENCE_S:
            self._give_up(now)
        self._lost = [child for child in self._lost if child.reap() is None]
        if self._child is None and now >= self._next_start and len(self._lost) < MAX_LOST:
            self._start(now)

    def next_at(self) -> float | None:
        """When to come back."""
        if self._child is None:
            return self._next_start if len(self._lost) < MAX_LOST else self._next_start + PAUSES_S[-1]
        oldest = min((at for _, at in self._unheard.values()), default=None)
        return None if oldest is None else oldest + PATIENCE_S + 0.1

    def read(self, now: float) -> list[Message]:
        """Reports; a child that ended is replaced at the next ``keep_going``."""
        if self._lines is None:
            return []
        messages = self._lines.read()
        if messages:
            self._failures = 0
        for message in messages:
            if message["t"] == "ack":
                self._unheard.pop(message["n"], None)
        if self._lines.ended:
            self._give_up(now)
        return messages

    def close(self) -> None:
        """Ends the child: it sees the end of its commands, unless it hangs."""
        if self._child is not None:
            self._drop()

    def _start(self, now: float) -> None:
        commands, reports = os.pipe(), os.pipe()
        try:
            work = partial(run, self._orders, commands[0], reports[1])
            self._child = start(work, (commands[0], reports[1]), None, now)
        except OSError:
            for descriptor in (*commands, *reports):
                os.close(descriptor)
            self._wait_before_next(now)
            return
        os.close(commands[0])
        os.close(reports[1])
        os.set_blocking(commands[1], False)
        os.set_blocking(reports[0], False)
        self._commands, self._lines = commands[1], Lines(reports[0])
        self._unheard = {number: (message, now) for number, (message, _) in self._unheard.items()}
        for message, _ in self._unheard.values():
            say(self._commands, message)

    def _give_up(self, now: float) -> None:
        """The child hangs, or died."""
        child = self._child
        if child is not None:
            child.kill()
            self._lost.append(child)
            self._drop()
        self._wait_before_next(now)

    def _wait_before_next(self, now: float) -> None:
        self._next_start = now + PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
        self._failures += 1

    def _drop(self) -> None:
        if self._child is not None and self._lines is not None:
            os.close(self._commands)
            os.close(self._lines.descriptor)
            self._child.close()
        self._child, self._lines, self._commands = None, None, -1
