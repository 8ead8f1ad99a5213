"""The smallest handlers: ``ping``, PyTorch's ``dump_traceback``, and ``handlers``, which lists them all.

In: a request, or a registry. Out: a text as PyTorch's handlers of the same names answer, and the
registry as plain data. ``dump_traceback`` holds the GIL while it walks the stacks, and so do they
stand still (FACTS: without the GIL that walk kills busy processes); nothing in it can block.
"""

from __future__ import annotations

import _thread
import faulthandler
import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol

from oobdump.handlers.plain import text
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse
from oobdump.threads import current_frames

__all__ = ["dump_traceback", "listing", "ping"]

_MAX_THREADS = 100
_MAX_FRAMES = 100
"""Both as in ``faulthandler``, whose output ours stands for when there is no descriptor."""

_READ_BYTES = 2**20

_POINTER_BYTES = 8 if sys.maxsize > 2**32 else 4

_PARAMETER_FIELDS = ("name", "type", "default", "required", "help")


class _Registry(Protocol):
    """What is needed of a registry here."""

    def names(self) -> list[str]: ...
    def get(self, name: str) -> Any: ...


def ping(_request: HandlerRequest, response: HandlerResponse) -> None:
    """Answers ``pong``: this process can run Python."""
    response.set_content("pong", "text/plain")
    response.set_status(200)


def dump_traceback(_request: HandlerRequest, response: HandlerResponse) -> None:
    """Stacks of all threads as text, as PyTorch's handler of that name gives them (``faulthandler``)."""
    response.set_content(_by_faulthandler() or "".join(_by_hand()), "text/plain")
    response.set_status(200)


def listing(registry: _Registry) -> Callable[[], dict[str, Any]]:
    """The handler ``handlers`` of one registry."""

    def handlers() -> dict[str, Any]:
        """Names, help and parameters of all handlers."""
        return {"schema_version": 1, "handlers": [_entry(registry.get(name)) for name in registry.names()]}

    return handlers


def _entry(handler: Any) -> dict[str, Any]:
    return {
        "name": handler.name,
        "help": text(handler.help),
        "shape": "value" if handler.returns_value else "response",
        "quick": handler.quick,
        "parameters": [{field: getattr(each, field) for field in _PARAMETER_FIELDS} for each in handler.parameters],
    }


def _by_faulthandler() -> bytes:
    """What ``faulthandler`` writes; nothing where there is no file in memory, or no descriptor left for one.

    A file on a disk is no substitute: it can be full, or hang as the program does.
    """
    if not hasattr(os, "memfd_create"):
        return b""
    try:
        descriptor = os.memfd_create("oobdump", os.MFD_CLOEXEC)
    except OSError:
        return b""
    try:
        faulthandler.dump_traceback(descriptor, all_threads=True)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(descriptor, _READ_BYTES), b""))
    finally:
        os.close(descriptor)


def _by_hand() -> Iterator[str]:
    """The same text without a descriptor."""
    me = _thread.get_ident()
    frames = current_frames()
    for count, ident in enumerate(list(frames)):
        if count == _MAX_THREADS:
            yield "...\n"
            return
        word = "Current thread" if ident == me else "Thread"
        yield "\n" if count else ""
        yield f"{word} 0x{ident:0{2 * _POINTER_BYTES}x} (most recent call first):\n"
        yield from _lines(frames.pop(ident))


def _lines(frame: FrameType | None) -> Iterator[str]:
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {frame.f_lineno or "???"} in {code.co_name}\n'
        frame = frame.f_back
    yield "  ...\n"
