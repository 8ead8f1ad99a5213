"""The main thread drains an endless iterator in C and keeps the GIL: ``drain_in_c``."""

from __future__ import annotations

from collections import deque
from itertools import repeat

from _program import arm, ready


def drain_in_c() -> None:
    """One call that never gives the GIL away."""
    ready()
    deque(repeat(0), maxlen=0)


if __name__ == "__main__":
    arm()
    drain_in_c()
