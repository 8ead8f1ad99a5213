"""Bytes to ``Request`` and back; no socket, clock or file is touched here.

In: the bytes of a dropped file, an HTTP body or a ``request.json``. Out: frozen values.
Whatever the bytes are, the only error is ``RequestError``; ``UnreadableRequest`` where they
are no whole document, since a file may still be in the writing. The rule only this module
keeps: a document means the same in JSON and in msgpack, and unknown keys are errors.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgpack

from oobdump.errors import RequestError, UnreadableRequest
from oobdump.request import FORMATS, HANDLER_NAME, AcceptedRequest, HandlerCall, Request

__all__ = [
    "MAX_ACCEPTED_BYTES",
    "MAX_REQUEST_BYTES",
    "accepted_to_bytes",
    "read_accepted",
    "read_request",
    "request_for_handler",
    "request_to_bytes",
]

MAX_REQUEST_BYTES = 2**20
"""A request is names and parameters; 1 MiB leaves room for a body and stops a disk image."""

MAX_ACCEPTED_BYTES = 6 * MAX_REQUEST_BYTES + 2**25
"""A ``request.json``: a byte of msgpack text takes up to six in JSON, and the names of 200,000 workers 32 MiB."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_KEYS = ("schema_version", "handlers", "format", "body", "body_base64", "targets", "timeout_s", "expires_in_s", "id")
_CALL_KEYS = ("name", "params", "format")
_ACCEPTED_KEYS = ("schema_version", "id", "request", "asked", "accepted_at", "accepted_by", "source")
_SCHEMA_VERSION = 1
_LARGEST_NUMBER = 1e15


def read_request(data: bytes, encoding: str) -> Request:
    """A request document; ``encoding`` is ``json`` or ``msgpack``. Raises ``RequestError`` only."""
    return _request(_document(data, encoding))


def request_for_handler(name: str) -> Request:
    """What an empty file named ``name`` asks for."""
    return Request(calls=(HandlerCall(_handler_name(name)),))


def request_to_bytes(request: Request, encoding: str = "json") -> bytes:
    """The document that ``read_request`` reads back as an equal request."""
    return _dump(_request_document(request), encoding)


def accepted_to_bytes(accepted: AcceptedRequest) -> bytes:
    """The content of ``request.json``."""
    document = {
        "schema_version": _SCHEMA_VERSION,
        "id": accepted.id,
        "request": _request_document(accepted.request),
        "asked": list(accepted.asked),
        "accepted_at": accepted.accepted_at,
        "accepted_by": accepted.accepted_by,
        "source": dict(accepted.source),
    }
    return _dump(document, "json")


def read_accepted(data: bytes) -> AcceptedRequest:
    """The content of a ``request.json``. Raises ``RequestError`` only."""
    document = _document(data, "json", MAX_ACCEPTED_BYTES)
    _known_keys(document, _ACCEPTED_KEYS, "request.json")
    asked, source = document.get("asked"), document.get("source", {})
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        raise RequestError("'asked' in request.json is not a list of worker names: the file was not written by oobdump")
    if not isinstance(source, dict) or not all(isinstance(value, (str, int)) for value in source.values()):
        raise RequestError("'source' in request.json is not a table of texts and numbers")
    inner = document.get("request")
    if not isinstance(inner, dict):
        raise RequestError("'request' in request.json is not an object")
    return AcceptedRequest(
        id=_id(document.get("id")),
        request=_request(inner),
        asked=tuple(asked),
        accepted_at=_number(document, "accepted_at"),
        accepted_by=_text(document, "accepted_by"),
        source=source,
    )


def _request_document(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema_version": _SCHEMA_VERSION,
        "handlers": [_call_document(call) for call in request.calls],
        "format": request.format,
        "targets": list(request.targets),
        "timeout_s": request.timeout_s,
        "expires_in_s": request.expires_in_s,
    }
    if request.body:
        document["body_base64"] = base64.b64encode(request.body).decode("ascii")
    if request.id is not None:
        document["id"] = request.id
    return document


def _call_document(call: HandlerCall) -> dict[str, Any]:
    document: dict[str, Any] = {"name": call.name}
    if call.params:
        document["params"] = dict(call.params)
    if call.format is not None:
        document["format"] = call.format
    return document


def _request(document: dict[str, Any]) -> Request:
    _known_keys(document, _KEYS, "the request")
    version = document.get("schema_version", _SCHEMA_VERSION)
    if version != _SCHEMA_VERSION or isinstance(version, bool):
        raise RequestError(f"schema_version is {_shown(version)}: this oobdump reads version {_SCHEMA_VERSION}")
    optional: dict[str, Any] = {}
    for key, read in _OPTIONAL.items():
        if document.get(key) is not None:
            optional[key] = read(document, key)
    return Request(calls=_calls(document.get("handlers")), body=_body(document), **optional)


def _calls(value: Any) -> tuple[HandlerCall, ...]:
    items = [value] if isinstance(value, (str, dict)) else value
    if not isinstance(items, list) or not items:
        raise RequestError(
            '\'handlers\' names what to run: give one name, or a list of names or of {"name": …, "params": {…}}'
        )
    return tuple(_call(item) for item in items)


def _call(item: Any) -> HandlerCall:
    if isinstance(item, str):
        return HandlerCall(_handler_name(item))
    if not isinstance(item, dict):
        raise RequestError(f"a handler is a name or an object with 'name', not {_kind(item)}")
    _known_keys(item, _CALL_KEYS, "a handler")
    params = item.get("params") or {}
    if not isinstance(params, dict):
        raise RequestError(f"'params' is an object of names and values, not {_kind(params)}")
    form = item.get("format")
    return HandlerCall(
        _handler_name(item.get("name")),
        {_clean(key): _param(key, value) for key, value in params.items() if value is not None},
        None if form is None else _format(item, "format"),
    )


def _param(name: str, value: Any) -> str:
    """A parameter as the text that an HTTP query would carry."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        return _clean(value)
    raise RequestError(f"parameter {_shown(name)} is {_kind(value)}: give a text, a finite number, true or false")


def _body(document: Mapping[str, Any]) -> bytes:
    body, encoded = document.get("body"), document.get("body_base64")
    if body is not None and encoded is not None:
        raise RequestError("give 'body' or 'body_base64', not both")
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise RequestError("'body_base64' is not base64") from None
    if isinstance(body, bytes):
        return body
    return b"" if body is None else _text(document, "body").encode("utf-8")


def _targets(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = document[key]
    items = [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value
    if not isinstance(items, list) or not all(isinstance(i, (str, int)) and not isinstance(i, bool) for i in items):
        raise RequestError('\'targets\' is a text such as "all" or "0-7,12", or a list of such texts')
    words = tuple(word.strip() for item in items for word in _clean(str(item)).split(",") if word.strip())
    if not words:
        raise RequestError("'targets' names nobody: leave it out, or say \"all\"")
    return words


def _handler_name(value: Any) -> str:
    if not isinstance(value, str) or not HANDLER_NAME.fullmatch(value):
        raise RequestError(
            f"{_shown(value)} is no handler name: letters, digits, '_' and '-', as `oobdump handlers` lists them"
        )
    return value


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise RequestError(
            f"id {_shown(value)}: up to 80 letters, digits, '.', '_' and '-', not starting with '.' or '-'"
        )
    return value


def _number(document: Mapping[str, Any], key: str) -> float:
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST_NUMBER:
        raise RequestError(f"{key!r} is {_shown(value)}: give a number of seconds")
    return float(value)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise RequestError(f"{key!r} is {_kind(value)}: give a text")
    return _clean(value)


def _format(document: Mapping[str, Any], key: str) -> str:
    name = _text(document, key)
    if name not in FORMATS:
        raise RequestError(f"{key!r} is {_shown(name)}: use one of {', '.join(FORMATS)}")
    return name


def _clean(text: str) -> str:
    """Refuses what no file name, parameter or terminal can carry: NUL and lone surrogates."""
    if "\0" in text:
        raise RequestError(f"{_shown(text)} contains a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestError(f"{_shown(text)} contains half a surrogate pair: it is not Unicode text") from None
    return text


_OPTIONAL: Mapping[str, Callable[[dict[str, Any], str], Any]] = {
    "format": _format,
    "targets": _targets,
    "timeout_s": _number,
    "expires_in_s": _number,
    "id": lambda document, key: _id(document[key]),
}


def _known_keys(document: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in document:
        if key not in known:
            raise RequestError(f"{_shown(key)} is no key of {where}: the keys are {', '.join(known)}")


def _document(data: bytes, encoding: str, limit: int = MAX_REQUEST_BYTES) -> dict[str, Any]:
    if len(data) > limit:
        raise RequestError(f"the request has {len(data)} bytes: at most {limit} are read")
    if encoding not in _DECODERS:
        raise RequestError(f"{_shown(encoding)} is no encoding of requests: use json or msgpack")
    try:
        document = _DECODERS[encoding](data)
    except RequestError:
        raise
    except (ValueError, TypeError, RecursionError, MemoryError, OverflowError, msgpack.UnpackException) as error:
        raise UnreadableRequest(f"not a whole {encoding} document: {_brief(error)}") from None
    if not isinstance(document, dict):
        raise RequestError(f"a request is an object with 'handlers', not {_kind(document)}")
    return document


def _load_json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)


def _load_msgpack(data: bytes) -> Any:
    return msgpack.unpackb(data, object_pairs_hook=_unique, ext_hook=_no_extension, strict_map_key=True)


_DECODERS: Mapping[str, Callable[[bytes], Any]] = {"json": _load_json, "msgpack": _load_msgpack}


def _dump(document: dict[str, Any], encoding: str) -> bytes:
    if encoding == "msgpack":
        packed: bytes = msgpack.packb(document)
        return packed
    return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise RequestError(f"a key is {_kind(key)}: keys are texts")
        if key in found:
            raise RequestError(f"the key {_shown(key)} stands twice: which one is meant?")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise RequestError(f"{name} is not JSON: give a number")


def _no_extension(code: int, data: bytes) -> NoReturn:
    raise RequestError(f"msgpack extension {code} ({len(data)} bytes) is not part of a request")


def _kind(value: Any) -> str:
    return "absent" if value is None else f"of type {type(value).__name__}"


def _shown(value: Any) -> str:
    """A value from outside, short and harmless, for a message."""
    return ascii(value)[:80] if isinstance(value, (str, int, float)) else _kind(value)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {ascii(str(error))[1:-1][:200]}"
