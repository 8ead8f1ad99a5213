"""Trying a directory for real: a file or a FIFO is made in it and removed again.

In: a directory. Out: the kernel's error, or None if it takes what is tried. The rule only this module
keeps: what is made has a hidden name that nobody reads, and is gone when the call returns, unless the
kernel refuses even that.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["hidden_file", "takes_fifo", "takes_file"]

_counter = itertools.count()

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def takes_file(directory: str, size: int = 1) -> OSError | None:
    """Why the directory does not take a file of so many bytes, on the disk and not in a cache; None if it does."""
    try:
        with hidden_file(directory) as descriptor:
            data = memoryview(bytes(size))
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
    except OSError as error:
        return error
    return None


def takes_fifo(directory: str) -> OSError | None:
    """Why no FIFO can be made in the directory; None if one can."""
    path = _path(directory)
    try:
        os.mkfifo(path, 0o600)
        os.unlink(path)
    except OSError as error:
        return error
    return None


@contextmanager
def hidden_file(directory: str) -> Iterator[int]:
    """A new empty file for as long as the block lasts; its descriptor."""
    path = _path(directory)
    descriptor = os.open(path, _NEW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        os.unlink(path)


def _path(directory: str) -> str:
    return f"{directory}/.oobdump-trial.{os.getpid()}.{next(_counter)}.tmp"
