"""The main thread adds numbers in C and keeps the GIL: ``sum_in_c``. No bytecode runs, and no signal is looked for."""

from __future__ import annotations

from _program import arm, ready

MANY = 10**12
"""Hours of work."""


def sum_in_c() -> int:
    """One call that never gives the GIL away."""
    ready()
    return sum(range(MANY))


if __name__ == "__main__":
    arm()
    sum_in_c()
