"""The main thread acquires a lock that it holds already: ``wait_for_lock``."""

from __future__ import annotations

from _program import arm, held_lock, ready


def wait_for_lock() -> None:
    """Wait for a lock that nobody will release."""
    lock = held_lock()
    ready()
    lock.acquire()


if __name__ == "__main__":
    arm()
    wait_for_lock()
