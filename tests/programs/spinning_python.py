"""The main thread loops in Python and never waits: ``spin_in_python``."""

from __future__ import annotations

from _program import arm, ready


def spin_in_python() -> None:
    """Count for ever."""
    count = 0
    ready()
    while True:
        count += 1


if __name__ == "__main__":
    arm()
    spin_in_python()
