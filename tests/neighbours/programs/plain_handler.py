"""A handler of ``signal.signal``, and a main thread that waits in the way that ``WAIT`` names."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

from _neighbour import arm, note_signal, ready


def wait_for_lock() -> None:
    """A lock that nobody releases."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


WAITS = {
    "sleep": lambda: time.sleep(600),
    "lock": wait_for_lock,
    "read": lambda: os.read(os.pipe()[0], 1),
    "select": lambda: select.select([os.pipe()[0]], [], [], 600),
}

if __name__ == "__main__":
    arm("first")
    signal.signal(signal.SIGUSR1, note_signal)
    arm("last")
    ready()
    WAITS[os.environ["WAIT"]]()
