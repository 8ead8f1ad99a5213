"""Where a coroutine stands: the chain of what awaits what, outermost first.

In: a coroutine, generator or async generator. Out: its frames as plain data, and the type of what
the innermost one awaits. The rule this module keeps: only built-in coroutine types are looked into;
for any other awaitable its type is the answer. A coroutine that runs has its inner frames on its
thread's stack, and they are taken from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from oobdump.handlers.plain import text, type_name

__all__ = ["chain"]

_MAX_FRAMES = 200
"""Of one task: coroutines await each other a dozen deep; more is recursion."""

_ATTRIBUTES: Mapping[int, tuple[str, str]] = {
    id(CoroutineType): ("cr_frame", "cr_await"),
    id(GeneratorType): ("gi_frame", "gi_yieldfrom"),
    id(AsyncGeneratorType): ("ag_frame", "ag_await"),
}
"""By the type's address: the hash of a user's type is its metaclass's business."""


def chain(awaitable: Any, threads: Mapping[int, FrameType]) -> tuple[list[dict[str, Any]], str | None, int]:
    """Frames, the type of what is awaited at the end, and how many frames are left out."""
    frames: list[dict[str, Any]] = []
    omitted = 0
    while (attributes := _ATTRIBUTES.get(id(type(awaitable)))) is not None:
        frame, awaitable = getattr(awaitable, attributes[0]), getattr(awaitable, attributes[1])
        if frame is None:
            break
        running = _above(frame, threads)
        inner = running or [frame]
        room = _MAX_FRAMES - len(frames)
        frames += map(_entry, inner[:room])
        omitted += len(inner[room:])
        if running:
            return frames, None, omitted
    return frames, None if awaitable is None else type_name(type(awaitable)), omitted


def _above(frame: FrameType, threads: Mapping[int, FrameType]) -> list[FrameType]:
    """The part of a thread's stack from ``frame`` on, outermost first; empty if no thread runs it."""
    for top in threads.values():
        found: list[FrameType] = []
        each: FrameType | None = top
        while each is not None:
            found.append(each)
            if each is frame:
                return found[::-1]
            each = each.f_back
    return []


def _entry(frame: FrameType) -> dict[str, Any]:
    code = frame.f_code
    function = getattr(code, "co_qualname", code.co_name)
    return {"file": text(code.co_filename), "line": frame.f_lineno or 0, "function": text(function)}
