"""Asking a worker over HTTP, by Unix socket or TCP; for where the dump directory cannot be reached.

In: an address as the roster has it (``unix:/path``, ``tcp://127.0.0.1:4100``). Out: ``HttpReply``,
or values made of it; ``Unreachable`` if there is no answer. The rule only this module keeps: an
answer with an error status is an answer; who wants a value of it is told what it said.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from oobdump.channels.http_listen import Address, UnixAddress, parse_address
from oobdump.channels.http_routes import STORE_S, TIMEOUT_HEADER
from oobdump.client import Client, Outcome
from oobdump.errors import OobdumpError, RequestError
from oobdump.request import DEFAULT_TIMEOUT_S, HandlerCall, Request
from oobdump.response import ErrorInfo, Part, Status, suffix_for
from oobdump.store.layout import Layout
from oobdump.store.reader import read_dump
from oobdump.store.roster import Entry
from oobdump.targets import Candidate, select
from oobdump.wire import request_to_bytes

__all__ = ["HttpClient", "HttpReply", "Unreachable", "ask_by_http"]

MARGIN_S = 5.0
"""Beyond what the server was told: it answers at its deadline, not before."""

MAX_AT_ONCE = 32
"""Workers that are asked at the same time."""

ROOT_LEVELS = 4
"""``<root>/<job>/dumps/<id>/<worker>``: what is below a root."""

_FINE = range(200, 400)
_REFUSED = 503
_STATUSES: Mapping[int, Status] = {_REFUSED: "refused", 504: "timeout"}


class Unreachable(OobdumpError):
    """Nobody answers at the address."""


@dataclass(frozen=True)
class HttpReply:
    """One answer; header names in lower case."""

    code: int
    media_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        """The body as text, for a message."""
        return self.body.decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class HttpClient:
    """Asks one server. ``timeout_s`` bounds each answer that no handler's own deadline does; no state of its own."""

    address: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = DEFAULT_TIMEOUT_S

    def names(self) -> list[str]:
        """The handlers that can be asked for. Raises ``Unreachable``, ``RequestError``."""
        return [str(name) for name in json.loads(_checked(self.get("/handler/")).body)]

    def describe(self, name: str) -> dict[str, Any]:
        """Help and parameters of one handler. Raises ``Unreachable``, ``RequestError``."""
        reply = self.get(f"/handler/{quote(name, safe='')}", {"Accept": "application/json"})
        return dict(json.loads(_checked(reply).body))

    def run(self, call: HandlerCall, *, body: bytes = b"", timeout_s: float | None = None) -> Part:
        """Runs one handler there and gives its outcome; nothing is stored. Raises ``Unreachable``."""
        began = time.monotonic()
        params = dict(call.params) | ({} if call.format is None else {"format": call.format})
        query = f"?{urlencode(params)}" if params else ""
        headers = {} if timeout_s is None else {TIMEOUT_HEADER: f"{timeout_s:g}"}
        patience_s = (self.timeout_s if timeout_s is None else timeout_s) + MARGIN_S
        reply = self.ask("POST", f"/handler/{quote(call.name, safe='')}{query}", body, headers, patience_s)
        return _part(call.name, reply, time.monotonic() - began)

    def dump(self, request: Request) -> tuple[dict[str, Any], str]:
        """Runs and stores there; the manifest, and the directory it is in. Raises ``Unreachable``, ``RequestError``."""
        patience_s = request.timeout_s * len(request.calls) + 2 * STORE_S + MARGIN_S
        headers = {"Content-Type": "application/json"}
        reply = _checked(self.ask("POST", "/dump", request_to_bytes(request), headers, patience_s))
        return dict(json.loads(reply.body)), reply.headers.get("x-oobdump-directory", "")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> HttpReply:
        """One GET. Raises ``Unreachable``."""
        return self.ask("GET", path, b"", headers or {}, self.timeout_s)

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> HttpReply:
        """One request on a connection of its own; once more if the server says that it was not even read.

        Raises ``Unreachable``; ``ConfigError`` for no address.
        """
        reply = self._ask(method, path, body, headers, timeout_s)
        unread = reply.code == _REFUSED and reply.headers.get("retry-after") == "0"
        return self._ask(method, path, body, headers, timeout_s) if unread else reply

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> HttpReply:
        connection = _Connection(parse_address(self.address), timeout_s)
        more = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        try:
            connection.request(method, path, body, {"Content-Length": str(len(body)), **more, **headers})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return HttpReply(answer.status, found.get("content-type", ""), answer.read(), found)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"no answer at {self.address}: {why}") from error
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """``http.client`` over either kind of address."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        host, port = ("localhost", None) if isinstance(address, UnixAddress) else (address.host, address.port)
        super().__init__(host, port, timeout=timeout_s)
        self._address = address

    def connect(self) -> None:
        if not isinstance(self._address, UnixAddress):
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._address.path)


def ask_by_http(client: Client, request: Request, *, token: str | None = None) -> list[Outcome]:
    """Asks every worker that is meant over its own server, all at once; each makes a dump of its own.

    Raises ``RequestError`` if nobody is meant who could be asked.
    """
    entries = {entry.worker: entry for entry in client.workers()[0] if entry.alive() is not False}
    there = (
        Candidate(entry.worker, entry.identity.host, entry.identity.rank, entry.identity.role)
        for entry in entries.values()
    )
    asked = select(request.targets, there)
    with ThreadPoolExecutor(min(MAX_AT_ONCE, len(asked))) as pool:
        return list(pool.map(lambda worker: _outcome(entries[worker], request, token), asked))


def _outcome(entry: Entry, request: Request, token: str | None) -> Outcome:
    identity = entry.identity
    base = Outcome(entry.worker, identity.rank, identity.host, identity.pid, identity.role, "no_answer")
    address = dict(entry.channels.get("http") or {}).get("address")
    if not isinstance(address, str):
        return replace(base, state="unreachable", why="it has no HTTP server: start it with OOBDUMP_HTTP set")
    try:
        manifest, directory = HttpClient(address, token).dump(request)
        return _answered(base, manifest, directory)
    except (OobdumpError, ValueError, KeyError, TypeError) as error:
        return replace(base, state="unreachable", why=str(error) or type(error).__name__)


def _answered(base: Outcome, manifest: Mapping[str, Any], directory: str) -> Outcome:
    """What the manifest says, and the dump itself if it can be seen from here."""
    root, job, *_ = directory.rsplit("/", ROOT_LEVELS) if directory.count("/") >= ROOT_LEVELS else ("", "")
    dump = read_dump(Layout(root, job), str(manifest["request_id"]), base.worker) if root else None
    return replace(
        base,
        status=manifest["status"],
        answered_by=str(manifest["answered_by"]),
        state=str(manifest["state"]),
        seconds=float(dict(manifest["evidence"]).get("seconds", 0.0)),
        dump=dump if dump is not None and dump.found == "committed" else None,
    )


def _part(name: str, reply: HttpReply, seconds: float) -> Part:
    status: Status = "ok" if reply.code in _FINE else _STATUSES.get(reply.code, "error")
    error = None if status == "ok" else ErrorInfo("HttpStatus", f"{reply.code}: {reply.text[:4000]}")
    return Part(name, status, reply.code, reply.media_type, suffix_for(reply.media_type), reply.body, seconds, error)


def _checked(reply: HttpReply) -> HttpReply:
    if reply.code not in _FINE:
        raise RequestError(f"the server answered {reply.code}: {reply.text[:400] or 'without a word'}")
    return reply
