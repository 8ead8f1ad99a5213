"""``faulthandler.register`` by the user, for the thread that takes the signal, while the main thread waits."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time

from _neighbour import arm, ready


def wait_for_lock() -> None:
    """A lock that nobody releases."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def wait_in_sleep() -> None:
    """A sleep."""
    time.sleep(600)


if __name__ == "__main__":
    arm("first")
    file = open(os.environ["NOTES"], "a")  # noqa: SIM115 - faulthandler writes to it for as long as this runs
    faulthandler.register(signal.SIGUSR1, file=file, all_threads=False)
    arm("last")
    ready()
    {"lock": wait_for_lock, "sleep": wait_in_sleep}[os.environ["WAIT"]]()
