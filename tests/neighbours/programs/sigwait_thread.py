"""The program blocks SIGUSR1 everywhere, and a thread of its own waits for it with ``sigwait``."""

from __future__ import annotations

import signal
import threading

from _neighbour import arm, note_signal, ready


def wait_for_signals() -> None:
    """Notes each arrival."""
    while True:
        note_signal(signal.sigwait([signal.SIGUSR1]))


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    threading.Thread(target=wait_for_signals, name="sigwait").start()
    arm("last")
    ready()
