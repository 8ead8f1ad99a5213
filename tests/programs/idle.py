"""The main thread waits for an event, without a time-out: ``wait_for_nothing``. Nothing here ever wakes up."""

from __future__ import annotations

import threading

from _program import arm, ready


def wait_for_nothing() -> None:
    """Wait for ever, in the way of a program that waits for its threads."""
    event = threading.Event()
    ready()
    event.wait()


if __name__ == "__main__":
    arm()
    wait_for_nothing()
