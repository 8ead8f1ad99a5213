"""A running asyncio loop owns the wake-up descriptor, and a coroutine waits in C: ``wait_in_coroutine``.

The loop took the descriptor with ``add_signal_handler`` for SIGUSR2, after ``start()``.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal

from _program import arm, held_mutex, ready


async def wait_in_coroutine() -> None:
    """Block the whole loop in C, with the GIL released."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, print, "SIGUSR2")
    await asyncio.sleep(0)
    mutex = held_mutex()
    lock_mutex = ctypes.CDLL(None).pthread_mutex_lock
    ready()
    lock_mutex(mutex)


if __name__ == "__main__":
    arm()
    asyncio.run(wait_in_coroutine())
