"""The interpreter is being torn down, and an object's ``__del__`` waits in C: ``wait_while_finalising``.

Threads of Python do not run any more by then: whoever wants the GIL ends there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from _program import arm, held_mutex, ready


def wait_while_finalising(mutex: Any, lock_mutex: Callable[[Any], int]) -> None:
    """Wait for ever."""
    ready()
    lock_mutex(mutex)


class Last:
    """Goes when the modules go."""

    def __init__(self) -> None:
        self.needs = (held_mutex(), ctypes.CDLL(None).pthread_mutex_lock, wait_while_finalising)

    def __del__(self) -> None:
        mutex, lock_mutex, wait = self.needs
        wait(mutex, lock_mutex)


if __name__ == "__main__":
    arm()
    last = Last()
