"""What is asked: one frozen value that no channel has shaped.

In: nothing but plain values. Out: ``Request`` (one or more handler calls, for some
workers) and ``HandlerRequest`` (what one handler sees of it). Only this module knows
the bounds of a request's own fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from oobdump.errors import RequestError

__all__ = [
    "DEFAULT_EXPIRES_IN_S",
    "DEFAULT_TIMEOUT_S",
    "FORMATS",
    "HANDLER_NAME",
    "MAX_CALLS",
    "MAX_EXPIRES_IN_S",
    "MAX_TIMEOUT_S",
    "AcceptedRequest",
    "HandlerCall",
    "HandlerRequest",
    "Request",
]

FORMATS = ("json", "msgpack", "pickle")
"""The codecs a request can ask for, by name."""

DEFAULT_TIMEOUT_S = 10.0
"""A handler that says nothing for this long is reported and left behind."""

MAX_TIMEOUT_S = 3600.0
"""A profiler may run for minutes; nothing that answers "right now" needs more than an hour."""

DEFAULT_EXPIRES_IN_S = 600.0
"""A worker that was stopped for longer than this is not asked for old news when it goes on."""

MAX_EXPIRES_IN_S = 30 * 86400.0
"""A month: longer than any job's retention."""

HANDLER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
"""What a handler can be called: file names are made of it."""

MAX_CALLS = 64
"""Three times the number of built-in handlers: a request that asks for more is a mistake."""


@dataclass(frozen=True)
class HandlerCall:
    """One handler to run, with its parameters as text and, if it differs, its format.

    Raises ``RequestError`` for a name that no handler can have.
    """

    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None

    def __post_init__(self) -> None:
        if not HANDLER_NAME.fullmatch(self.name):
            shown = ascii(self.name)[:120]
            raise RequestError(f"{shown} is no handler name: up to 100 letters, digits, '_' and '-', as in `stacks`")


@dataclass(frozen=True)
class Request:
    """What is asked of the workers of one job.

    ``targets`` is the text of DESIGN's target language (``all``, ``any``, ranks, hosts,
    worker names, roles); ``timeout_s`` bounds each handler; ``expires_in_s`` counts from
    acceptance; ``id`` is set only where the asker chose one.

    Raises ``RequestError`` for an empty request, too many calls, an unknown format or a
    time out of bounds.
    """

    calls: tuple[HandlerCall, ...]
    format: str = "json"
    body: bytes = b""
    targets: tuple[str, ...] = ("all",)
    timeout_s: float = DEFAULT_TIMEOUT_S
    expires_in_s: float = DEFAULT_EXPIRES_IN_S
    id: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.calls) <= MAX_CALLS:
            raise RequestError(
                f"a request names 1 to {MAX_CALLS} handlers, this one {len(self.calls)}: ask for fewer at a time"
            )
        for name in (self.format, *(call.format for call in self.calls if call.format is not None)):
            if name not in FORMATS:
                raise RequestError(f"unknown format {name!r}: use one of {', '.join(FORMATS)}")
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise RequestError(f"timeout_s is {self.timeout_s}: give seconds, above 0 and up to {MAX_TIMEOUT_S:g}")
        if not 0 < self.expires_in_s <= MAX_EXPIRES_IN_S:
            raise RequestError(f"expires_in_s is {self.expires_in_s}: give seconds, above 0 and up to 30 days")

    def format_of(self, call: HandlerCall) -> str:
        """The format of one call: its own, else the request's."""
        return call.format or self.format

    def same_question(self, other: Request) -> bool:
        """Whether one answer serves both (ids, targets and expiry do not change an answer)."""
        return (
            self.calls == other.calls
            and self.format == other.format
            and self.body == other.body
            and self.timeout_s == other.timeout_s
        )


@dataclass(frozen=True)
class AcceptedRequest:
    """A request that has an id and is fixed on the workers it is for.

    ``accepted_at`` is wall-clock seconds since 1970; ``source`` says how it came (channel, and for a
    dropped file its name, inode, and modification and change times in nanoseconds).
    """

    id: str
    request: Request
    asked: tuple[str, ...]
    accepted_at: float
    accepted_by: str
    source: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def expires_at(self) -> float:
        """When nobody wants the answer any more, in seconds since 1970."""
        return self.accepted_at + self.request.expires_in_s


@dataclass(frozen=True)
class HandlerRequest:
    """What a two-argument handler sees: the methods of PyTorch's ``_Request``."""

    call: HandlerCall
    content: bytes = b""

    def body(self) -> bytes:
        """The request's body, empty if it had none."""
        return self.content

    def params(self) -> dict[str, str]:
        """The parameters, as text; a copy."""
        return dict(self.call.params)

    def get_param(self, name: str) -> str:
        """One parameter, or ``""`` if it is absent (as PyTorch answers)."""
        return self.call.params.get(name, "")
