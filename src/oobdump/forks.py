"""Around a fork: request signals are blocked until parent and child are in order, and a child ends tidily.

In: the fork hooks. Out: masks as they were; a call at the end of a ``multiprocessing`` child. The rule
only this module keeps: a child never rings its parent's bell. Until it has a bell of its own, the wake-up
descriptor and the handler that it inherited are the parent's, and a thread from before ``start()`` has the
signals open: one that comes in those microseconds would be written into the parent's FIFO.
"""

from __future__ import annotations

import _thread
import signal
import sys
from collections.abc import Callable, Iterable

__all__ = ["ForkGuard", "at_end_of_child"]

MANY = 32
"""Children, after which what the dead left is looked for: a look costs as much as some forks do."""

_LAST = -100
"""After the finalizers of ``multiprocessing`` itself and of the program: what still runs may be asked."""


class ForkGuard:
    """``before``, and then ``in_parent`` or ``in_child``, in the same thread.

    ``on_many`` is called in the parent now and then: some of its children will have died without a word.
    """

    def __init__(self) -> None:
        self.on_many: Callable[[], None] = lambda: None
        self._forks = 0
        self._masks: dict[int, set[signal.Signals | int]] = {}

    def before(self, signums: Iterable[int]) -> None:
        """In the parent, just before the fork."""
        self._masks[_thread.get_ident()] = {*signal.pthread_sigmask(signal.SIG_BLOCK, signums)}

    def in_parent(self) -> None:
        """In the parent, just after it."""
        mask = self._masks.pop(_thread.get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._forks += 1
            if self._forks % MANY == 0:
                self.on_many()

    def in_child(self) -> None:
        """In the child: the signals stay blocked, as in every thread of an armed process."""
        self._masks.clear()


def at_end_of_child(owner: object, end: Callable[[], None]) -> None:
    """In a forked child: calls ``end`` if ``multiprocessing`` ends it, which runs no exit hook of Python.

    Its own list of what to do at the end is emptied after the fork hooks; what is registered for "after
    the fork" comes later, and may add to that list. ``owner`` must live as long as this is wanted.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(owner, lambda _owner: util.Finalize(None, end, exitpriority=_LAST))
