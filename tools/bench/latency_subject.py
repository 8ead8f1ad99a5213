"""A process that hears of something and says when: the subject of ``latency.py``.

In: on the command line what it listens with (a bare limit, a file operation, or ``oobdump``), whether its
main thread ``waits`` or ``spins``, and how many samples a file operation takes; ``READY_FIFO`` from the
environment. Out: on stdout a line for each sample: when it heard, on the monotonic clock, or how long the
operation took, in ns. ``oobdump`` prints nothing: its handler ``stamp`` answers with the time.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

import oobdump
from oobdump import linux

BLOCK = b"\0" * 4096


def stamp() -> None:
    """Say that it is now."""
    os.write(1, f"{time.monotonic_ns()}\n".encode())


def by_wakeup_descriptor() -> Callable[[], None]:
    """Python's own C handler writes a byte; a thread reads it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGUSR1, lambda _signum, _frame: None)
    signal.set_wakeup_fd(writing)
    return lambda: repeat(lambda: os.read(reading, 1))


def by_sigwait() -> Callable[[], None]:
    """The signal is blocked everywhere; a thread waits for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    return lambda: repeat(lambda: signal.sigwait([signal.SIGUSR1]))


def by_signalfd() -> Callable[[], None]:
    """The signal is blocked everywhere; a thread polls a descriptor, then reads it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    return polling(linux.signalfd([signal.SIGUSR1]))


def by_inotify() -> Callable[[], None]:
    """A thread polls a watch on a directory, then reads it."""
    watched = os.path.join(os.path.dirname(os.environ["READY_FIFO"]), "watched")
    os.mkdir(watched)
    descriptor = linux.inotify()
    linux.add_watch(descriptor, watched, linux.IN_CREATE)
    return polling(descriptor)


def polling(descriptor: int) -> Callable[[], None]:
    """Poll, then read."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def once() -> None:
        poll.poll()
        os.read(descriptor, 4096)

    return lambda: repeat(once)


def repeat(wait: Callable[[], object]) -> None:
    """Wait and say so, for ever."""
    while True:
        wait()
        stamp()


def by_oobdump() -> Callable[[], None]:
    """An armed worker with a handler that does nothing but say when."""
    oobdump.register_handler("stamp", lambda: {"at": time.monotonic_ns()})
    oobdump.start(signals={"SIGUSR1": ("stamp",)})
    return lambda: None


def rename(number: int) -> None:
    """One file, as the store writes it."""
    descriptor = os.open(f".{number}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, BLOCK)
    os.close(descriptor)
    os.rename(f".{number}.tmp", f"{number}")


def mkdir(number: int) -> None:
    """One directory."""
    os.mkdir(f"directory-{number}")


def link(number: int) -> None:
    """A second name for a file."""
    os.link("stderr", f"link-{number}")


LISTENERS: dict[str, Callable[[], Callable[[], None]]] = {
    "wake-up descriptor": by_wakeup_descriptor,
    "sigwait": by_sigwait,
    "signalfd": by_signalfd,
    "inotify": by_inotify,
    "oobdump": by_oobdump,
}
OPERATIONS: dict[str, Callable[[int], None]] = {"write 4 KiB + rename": rename, "mkdir": mkdir, "link": link}


def measure(operation: Callable[[int], None], samples: int) -> None:
    """Time each of so many, say so, and end the process whatever its main thread does."""
    taken = []
    for number in range(samples):
        began = time.monotonic_ns()
        operation(number)
        taken.append(time.monotonic_ns() - began)
    os.write(1, "".join(f"{nanoseconds}\n" for nanoseconds in taken).encode())
    os._exit(0)


def spin() -> None:
    """Python that never waits."""
    total = 0
    for number in itertools.count():
        total += number % 7


def main(what: str, how: str, samples: int) -> None:
    """Listen or measure in one thread, and wait or spin in this one."""
    directory = os.path.dirname(os.environ["READY_FIFO"])
    os.chdir(directory)
    work = LISTENERS[what]() if what in LISTENERS else lambda: measure(OPERATIONS[what], samples)
    ready = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(ready, f"ready {os.getpid()} -\n".encode())
    threading.Thread(target=work, daemon=True).start()  # it may end the process: after the announcement
    if how == "spins":
        spin()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
