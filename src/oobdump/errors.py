"""What can go wrong, as one tree. Each class says who can mend it.

OobdumpError
├── RequestError          the asker: the request is malformed, unknown or not allowed
│   ├── ParameterError    the asker: a handler's parameter is unknown or malformed (400)
│   ├── UnknownHandler    the asker: no handler has that name (404)
│   ├── UnreadableRequest the asker: the bytes are no document, perhaps not yet
│   └── Refused           the asker, later: the worker cannot take the request now (503)
├── ConfigError           whoever starts the worker: an argument or an OOBDUMP_* variable
├── StoreError            whoever owns the directory
│   ├── ForeignDirectory  somebody else made it, or others can write in it
│   └── DamagedDump       a part or a manifest is not what its writer committed
├── CodecError            whoever wrote the bytes: they are not a document of that codec
└── StartError            whoever calls ``start()``: it cannot be done from here
"""

from __future__ import annotations

__all__ = [
    "CodecError",
    "ConfigError",
    "DamagedDump",
    "ForeignDirectory",
    "OobdumpError",
    "ParameterError",
    "Refused",
    "RequestError",
    "StartError",
    "StoreError",
    "UnknownHandler",
    "UnreadableRequest",
]


class OobdumpError(Exception):
    """Base of every error that oobdump raises on purpose."""

    code: int = 500
    """The HTTP status that says the same."""


class RequestError(OobdumpError):
    """The request is malformed, unknown or not allowed; the asker can mend it."""

    code = 400


class ParameterError(RequestError):
    """A parameter is unknown, missing or malformed; the message says what would be right."""


class UnknownHandler(RequestError):
    """No handler has that name."""

    code = 404


class UnreadableRequest(RequestError):
    """The bytes are not a whole JSON or msgpack document; a file may still be in the writing."""


class Refused(RequestError):
    """The worker cannot take the request now: its queue is full, or that handler is stuck."""

    code = 503


class ConfigError(OobdumpError):
    """An argument of ``start()`` or an ``OOBDUMP_*`` variable makes no sense."""


class StoreError(OobdumpError):
    """The dump directory cannot be used as asked."""


class ForeignDirectory(StoreError):
    """A directory belongs to somebody else, or others may write in it: not used."""

    code = 403


class DamagedDump(StoreError):
    """A part or a manifest is not what its writer committed."""


class CodecError(OobdumpError):
    """The bytes are not a document of this codec."""


class StartError(OobdumpError):
    """``start()`` cannot be done from here."""
