"""The process has no file descriptor left, and the main thread waits: ``wait_without_descriptors``."""

from __future__ import annotations

import os
import resource

from _program import arm, held_lock, ready


def wait_without_descriptors() -> None:
    """Wait for ever."""
    lock = held_lock()
    ready()  # it opens the FIFO, and closes it again
    use_all()
    lock.acquire()


def use_all() -> None:
    """Open until the kernel refuses."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limit), limit))
    try:
        while True:
            os.dup(0)
    except OSError:
        pass


if __name__ == "__main__":
    arm()
    wait_without_descriptors()
