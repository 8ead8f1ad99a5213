"""The ``stacks`` parts of many workers from their bytes, each different stack decoded once.

In: a worker's name, its rank and its JSON part. Out: what ``parse_stacks`` gives. The rule only
this module keeps: frames are cut out of the text and compared as bytes, which is right because
in JSON a bare ``"frames":`` cannot stand inside a text; whatever does not look as the handler
writes it (locals, a bracket in a name, damage) is decoded whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from oobdump.job.stacks import CheckedStack, Problem, WorkerStacks, checked, parse_stacks

__all__ = ["StackBytes"]

_FRAMES = re.compile(rb'(?<!\\)"frames":(\[[^\]]*\])')

MAX_KNOWN = 2**16
"""Different stacks that are remembered: a hung job has a few hundred."""


class StackBytes:
    """A reader with a memory of stacks; one for all workers of one reading."""

    def __init__(self, decode: Callable[[bytes], object]) -> None:
        """``decode`` takes what has to be decoded whole; it may raise ``ValueError`` or the like."""
        self._decode = decode
        self._known: dict[bytes, CheckedStack] = {}

    def parse(self, worker: str, rank: int | None, data: bytes) -> WorkerStacks | Problem:
        """What ``data`` says, or why it says nothing. Raises what ``decode`` raises."""
        value = self._quick(data)
        return parse_stacks(worker, rank, self._decode(data) if value is None else value)

    def _quick(self, data: bytes) -> object:
        """The document with its stacks as they were seen before; None where that cannot be done."""
        pieces = _FRAMES.split(data)
        try:
            value = json.loads(b'"frames":0'.join(pieces[::2]))
            stacks = [self._known.get(piece) or self._new(piece) for piece in pieces[1::2]]
        except (ValueError, RecursionError):
            return None
        threads = value.get("threads") if type(value) is dict else None
        if type(threads) is not list or len(threads) != len(stacks):
            return None
        for thread, stack in zip(threads, stacks, strict=True):
            if type(thread) is not dict or thread.get("frames") != 0 or stack is None:
                return None
            thread["frames"] = stack
        return value

    def _new(self, piece: bytes) -> CheckedStack | None:
        stack = checked(json.loads(piece))
        if stack is not None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[piece] = stack
        return stack
