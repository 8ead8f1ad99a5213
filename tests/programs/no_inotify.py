"""The user's inotify instances are used up from before ``start()`` on: ``wait_without_events``.

A seccomp filter answers ``inotify_init1`` with EMFILE, which is what the kernel says then.
"""

from __future__ import annotations

import errno

from _program import arm, held_lock, ready, refuse_system_call

INOTIFY_INIT1 = {"x86_64": 294, "aarch64": 26}


def wait_without_events() -> None:
    """Hang with no file events to come."""
    lock = held_lock()
    ready()
    lock.acquire()


if __name__ == "__main__":
    refuse_system_call(INOTIFY_INIT1, errno.EMFILE)
    arm()
    wait_without_events()
