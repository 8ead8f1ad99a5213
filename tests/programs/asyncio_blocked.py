"""A coroutine calls what blocks, and with it the whole loop: ``block_the_loop``. Another task waits for its turn."""

from __future__ import annotations

import asyncio

from _program import arm, held_lock, ready


async def wait_for_a_turn() -> None:
    """What the loop would run next."""
    await asyncio.sleep(0.001)


async def block_the_loop() -> None:
    """Wait for a lock of threads in a coroutine."""
    lock = held_lock()
    ready()
    lock.acquire()


async def main() -> None:
    """Both tasks."""
    await asyncio.gather(wait_for_a_turn(), block_the_loop())


if __name__ == "__main__":
    arm()
    asyncio.run(main())
