"""What is answered: one frozen value that no channel and no file has shaped.

In: what a handler gave, as bytes. Out: ``Part`` (one handler's outcome) and ``Response``
(one worker's). Only this module knows how part statuses add up to a response's status.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MEDIA_SUFFIXES", "ErrorInfo", "HandlerResponse", "Part", "Response", "Status", "suffix_for", "worst"]

Status = Literal["ok", "error", "timeout", "refused", "no_answer"]
"""The outcome of one part or one worker; ``no_answer`` is said by whoever reads, never by a worker."""

_SEVERITY: tuple[Status, ...] = ("ok", "refused", "timeout", "error", "no_answer")

Bytes = bytes | bytearray | memoryview
"""Anything a file can be written from."""

MEDIA_SUFFIXES = {
    "application/json": "json",
    "application/msgpack": "msgpack",
    "application/vnd.oobdump.pickle": "pkl",
    "application/octet-stream": "bin",
    "text/plain": "txt",
    "text/html": "html",
}
"""File name suffix by media type; ``bin`` for what is not listed."""


def suffix_for(media_type: str) -> str:
    """The suffix of a part's file name: by media type, parameters such as charset ignored."""
    return MEDIA_SUFFIXES.get(media_type.partition(";")[0].strip().lower(), "bin")


def worst(statuses: Iterable[Status]) -> Status:
    """The status of a whole from those of its parts; ``ok`` for none."""
    return max(statuses, key=_SEVERITY.index, default="ok")


@dataclass(frozen=True)
class ErrorInfo:
    """Why a part failed: the exception's type name, its message, and its traceback as text."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Part:
    """One handler's outcome. ``body``, and then ``more``, is what goes to the file, whatever the status says.

    ``side`` is what goes to a file beside it, which the document refers to.
    """

    handler: str
    status: Status
    code: int
    media_type: str = "application/octet-stream"
    suffix: str = "bin"
    body: Bytes = b""
    seconds: float = 0.0
    error: ErrorInfo | None = None
    more: tuple[Bytes, ...] = ()
    side: tuple[Bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(memoryview(piece).nbytes for piece in (self.body, *self.more, *self.side))


@dataclass(frozen=True)
class Response:
    """One worker's answer to one request: a part for every handler that was asked."""

    request_id: str
    worker: str
    parts: tuple[Part, ...]
    state: str = "responsive"
    evidence: dict[str, object] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The worst status of the parts."""
        return worst(part.status for part in self.parts)


class HandlerResponse:
    """What a two-argument handler fills: the methods of PyTorch's ``_Response``. Not thread-safe."""

    def __init__(self) -> None:
        self.content: bytes = b""
        self.media_type: str = "text/plain"
        self.code: int = 200

    def set_content(self, content: str | bytes, content_type: str) -> None:
        """The answer's body (text is sent as UTF-8) and its media type."""
        self.content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else bytes(content)
        self.media_type = str(content_type)

    def set_status(self, status: int) -> None:
        """The answer's HTTP status; 200 if never called."""
        self.code = int(status)
