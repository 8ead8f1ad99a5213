"""HTTP/1.1 as values: bytes to ``HttpRequest``, ``Reply`` to bytes; no socket and no clock.

In: bytes as they arrive, in any pieces. Out: requests, or ``HttpError`` with the status that
says what is wrong; after one the connection is of no use. The rule only this module keeps:
whatever is ambiguous (RFC 9112: two lengths, a length beside chunks, a folded line, a bare
LF) is refused, and what a sender can make us hold is bounded before it is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, unquote_plus

from oobdump.errors import RequestError
from oobdump.response import Bytes
from oobdump.wire import MAX_REQUEST_BYTES

__all__ = [
    "CONTINUE",
    "FORM",
    "HttpError",
    "HttpRequest",
    "Reply",
    "RequestReader",
    "pairs_of",
    "parse_head",
    "reply_head",
    "sendable",
]

MAX_LINE_BYTES = 8000
"""Of the request line: what RFC 9112 (3) wants everybody to take, and ten times our longest."""

MAX_HEAD_BYTES = 2**14
"""Request line and headers: 16 KiB, as h11 and nginx have it."""

MAX_HEADERS = 100
"""As ``http.client`` has it; browsers send about 20."""

MAX_BODY_BYTES = MAX_REQUEST_BYTES
"""The same as for a dropped file."""

MAX_CHUNK_LINE_BYTES = 128
"""A chunk's length and its extensions, which nobody uses; also one line of a trailer."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""To a sender that waits for leave to send a large body."""

FORM = "application/x-www-form-urlencoded"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FIELD = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_MEDIA_TYPE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ONCE = ("host", "transfer-encoding", "authorization", "content-type")
_NO_BODY = (204, 304)
_CODES = range(200, 600)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class HttpError(RequestError):
    """The bytes are no request that can be answered; ``code`` is the status to answer with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class HttpRequest:
    """One request. ``path`` and ``query`` as they were sent; header names in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    minor: int = 1

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays for another request."""
        words = self.headers.get("connection", "").lower()
        return "close" not in words if self.minor else "keep-alive" in words

    @property
    def media_type(self) -> str:
        """Of the body, without parameters such as the charset."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def decoded_path(self) -> str:
        """The path with its escapes resolved."""
        return unquote(_utf_8(self.path), errors="replace") if "%" in self.path else _utf_8(self.path)

    def pairs(self) -> list[tuple[str, str]]:
        """Parameters in order: the query's, then those of a form in the body."""
        form = self.body.decode("latin-1") if self.body and self.media_type == FORM else ""
        return [*pairs_of(self.query), *pairs_of(form)] if self.query or form else []

    def params(self) -> dict[str, str]:
        """Parameters by name; of a repeated one the first, as PyTorch's server has it."""
        return dict(reversed(self.pairs())) if self.query or self.body else {}


@dataclass(frozen=True)
class Reply:
    """One answer; ``body`` is sent as it is, without a copy."""

    code: int = 200
    body: Bytes = b""
    media_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


def pairs_of(text: str) -> list[tuple[str, str]]:
    """``a=1&b=x+y`` as pairs; a word without ``=`` is a parameter with an empty value."""
    words = (word.partition("=") for word in text.split("&") if word)
    return [(_unquoted(name), _unquoted(value)) for name, _, value in words]


def parse_head(head: bytes) -> HttpRequest:
    """Request line and headers, without the empty line that ends them. Raises ``HttpError``."""
    line, *rest = head.split(b"\r\n")
    if len(line) > MAX_LINE_BYTES:
        raise HttpError(414, f"the request line has {len(line)} bytes: at most {MAX_LINE_BYTES} are read")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise HttpError(400, f"{ascii(line[:80])[1:]} is no request line: write METHOD PATH HTTP/1.1")
    method, target, major, minor = found.groups()
    if major != b"1":
        raise HttpError(505, "this server speaks HTTP/1.1")
    path, _, query = _origin_form(target.decode("latin-1")).partition("?")
    request = HttpRequest(method.decode("ascii"), path, query, _headers(rest), minor=min(1, int(minor)))
    if request.minor and "host" not in request.headers:
        raise HttpError(400, "the request has no Host header, which HTTP/1.1 wants: any value will do")
    return request


def reply_head(reply: Reply, *, size: int, keep_alive: bool, minor: int = 1) -> bytes:
    """Status line and headers, with the empty line that ends them. ``size`` is the body's."""
    lines = [f"HTTP/1.1 {reply.code} {_PHRASES.get(reply.code, 'Status')}"]
    if size:
        lines.append(f"Content-Type: {_safe_media_type(reply.media_type)}")
    if reply.code not in _NO_BODY:
        lines.append(f"Content-Length: {size}")
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if not keep_alive:
        lines.append("Connection: close")
    elif not minor:
        lines.append("Connection: keep-alive")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("ascii", "backslashreplace")


def sendable(reply: Reply) -> Reply:
    """The same, or what can be sent in its place: a status that HTTP does not know, a body where none may be."""
    if reply.code in _NO_BODY:
        return Reply(reply.code, b"", reply.media_type, reply.headers)
    if reply.code not in _CODES:
        return Reply(500, f"the handler set status {reply.code}: HTTP knows 200 to 599".encode())
    return reply


class RequestReader:
    """Bytes of one connection in, requests out, in order. Not thread-safe."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._scanned = 0
        self._head: HttpRequest | None = None
        self._last = (b"", HttpRequest("GET", "/"))  # who keeps a connection asks the same again and again
        self._body: _Length | _Chunks = _Length(0)

    @property
    def began(self) -> bool:
        """Whether part of a request is here."""
        return self._head is not None or bool(self._data)

    @property
    def wants_continue(self) -> bool:
        """Whether the sender waits for leave to send the body."""
        head = self._head
        return head is not None and not self._data and head.headers.get("expect", "").lower() == "100-continue"

    def feed(self, data: bytes) -> None:
        """What arrived."""
        self._data += data

    def next(self) -> HttpRequest | None:
        """The next request, None until more arrives. Raises ``HttpError``."""
        if self._head is None and not self._read_head():
            return None
        body = self._body.take(self._data)
        if body is None:
            return None
        head, self._head = self._head, None
        assert head is not None  # noqa: S101 - _read_head set it
        return HttpRequest(head.method, head.path, head.query, head.headers, body, head.minor) if body else head

    def _read_head(self) -> bool:
        data = self._data
        while data.startswith(b"\r\n"):
            del data[:2]  # RFC 9112 (2.2): some senders end a body with a line too many
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(data) - 3)
            self._refuse_early(data)
            return False
        if end > MAX_HEAD_BYTES:
            raise _too_large(end)
        head, self._scanned = bytes(data[:end]), 0
        del data[: end + 4]
        if head != self._last[0]:
            self._last = (head, parse_head(head))
        self._head = self._last[1]
        self._body = _framing(self._head)
        return True

    @staticmethod
    def _refuse_early(data: bytearray) -> None:
        """What can be no request however it goes on."""
        if len(data) > MAX_LINE_BYTES and b"\r\n" not in data[: MAX_LINE_BYTES + 2]:
            raise HttpError(414, f"the request line has more than the {MAX_LINE_BYTES} bytes that are read")
        if len(data) > MAX_HEAD_BYTES:
            raise _too_large(len(data))
        if b"\n\n" in data:
            raise HttpError(400, "lines end in CR LF, and these in LF alone")


class _Length:
    """A body of so many bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def take(self, data: bytearray) -> bytes | None:
        if not self._size:
            return b""
        if len(data) < self._size:
            return None
        body = bytes(memoryview(data)[: self._size])
        del data[: self._size]
        return body


class _Chunks:
    """A body in chunks (RFC 9112, 7.1); extensions and trailers are read and dropped."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._steps = self._walk()
        self._data = bytearray()
        next(self._steps)

    def take(self, data: bytearray) -> bytes | None:
        self._data = data
        try:
            next(self._steps)
        except StopIteration:
            return b"".join(self._pieces)
        return None

    def _walk(self) -> Iterator[None]:
        """Ends with the body's last byte; yields whenever more must arrive first."""
        yield
        while True:
            while (line := self._line()) is None:
                yield
            size = self._chunk_size(line)
            if not size:
                break
            while len(self._data) < size + 2:
                yield
            if self._data[size : size + 2] != b"\r\n":
                raise HttpError(400, "a chunk is longer than it says")
            self._pieces.append(bytes(memoryview(self._data)[:size]))
            del self._data[: size + 2]
        yield from self._trailers()

    def _trailers(self) -> Iterator[None]:
        for _ in range(MAX_HEADERS):
            while (line := self._line()) is None:
                yield
            if not line:
                return
            _header(line)
        raise HttpError(431, f"the body has more than {MAX_HEADERS} trailers")

    def _line(self) -> bytes | None:
        end = self._data.find(b"\r\n", 0, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(self._data) >= MAX_CHUNK_LINE_BYTES:
                raise HttpError(400, "the body is not in chunks")
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 2]
        return line

    def _chunk_size(self, line: bytes) -> int:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise HttpError(400, "a chunk does not begin with its length")
        size = int(found[1], 16)
        self._size += size
        if self._size > MAX_BODY_BYTES:
            raise _body_too_large(f"{self._size} bytes or more")
        return size


def _framing(head: HttpRequest) -> _Length | _Chunks:
    """How the body's end is told (RFC 9112, 6.3)."""
    length, coding = head.headers.get("content-length"), head.headers.get("transfer-encoding")
    if coding is not None:
        if length is not None or not head.minor:
            raise HttpError(400, "Transfer-Encoding beside Content-Length, or in HTTP/1.0: where does the body end?")
        if coding.lower() != "chunked":
            raise HttpError(501, "the only transfer coding that is read is chunked")
        return _Chunks()
    if length is None:
        return _Length(0)
    if not _LENGTH.fullmatch(length):
        raise HttpError(400, "Content-Length is no number of bytes")
    if int(length) > MAX_BODY_BYTES:
        raise _body_too_large(f"{int(length)} bytes")
    return _Length(int(length))


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise HttpError(431, f"the request has {len(lines)} headers: at most {MAX_HEADERS} are read")
    headers: dict[str, str] = {}
    for line in lines:
        name, value = _header(line)
        if name not in headers:
            headers[name] = value
        elif name in _ONCE or (name == "content-length" and headers[name] != value):
            raise HttpError(400, f"the request has two {name} headers: which one is meant?")
        elif name != "content-length":
            headers[name] += f", {value}"
    return headers


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name.translate(None, _TOKEN) or value.translate(None, _FIELD):
        raise HttpError(400, f"{ascii(line[:80])[1:]} is no header: write NAME: VALUE")
    return name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")


def _origin_form(target: str) -> str:
    """``/path?query``, also of ``http://host/path?query``, which a proxy would send."""
    if target.startswith("/") or target == "*":
        return target
    scheme, colon, rest = target.partition("://")
    if colon and scheme.lower() in ("http", "https"):
        cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        return rest[cut:] if rest[cut : cut + 1] == "/" else f"/{rest[cut:]}"
    raise HttpError(400, f"{target[:80]!a} is no path: it starts with /")


def _unquoted(text: str) -> str:
    return unquote_plus(_utf_8(text), errors="replace") if "%" in text or "+" in text else _utf_8(text)


def _utf_8(text: str) -> str:
    """Bytes that were read as Latin-1 for want of a better word; UTF-8 is what URLs are made of."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


def _safe_media_type(text: str) -> str:
    """A handler's media type, unless it would end the header."""
    return text if _MEDIA_TYPE.fullmatch(text) else "application/octet-stream"


def _too_large(size: int) -> HttpError:
    return HttpError(431, f"request line and headers have {size} bytes: at most {MAX_HEAD_BYTES} are read")


def _body_too_large(size: str) -> HttpError:
    return HttpError(413, f"the body has {size}: at most {MAX_BODY_BYTES} are read")
