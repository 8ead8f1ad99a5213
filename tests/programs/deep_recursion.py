"""The main thread waits at the bottom of a recursion: ``wait_at_the_bottom``, 300 frames below ``go_down``'s first."""

from __future__ import annotations

from _program import arm, held_lock, ready

FRAMES = 300
"""Three times what faulthandler prints of a stack before it leaves the outermost frames out."""


def wait_at_the_bottom() -> None:
    """Wait for ever."""
    lock = held_lock()
    ready()
    lock.acquire()


def go_down(left: int) -> None:
    """One frame more."""
    if left:
        go_down(left - 1)
    else:
        wait_at_the_bottom()


def enter_the_recursion() -> None:
    """The outermost frame of interest."""
    go_down(FRAMES)


if __name__ == "__main__":
    arm()
    enter_the_recursion()
