"""Where every Python thread stands, as data: names, frames and, if asked, local variables.

In: the interpreter's frames. Out: plain data, schema version 1, main thread first, frames
outermost first. The rules this module keeps: frames are let go of before anything is formatted,
because whoever holds one may become the last owner of its locals and run their ``__del__``; and
threads are named from a copy of ``threading``'s table, for ``threading.enumerate()`` takes a lock.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple

from oobdump.handlers.plain import dict_of, literal, text, text_of
from oobdump.handlers.redaction import REDACTED, is_secret_name, redact
from oobdump.identity import now_iso
from oobdump.threads import current_frames, thread_names

__all__ = ["python_threads", "stacks", "walk"]

_SCHEMA_VERSION = 1

_INNERMOST_FRAMES = 900
_OUTERMOST_FRAMES = 100
"""Together the interpreter's own recursion limit: only runaway recursion is longer, and repeats itself."""

_MAX_LOCALS = 100
"""Per frame; a module's frame has all its globals."""


def _type_of_locals() -> type:
    """A dict up to Python 3.12, a proxy without a public name since 3.13."""
    return type(sys._getframe().f_locals)  # noqa: SLF001 - see above


_FUNCTION_LOCALS = _type_of_locals()
"""Any other mapping is a user's (a metaclass made it) and is not touched."""


class Stack(NamedTuple):
    """One thread's frames without the frames, outermost first; ``omitted`` are left out after the first 100.

    Two flat lists, because an object a frame would have the garbage collector run in the middle of it.
    """

    codes: list[CodeType]
    lines: list[int | None]
    variables: list[dict[str, str]] | None
    omitted: int


def stacks(*, locals: bool = False, ours: bool = True) -> dict[str, Any]:  # noqa: A002 - the parameter's public name
    """Where every thread stands: name, native id, frames; local variables only when asked."""
    taken_at = now_iso()
    found = _all_stacks(variables=locals)
    known, main = python_threads(), threading.main_thread().ident
    order = {ident: place for place, ident in enumerate(known)}
    idents = sorted(found, key=lambda ident: (ident != main, order.get(ident, len(order)), ident))
    render = _Renderer()
    return {
        "schema_version": _SCHEMA_VERSION,
        "pid": os.getpid(),
        "taken_at": taken_at,
        "python": ".".join(map(str, sys.version_info[:3])),
        "threads": [
            _thread_entry(ident, ident == main, known.get(ident, {})) | render.stack(found[ident])
            for ident in idents
            if ours or ident not in thread_names
        ],
    }


def python_threads() -> dict[int, Mapping[str, Any]]:
    """The attributes of every ``threading.Thread`` by ident, in order of creation; takes no lock."""
    active = threading._active.copy()  # type: ignore[attr-defined]  # noqa: SLF001 - enumerate() takes a lock
    return {ident: dict_of(thread) for ident, thread in active.items()}


def walk(frame: FrameType | None, *, variables: bool = False) -> Stack:
    """The code and line of each frame of a stack; the middle of a very long one is left out."""
    codes: list[CodeType] = []
    lines: list[int | None] = []
    seen: list[dict[str, str]] | None = [] if variables else None
    outer: deque[FrameType] = deque(maxlen=_OUTERMOST_FRAMES)
    beyond = 0
    while frame is not None:
        if len(codes) < _INNERMOST_FRAMES:
            codes.append(frame.f_code)
            lines.append(frame.f_lineno)
            if seen is not None:
                seen.append(_variables(frame))
        else:
            outer.append(frame)
            beyond += 1
        frame = frame.f_back
    codes += [each.f_code for each in outer]
    lines += [each.f_lineno for each in outer]
    if seen is not None:
        seen += [*map(_variables, outer)]
        seen.reverse()
    return Stack(codes[::-1], lines[::-1], seen, beyond - len(outer))


def _all_stacks(*, variables: bool) -> dict[int, Stack]:
    frames = current_frames()
    return {ident: walk(frames.pop(ident), variables=variables and ident not in thread_names) for ident in list(frames)}


def _thread_entry(ident: int, main: bool, facts: Mapping[str, Any]) -> dict[str, Any]:  # noqa: FBT001 - a fact, no mode
    name, native, daemon = thread_names.get(ident, facts.get("_name")), facts.get("_native_id"), facts.get("_daemonic")
    if ident == _thread.get_ident():
        native = _thread.get_native_id()
    return {
        "name": text_of(name),
        "ident": ident,
        "native_id": native if type(native) is int else None,
        "daemon": daemon if type(daemon) is bool else None,
        "main": main,
        "ours": ident in thread_names,
    }


class _Renderer:
    """Stacks as plain data. Equal frames are one entry: a thousand idle threads stand at thirty places."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, int | None], dict[str, Any]] = {}

    def stack(self, stack: Stack) -> dict[str, Any]:
        """The frames of one thread, and how many are missing."""
        frames = [*map(self.frame, stack.codes, stack.lines)]
        if stack.variables is not None:
            frames = [frame | {"locals": seen} for frame, seen in zip(frames, stack.variables, strict=True)]
        entry: dict[str, Any] = {"frames": frames, "omitted_frames": stack.omitted}
        return entry | ({"omitted_after": _OUTERMOST_FRAMES} if stack.omitted else {})

    def frame(self, code: CodeType, line: int | None) -> dict[str, Any]:
        """One frame. The line is 0 where the interpreter has none."""
        key = (id(code), line)  # the hash of a code object is that of its constants too
        found = self._entries.get(key)
        if found is None:
            file, function = text(code.co_filename), text(_function_name(code))
            found = self._entries[key] = {"file": file, "line": line or 0, "function": function}
        return found


def _function_name(code: CodeType) -> str:
    name: str = getattr(code, "co_qualname", code.co_name)  # since Python 3.11
    return name


def _variables(frame: FrameType) -> dict[str, str]:
    """The frame's locals, described; of the user's objects only the types."""
    found = frame.f_locals
    if type(found) is not dict and type(found) is not _FUNCTION_LOCALS:
        return {}
    entries = [(text_of(name), value) for name, value in dict(found).items()]
    return {name: _described(name, value) for name, value in entries[:_MAX_LOCALS] if name is not None}


def _described(name: str, value: object) -> str:
    if type(value) is not str and type(value) is not bytes:
        return literal(value)
    return REDACTED if is_secret_name(name) else redact(literal(value))
