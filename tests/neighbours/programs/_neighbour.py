"""What every neighbour here does: arm itself where it is told to, note what it observed, and announce itself.

In: ``ARM`` (``first``: before the neighbour takes the signal, ``last``: after it, else not at all),
``NOTES`` (a file) and ``READY_FIFO``. Out: one line a note, in the order of the events.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from types import FrameType


def arm(when: str) -> None:
    """Start oobdump as a user would, if this is the time; what it warns of goes to the notes' neighbour."""
    if os.environ.get("ARM") != when:
        return
    import oobdump  # a program that runs without us does not import us

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        oobdump.start()
    with open(os.environ["NOTES"] + ".warnings", "a", encoding="utf-8") as file:
        file.writelines(f"{warning.message}\n" for warning in caught)


def note(*words: object) -> None:
    """One line, with one system call: it may be called in a signal handler."""
    line = " ".join(map(str, words)) + "\n"
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def note_signal(signum: int, _frame: FrameType | None = None) -> None:
    """A handler: which signal, and in which thread."""
    note(signal.Signals(signum).name, threading.current_thread().name)


def ready() -> None:
    """Announce this process."""
    descriptor = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, f"ready {os.getpid()} -\n".encode())
    os.close(descriptor)
