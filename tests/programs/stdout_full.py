"""The main thread prints into a pipe that is full and that nobody reads: ``print_into_full_pipe``.

Whoever else writes to ``sys.stdout`` or to stderr waits with it: both are that pipe.
Writing to ``RELEASE_FIFO`` makes a thread try: ``print_something``.
"""

from __future__ import annotations

import os
import sys

from _program import arm, ready, tempt

CHUNK = b"x" * 4096


def full_pipe() -> int:
    """The write end of a pipe without room; the read end stays open, unread."""
    _reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, CHUNK)
    except BlockingIOError:
        os.set_blocking(writer, True)
    return writer


def print_something() -> None:
    """Print, as any code does."""
    print("waits for its turn", flush=True)


def print_into_full_pipe() -> None:
    """Print to a full stdout, holding the lock of its buffer."""
    writer = full_pipe()
    os.dup2(writer, sys.stdout.fileno())
    os.dup2(writer, sys.stderr.fileno())
    ready()
    print("this line finds no room", flush=True)  # this print is the hang


if __name__ == "__main__":
    arm()
    tempt(print_something)
    print_into_full_pipe()
