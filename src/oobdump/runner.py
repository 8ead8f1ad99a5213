"""One call of one handler: from names and texts to a ``Part``.

In: a handler, a call, a body and a codec. Out: a ``Part``, whatever the handler does: raise,
exit, or return what no codec knows. Deadlines are the dispatcher's; everything that may
hang (the handler, ``str`` of its exception, the codec) happens here, under one of them. No
source file is read for a traceback: that could hang on the file system that hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any, Protocol

from oobdump.errors import OobdumpError
from oobdump.request import HandlerCall, HandlerRequest
from oobdump.response import Bytes, ErrorInfo, HandlerResponse, Part, Status, suffix_for

__all__ = ["Codec", "Runnable", "describe", "failed", "format_stack", "in_pieces", "run_call", "whole"]

_FINE = range(200, 400)
_STATUSES = range(100, 600)
_MAX_TRACEBACK_LINES = 200
_MAX_MESSAGE_CHARS = 4000


class Runnable(Protocol):
    """What is needed of a handler here."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def returns_value(self) -> bool:
        """Whether it returns a value for a codec, or fills a response."""

    @property
    def fn(self) -> Any:
        """The function."""

    def bind(self, params: Any) -> dict[str, Any]:
        """Keyword arguments from texts."""


class Codec(Protocol):
    """What is needed of a codec here."""

    @property
    def media_type(self) -> str:
        """Of what it encodes."""

    @property
    def suffix(self) -> str:
        """Of a file with that."""

    def encode(self, value: Any) -> bytes:
        """A value as a document."""

    def encode_parts(self, value: Any) -> Any:
        """The same in ``pieces``, with ``bulk`` data beside it."""


def whole(codec: Codec, value: Any, part: Part) -> Part:
    """The part with a document that says all by itself."""
    return replace(part, body=_bytes(codec.encode(value)))


def in_pieces(codec: Codec, value: Any, part: Part) -> Part:
    """The part for a store, which can write pieces and a file beside the document: bulk data is not copied."""
    found = codec.encode_parts(value)
    first, *more = found.pieces or (b"",)
    return replace(part, body=first, more=tuple(more), side=tuple(found.bulk))


def run_call(
    handler: Runnable,
    call: HandlerCall,
    body: bytes,
    codec: Codec,
    encode: Callable[[Codec, Any, Part], Part] = whole,
) -> Part:
    """Runs the handler and encodes what it gave."""
    began = time.monotonic()
    try:
        if handler.returns_value:
            value = handler.fn(**handler.bind(call.params))
            part = encode(codec, value, Part(call.name, "ok", 200, codec.media_type, codec.suffix))
        else:
            part = _fill(handler, call, body)
    except OobdumpError as error:
        return failed(call.name, "error", error.code, f"Handler {call.name} failed: {_message(error)}", error, began)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt end the handler, not the worker
        message = f"Handler {call.name} failed: {_message(error)}"
        return failed(call.name, "error", 500, message, error, began)
    return _timed(part, began)


def failed(
    handler: str, status: Status, code: int, text: str, error: BaseException | None = None, began: float | None = None
) -> Part:
    """A part that says why there is no result; its file holds the text that HTTP would answer."""
    info = ErrorInfo(status, text) if error is None else describe(error)
    seconds = 0.0 if began is None else time.monotonic() - began
    body = text.encode("utf-8", "backslashreplace")
    return Part(handler, status, code, "text/plain", "txt", body, seconds, info)


def describe(error: BaseException) -> ErrorInfo:
    """An exception as plain text: type, message, and where it was raised."""
    lines = ["Traceback (most recent call last):", *_traceback_lines(error.__traceback__)][:_MAX_TRACEBACK_LINES]
    return ErrorInfo(type(error).__name__, _message(error), "\n".join(lines))


def format_stack(frame: FrameType | None) -> str:
    """A running thread's stack as text, outermost first."""
    lines: list[str] = []
    while frame is not None and len(lines) < _MAX_TRACEBACK_LINES:
        lines.append(_frame_line(frame, frame.f_lineno))
        frame = frame.f_back
    return "\n".join(reversed(lines))


def _fill(handler: Runnable, call: HandlerCall, body: bytes) -> Part:
    response = HandlerResponse()
    handler.fn(HandlerRequest(call, body), response)
    if response.code not in _STATUSES:
        raise ValueError("the handler set a status that HTTP does not have: use a number from 100 to 599")
    status: Status = "ok" if response.code in _FINE else "error"
    info = None if status == "ok" else ErrorInfo("HandlerStatus", f"the handler set status {response.code}")
    suffix = getattr(handler, "suffix", None) or suffix_for(response.media_type)
    return Part(call.name, status, int(response.code), response.media_type, suffix, _bytes(response.content), 0.0, info)


def _bytes(content: Any) -> Bytes:
    """What can be written to a file as it is; ``TypeError`` if not even its size could be told."""
    if isinstance(content, (bytes, bytearray)) or (isinstance(content, memoryview) and content.c_contiguous):
        return content
    raise TypeError(f"the result is of type {type(content).__name__}, not bytes")


def _timed(part: Part, began: float) -> Part:
    seconds = time.monotonic() - began
    return replace(part, seconds=seconds)


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_MAX_MESSAGE_CHARS]
    except BaseException:  # noqa: BLE001 - a user's __str__ may do anything
        return f"<no message: {type(error).__name__}.__str__ failed>"


def _traceback_lines(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield _frame_line(traceback.tb_frame, traceback.tb_lineno)
        traceback = traceback.tb_next


def _frame_line(frame: FrameType, line: int | None) -> str:
    code = frame.f_code
    return f'  File "{code.co_filename}", line {line}, in {code.co_name}'
