"""The main thread waits while it holds a lock that garbage wants: ``wait_holding_the_lock``.

Cyclic garbage waits for the next thread that allocates; its ``__del__`` wants the lock, so
that thread stays in it. The garbage is made with the collector off, which goes on in the
last call before the wait: the main thread does not fall into its own trap. Writing to
``RELEASE_FIFO`` makes a thread fall into it: ``allocate``.
"""

from __future__ import annotations

import gc
import threading

from _program import arm, held_lock, ready, tempt

GARBAGE = 2000
"""Enough that every generation has some, whatever was collected in between."""

THRESHOLD = 1
"""Objects allocated before a collection: the next container is one too many."""

wanted = threading.Lock()


class WantsLock:
    """Part of a cycle with itself, so that only the collector finds it."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        with wanted:
            pass


def allocate() -> None:
    """Make containers, as any code does."""
    kept = [[number] for number in range(GARBAGE)]
    kept.clear()


def wait_holding_the_lock() -> None:
    """Hold what ``__del__`` wants, set the trap, and wait."""
    gc.disable()
    gc.set_threshold(THRESHOLD)
    lock = held_lock()
    wanted.acquire()
    for _ in range(GARBAGE):
        WantsLock()
    ready()
    gc.enable()
    lock.acquire()


if __name__ == "__main__":
    arm()
    tempt(allocate)
    wait_holding_the_lock()
