"""A worker that dumps as fast as it can, until it is killed: the victim of ``kills.py``.

In: ``call`` (it calls ``oobdump.dump`` again and again) or ``files`` (it only answers) on the
command line; settings and ``READY_FIFO`` from the environment. Out: dumps with three parts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import oobdump

SIZES = {"tiny": 100, "middling": 40_000, "large": 3_000_000}
"""Bytes: less than a page, less than one write's worth of pages, and many."""


def handler(size: int) -> Callable[[oobdump.HandlerRequest, oobdump.HandlerResponse], None]:
    """A handler that answers with so many bytes, all different from another worker's."""
    content = (f"{os.getpid()} " * size).encode()[:size]

    def fill(_request: oobdump.HandlerRequest, response: oobdump.HandlerResponse) -> None:
        response.set_content(content, "application/octet-stream")

    return fill


def main(way: str) -> None:
    """Arm, announce, dump."""
    for name, size in SIZES.items():
        oobdump.register_handler(name, handler(size))
    oobdump.start()
    ready = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(ready, f"ready {os.getpid()} -\n".encode())
    while way == "call":
        oobdump.dump(*SIZES)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
