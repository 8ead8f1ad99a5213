"""A running asyncio loop took SIGUSR1 over after ``start()``, and waits: ``run_loop``.

Its handler appends one line to the file in ``HANDLER_FILE`` each time it runs. With
``BLOCK_LOOP=1`` a coroutine (``block_the_loop``) waits in C instead, so that the loop
cannot run the handler any more.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from pathlib import Path

from _program import arm, held_mutex, ready


def note_signal() -> None:
    """The application's own use of the signal."""
    with Path(os.environ["HANDLER_FILE"]).open("a") as file:
        file.write("handled\n")


def block_the_loop() -> None:
    """Wait in C with the GIL released."""
    mutex = held_mutex()
    lock_mutex = ctypes.CDLL(None).pthread_mutex_lock
    ready()
    lock_mutex(mutex)


async def own_the_signal() -> None:
    """Take the signal, then wait for ever."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, note_signal)
    await asyncio.sleep(0)
    if os.environ.get("BLOCK_LOOP") == "1":
        block_the_loop()
    ready()
    await asyncio.Event().wait()


def run_loop() -> None:
    """Run the loop in the main thread."""
    asyncio.run(own_the_signal())


if __name__ == "__main__":
    arm()
    run_loop()
