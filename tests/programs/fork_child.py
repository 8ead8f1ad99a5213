"""A child forked while another thread held a lock waits for it for ever: ``acquire_what_nobody_holds``.

The thread that held it does not exist in the child. The parent joins the child in
``parent_waits_for_child``. Two lines ``ready``: the child's and the parent's.
"""

from __future__ import annotations

import os
import threading

from _program import arm, ready

lock = threading.Lock()


def hold_while_forked(taken: threading.Event, release: threading.Event) -> None:
    """A thread of the parent: holds the lock while the process forks."""
    with lock:
        taken.set()
        release.wait()


def acquire_what_nobody_holds() -> None:
    """In the child: the holder was not forked with the lock."""
    ready()
    lock.acquire()


def parent_waits_for_child(pid: int) -> None:
    """Wait for a child that never ends."""
    ready()
    os.waitpid(pid, 0)


def main() -> None:
    """Fork at the wrong moment."""
    arm()
    taken, release = threading.Event(), threading.Event()
    threading.Thread(target=hold_while_forked, args=(taken, release), daemon=True).start()
    taken.wait()
    pid = os.fork()
    if not pid:
        acquire_what_nobody_holds()
    release.set()
    parent_waits_for_child(pid)


if __name__ == "__main__":
    main()
