"""A loop (``LOOP``: asyncio, uvloop, trio) that handles ``THEIRS`` itself, and sleeps."""

from __future__ import annotations

import asyncio
import os
import signal

from _neighbour import arm, note_signal, ready

THEIRS = signal.Signals[os.environ["THEIRS"]]


async def own_the_signal() -> None:
    """Takes the signal, then waits for ever."""
    asyncio.get_running_loop().add_signal_handler(THEIRS, note_signal, THEIRS)
    arm("last")
    ready()
    await asyncio.Event().wait()


async def own_the_signal_in_trio() -> None:
    """The same in trio, whose signals are an iterator."""
    import trio

    with trio.open_signal_receiver(THEIRS) as arrivals:
        arm("last")
        ready()
        async for signum in arrivals:
            note_signal(signum)


def run() -> None:
    """Runs the loop in the main thread."""
    if os.environ["LOOP"] == "trio":
        import trio

        trio.run(own_the_signal_in_trio)
    elif os.environ["LOOP"] == "uvloop":
        import uvloop

        asyncio.set_event_loop(loop := uvloop.new_event_loop())
        loop.run_until_complete(own_the_signal())
    else:
        asyncio.run(own_the_signal())


if __name__ == "__main__":
    arm("first")
    run()
