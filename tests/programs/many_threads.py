"""500 threads wait for one lock (``wait_with_the_others``) and the main thread too: ``wait_beside_many``.

The environment's ``THREADS`` is another number of them.
"""

from __future__ import annotations

import os
import threading

from _program import arm, held_lock, ready

THREADS = int(os.environ.get("THREADS", "500"))
"""Five times what faulthandler prints before it leaves the main thread out."""

STACK_BYTES = 256 * 1024
"""500 threads of 8 MiB each would look like 4 GiB of memory."""


def wait_with_the_others(arrived: threading.Semaphore, lock: threading.Lock) -> None:
    """Say that this thread is there, and wait for ever."""
    arrived.release()
    lock.acquire()


def wait_beside_many() -> None:
    """Start the threads, be sure that each runs, and wait."""
    lock, arrived = held_lock(), threading.Semaphore(0)
    threading.stack_size(STACK_BYTES)
    for number in range(THREADS):
        threading.Thread(
            target=wait_with_the_others, args=(arrived, lock), name=f"waiter-{number}", daemon=True
        ).start()
    for _ in range(THREADS):
        arrived.acquire()
    ready()
    lock.acquire()


if __name__ == "__main__":
    arm()
    wait_beside_many()
