"""Every import fails once the program is armed: ``wait_while_imports_fail``.

Also of what is loaded already, which is what an answer would do while it runs: the import
statement itself is broken. So are logging, standard output and standard error, reading source
lines, and name resolution; each attempt is noted in ``HANDLER_FILE``.
"""

from __future__ import annotations

import builtins
import linecache
import logging
import os
import socket
import sys
import threading
from typing import NoReturn

from _program import arm, held_lock, ready


def note(what: str) -> NoReturn:
    """Write down what was tried, and make it fail."""
    fd = os.open(os.environ["HANDLER_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{what}\n".encode())
    os.close(fd)
    raise RuntimeError(f"{what} while answering")


class Forbidden:
    """A stream that must not be written to."""

    def write(self, _text: str) -> NoReturn:
        """Nobody may."""
        note("write to a standard stream")

    def flush(self) -> None:
        """Nothing to do: the interpreter itself flushes at exit."""


def break_everything() -> None:
    """From here on each of these is noted and fails."""
    builtins.__import__ = lambda name, *_rest: note(f"import {name}")  # type: ignore[assignment]
    logging.Logger.handle = lambda _self, _record: note("log")  # type: ignore[method-assign]
    linecache.getlines = lambda *_rest: note("read source lines")
    socket.gethostname = lambda: note("resolve a name")
    socket.getaddrinfo = lambda *_rest, **_more: note("resolve a name")
    threading.enumerate = lambda: note("threading.enumerate")
    sys.stdout = sys.stderr = Forbidden()  # type: ignore[assignment]


def wait_while_imports_fail() -> None:
    """Hang."""
    lock = held_lock()
    ready()
    lock.acquire()


if __name__ == "__main__":
    arm()
    break_everything()
    wait_while_imports_fail()
