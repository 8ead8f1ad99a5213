"""Rung 2: PyTorch's own server in the worker, whose C++ handlers need no GIL.

In: the path of its Unix socket and a handler's name. Out: a part, or in words why there is none.
The rule this module keeps: every step ends by one deadline, whatever the server does; and only
handlers written in C++ are asked, for one in Python would take a thread of the server for ever.
"""

from __future__ import annotations

import socket
import time

from oobdump.errors import OobdumpError
from oobdump.response import Part, suffix_for

__all__ = ["HANDLERS", "NoServer", "ask"]

HANDLERS = ("ping", "wait_counter_values", "fr_trace_json")
"""Those that answer while the GIL is held (measured: 20 ms)."""

MAX_BYTES = 2**28
_READ_BYTES = 2**16
_FINE = 200


class NoServer(OobdumpError):
    """Nothing answers there."""


def ask(path: str, name: str, deadline: float) -> Part:
    """One handler's answer. Raises ``NoServer``."""
    began = time.monotonic()
    head, body = _exchange(path, name, deadline)
    lines = head.split("\r\n")
    words = lines[0].split(None, 2)
    if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004 - version and code
        raise NoServer(f"no HTTP at {path}: {lines[0][:100]!a}")
    code = int(words[1])
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
    media_type = headers.get("content-type", "application/octet-stream")
    if code != _FINE:
        raise NoServer(f"PyTorch's server answered {code} to {name}: {body[:200].decode('utf-8', 'replace')}")
    seconds = time.monotonic() - began
    return Part(name, "ok", code, media_type, suffix_for(media_type), _plain(body, headers), seconds)


def _exchange(path: str, name: str, deadline: float) -> tuple[str, bytes]:
    """Sends one request and reads until the server closes."""
    request = f"POST /handler/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_left(deadline))
            asking.connect(path)
            asking.sendall(request.encode("ascii"))
            while len(received) < MAX_BYTES:
                asking.settimeout(_left(deadline))
                if not (piece := asking.recv(_READ_BYTES)):
                    break
                received += piece
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        raise NoServer(f"PyTorch's server at {path}: {why}") from None
    head, found, body = bytes(received).partition(b"\r\n\r\n")
    if not found:
        raise NoServer(f"PyTorch's server at {path} closed the connection without an answer")
    return head.decode("latin-1"), body


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _plain(body: bytes, headers: dict[str, str]) -> bytes:
    """The body, out of its chunks if it came in such. Raises ``NoServer`` if it is cut."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        wanted = headers.get("content-length", "")
        if wanted.isdigit() and len(body) != int(wanted):
            raise NoServer(f"PyTorch's server sent {len(body)} of {wanted} bytes")
        return body
    pieces: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if length == 0:
            return b"".join(pieces)
        pieces.append(body[:length])
        body = body[length + 2 :]
    raise NoServer("PyTorch's server sent a body that is cut off")
