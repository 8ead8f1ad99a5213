"""What a sentinel and its I/O child say to each other: one JSON object a line, through pipes.

In: objects. Out: objects, whole ones only. The rule only this module keeps: whoever must not
wait writes without blocking, and a full pipe is an answer too: nobody reads there any more.
"""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["Lines", "say"]

_READ_BYTES = 65536

Message = dict[str, Any]


def say(descriptor: int, message: Message) -> bool:
    """Writes one message; False if the other end is gone or, on a non-blocking descriptor, full."""
    data = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except (BlockingIOError, BrokenPipeError):
        return False
    return True


class Lines:
    """Reads messages from one descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._rest = b""

    def read(self) -> list[Message]:
        """What can be read at once; sets ``ended`` at the end."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]
