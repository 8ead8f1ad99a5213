"""The program itself blocks SIGUSR1 in its main thread, before it is armed: ``wait_with_signal_blocked``."""

from __future__ import annotations

import signal

from _program import arm, held_lock, ready


def wait_with_signal_blocked() -> None:
    """Wait for ever."""
    lock = held_lock()
    ready()
    lock.acquire()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    arm()
    wait_with_signal_blocked()
