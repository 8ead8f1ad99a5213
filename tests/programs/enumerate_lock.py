"""A thread waits while it holds the lock of ``threading.enumerate()``: ``hold_enumerate_lock``.

``Thread.start()`` takes that lock too. The main thread joins the holder: ``wait_for_the_holder``.
Writing to ``RELEASE_FIFO`` makes another thread try: ``enumerate_threads``.
"""

from __future__ import annotations

import threading

from _program import arm, held_lock, ready, tempt


def hold_enumerate_lock(taken: threading.Lock) -> None:
    """Take the lock, say so by releasing ``taken``, and wait for ever."""
    lock = held_lock()
    # As a thread that was stopped in the middle of Thread.start() would hold it.
    threading._active_limbo_lock.acquire()  # type: ignore[attr-defined]
    taken.release()
    lock.acquire()


def enumerate_threads() -> None:
    """List the threads, as a careless dumper does."""
    threading.enumerate()


def wait_for_the_holder(holder: threading.Thread) -> None:
    """Join a thread that never ends."""
    ready()
    holder.join()


def main() -> None:
    """Start the holder, be sure that it holds, and hang."""
    arm()
    tempt(enumerate_threads)
    taken = held_lock()
    holder = threading.Thread(target=hold_enumerate_lock, args=(taken,), name="holder", daemon=True)
    holder.start()
    taken.acquire()
    wait_for_the_holder(holder)


if __name__ == "__main__":
    main()
