"""The main thread reads a pipe that nobody writes: ``read_from_empty_pipe``."""

from __future__ import annotations

import os

from _program import arm, ready


def read_from_empty_pipe() -> None:
    """Read what will never come; the write end stays open, so there is no end of file either."""
    reader, _writer = os.pipe()
    ready()
    os.read(reader, 1)


if __name__ == "__main__":
    arm()
    read_from_empty_pipe()
