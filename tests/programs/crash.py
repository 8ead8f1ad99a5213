"""Waits in ``wait_to_crash``, and ends as ``CRASH`` says once it is released.

``segfault``, ``abort``, ``exit:N`` (its code), ``memory`` (all that it gets), ``exception`` (1, with a traceback).
"""

from __future__ import annotations

import ctypes
import os
import sys

from _program import arm, ready, wait_until_released


def wait_to_crash() -> None:
    """Wait until the test lets it go."""
    ready()
    wait_until_released()


def use_all_memory() -> None:
    """Until the kernel ends it: a limit is the caller's to set."""
    blocks = []
    while True:
        blocks.append(b"x" * 2**22)


def crash(how: str) -> None:
    """The end."""
    word, _, code = how.partition(":")
    if word == "segfault":
        ctypes.string_at(1)
    elif word == "abort":
        os.abort()
    elif word == "exit":
        sys.exit(int(code))
    elif word == "memory":
        use_all_memory()
    raise RuntimeError("the end of this program")


if __name__ == "__main__":
    arm()
    wait_to_crash()
    crash(os.environ["CRASH"])
