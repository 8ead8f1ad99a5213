"""Which path means what: an ``HttpRequest`` to a ``Plan``, whose ``run`` gives the ``Reply``.

In: requests as values, the registry, codecs, and the way into the store where there is one.
Out: plans; to make one takes no time, to run one may take for ever, so that whoever runs it
keeps the plan's deadline. The routes, texts and statuses of PyTorch's worker server are kept
here; what goes beyond them is asked for by what PyTorch's clients do not send.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hmac import compare_digest
from typing import Protocol

from oobdump.channels.http_wire import FORM, HttpRequest, Reply
from oobdump.codecs import Codec
from oobdump.errors import OobdumpError, RequestError, UnknownHandler
from oobdump.handlers.basic import listing
from oobdump.registry import Handler, Registry
from oobdump.request import DEFAULT_TIMEOUT_S, FORMATS, MAX_TIMEOUT_S, HandlerCall, Request
from oobdump.runner import format_stack, run_call
from oobdump.slots import Slot, Slots
from oobdump.store import atomic
from oobdump.store.layout import MANIFEST
from oobdump.threads import current_frames
from oobdump.wire import read_request

__all__ = ["HTTP_TIMEOUT_S", "TIMEOUT_HEADER", "Plan", "Routes", "Submit"]

HTTP_TIMEOUT_S = 60.0
"""For a handler whose asker says nothing: PyTorch's clients cannot, and its profiler takes 10 s unless told."""

QUICK_RETRY_S = 1.0
"""As the dispatcher's: a handler without side effects that should take milliseconds is run once more."""

TIMEOUT_HEADER = "X-Oobdump-Timeout"
"""Seconds; a header, because a parameter would reach the handler, and PyTorch's refuse what they do not know."""

STORE_S = 20.0
"""What ``POST /dump`` waits beyond its handlers: three stores of 5 s may be tried."""

MAX_WAITING = 16
"""Requests that wait for one handler; a quarter of the connections, so that one stuck handler leaves room."""

PATIENCE = 0.9
"""Of its time a request waits for a handler that runs for another: it then hears so, and not that its own is late."""

MAX_MANIFEST_BYTES = 2**24
"""A manifest has a line for each part, and a request at most 64 of them."""

_INDEX = b'<h1>torch.distributed.WorkerServer</h1>\n<a href="/handler/">Handler names</a>\n'
_JSON = "application/json"
_PREFIX = "/handler/"
_DUMP_KEYS = ("handler", "format", "timeout_s")
_ENCODINGS = {_JSON: "json", "application/msgpack": "msgpack"}


class Ticket(Protocol):
    """A request that was handed in to be stored."""

    @property
    def directory(self) -> str | None:
        """Where the dump is, once it is answered."""

    def wait(self, timeout_s: float) -> bool:
        """Whether it is answered in time."""


Submit = Callable[[Request], Ticket]
"""Runs a request, stores its dump, and gives a ticket; raises ``Refused``."""


@dataclass(frozen=True)
class Plan:
    """What a request asks for: ``answer`` may take for ever, and after ``timeout_s`` ``late`` answers in its place."""

    run: Callable[[], Reply]
    timeout_s: float = HTTP_TIMEOUT_S
    what: str = "The server"
    quick: bool = False

    @property
    def first_s(self) -> float:
        """How long the first thread may take: one that is lost in what is not its own, a second one replaces."""
        return QUICK_RETRY_S if self.quick and self.timeout_s > 2 * QUICK_RETRY_S else self.timeout_s

    def answer(self) -> Reply:
        """The reply, whatever happens."""
        try:
            return self.run()
        except BaseException as error:  # noqa: BLE001 - what no route expected is answered too, and ends no thread
            return _text(500, f"{self.what} failed: {type(error).__name__}")

    def late(self, thread: int) -> Reply:
        """What is said at the deadline: where the thread stands that runs ``answer``."""
        text = f"{self.what} failed: it did not return within {self.timeout_s:g} s; this is where it stands"
        stack = format_stack(current_frames().get(thread))
        return _text(504, f"{text}\n{stack}\n")


@dataclass(frozen=True)
class Routes:
    """The routes over one registry. Thread-safe; ``submit`` is None where nothing is stored."""

    registry: Registry
    codecs: Mapping[str, Codec]
    slots: Slots
    submit: Submit | None = None
    token: str | None = field(default=None, repr=False)
    timeout_s: float = HTTP_TIMEOUT_S
    _waiting: dict[str, dict[object, None]] = field(default_factory=dict, init=False, repr=False)

    def plan(self, request: HttpRequest) -> Plan:
        """What the request asks for; what is wrong with it is a plan too."""
        if self.token is not None and not _has_token(request, self.token):
            return _ready(Reply(401, b"this server wants its bearer token", headers=(("WWW-Authenticate", "Bearer"),)))
        path, method = request.decoded_path, "GET" if request.method == "HEAD" else request.method
        try:
            if path.startswith(_PREFIX) and path != _PREFIX:
                return self._named(method, path[len(_PREFIX) :], request)
            found = self._TABLE.get((method, path))
            return _ready(Reply(404)) if found is None else found(self, request)
        except OobdumpError as error:
            return _ready(_text(error.code, str(error)))
        except Exception as error:  # noqa: BLE001 - a registry of somebody else's; the connection lives on
            return _ready(_text(500, f"The server failed: {type(error).__name__}"))

    def _index(self, _request: HttpRequest) -> Plan:
        return _ready(Reply(200, _INDEX, "text/html"))

    def _names(self, _request: HttpRequest) -> Plan:
        return Plan(lambda: _document(self.registry.names()), what="The registry")

    def _no_name(self, _request: HttpRequest) -> Plan:
        return _ready(_not_found("", f"Failed to find handler {''}"))

    def _named(self, method: str, name: str, request: HttpRequest) -> Plan:
        name = name.removesuffix("/")
        if "/" in name:
            return _ready(Reply(404))
        if method == "POST":
            timeout_s = self._timeout(request.headers.get(TIMEOUT_HEADER.lower()))
            return self._call(name, request, timeout_s)
        if method == "GET" and _JSON in request.headers.get("accept", "").lower():
            return Plan(partial(self._help, name), what="The registry")
        return _ready(Reply(404))

    def _timeout(self, text: str | None) -> float:
        return self.timeout_s if text is None else _seconds(TIMEOUT_HEADER, text)

    def _call(self, name: str, request: HttpRequest, timeout_s: float) -> Plan:
        try:
            handler = self.registry.get(name)
        except UnknownHandler as error:
            return _ready(_not_found(name, str(error)))
        params = request.params()
        codec = self._codec(handler, params, request)
        run = partial(self._run, handler, HandlerCall(handler.name, params), request.body, codec, timeout_s, object())
        return Plan(run, timeout_s, f"Handler {name}", handler.quick)

    def _run(
        self, handler: Handler, call: HandlerCall, body: bytes, codec: Codec, timeout_s: float, owner: object
    ) -> Reply:
        slot = self._take(handler.name, timeout_s, owner)
        if isinstance(slot, str):
            return _text(503, slot)
        try:
            part = run_call(handler, call, body, codec)
        finally:
            self.slots.free(handler.name, slot)
        return Reply(part.code, part.body, part.media_type)

    def _codec(self, handler: Handler, params: dict[str, str], request: HttpRequest) -> Codec:
        """What a value is encoded with; ``format`` is ours only where the handler has no use for it."""
        if not handler.returns_value or any(parameter.name == "format" for parameter in handler.parameters):
            return _preferred(request.headers.get("accept", ""), self.codecs.values())
        name = params.pop("format", None)
        if name is None:
            return _preferred(request.headers.get("accept", ""), self.codecs.values())
        if name not in self.codecs:
            raise RequestError(f"unknown format {name[:40]!a}: use one of {', '.join(self.codecs)}")
        return self.codecs[name]

    def _take(self, name: str, timeout_s: float, owner: object) -> Slot | str:
        waiting, me = self._waiting.setdefault(name, {}), object()
        if len(waiting) >= MAX_WAITING:
            return f"{MAX_WAITING} requests wait for handler {name} already: ask again when they are answered"
        waiting[me] = None
        try:
            return self.slots.take(name, (owner,), timeout_s * PATIENCE)
        finally:
            waiting.pop(me, None)

    def _help(self, name: str) -> Reply:
        try:
            self.registry.get(name)
        except UnknownHandler as error:
            return _not_found(name, str(error))
        entries = listing(self.registry)()["handlers"]
        return _document(next((entry for entry in entries if entry["name"] == name), {"name": name}))

    def _dump(self, request: HttpRequest) -> Plan:
        if self.submit is None:
            raise _Nowhere("this server stores nothing: POST /dump needs a worker that oobdump.start() armed")
        asked = _dump_request(request)
        patience_s = asked.timeout_s * len(asked.calls) + STORE_S
        run = partial(_stored, self.submit, asked, patience_s)
        return Plan(run, patience_s + STORE_S, "The dump")

    _TABLE = {  # noqa: RUF012 - a table of functions, read only
        ("GET", "/"): _index,
        ("GET", "/handler/"): _names,
        ("POST", "/handler/"): _no_name,
        ("POST", "/dump"): _dump,
    }


class _Nowhere(RequestError):
    """There is no store behind this server."""

    code = 503


def _stored(submit: Submit, asked: Request, patience_s: float) -> Reply:
    """Runs, waits for the commit, and answers with the manifest."""
    try:
        ticket = submit(asked)
    except OobdumpError as error:
        return _text(error.code, str(error))
    if not ticket.wait(patience_s):
        return _text(504, f"the dump is not committed after {patience_s:g} s; it may be later")
    if ticket.directory is None:
        return _text(500, "no directory took the dump: neither the dump directory nor a fallback is writable")
    try:
        manifest = atomic.read_bounded(f"{ticket.directory}/{MANIFEST}", MAX_MANIFEST_BYTES)
    except (OSError, ValueError) as error:
        return _text(500, f"the dump in {ticket.directory} is committed, but cannot be read: {error}")
    where = ascii(ticket.directory)[1:-1]
    return Reply(200, manifest, _JSON, (("X-Oobdump-Directory", where),))


def _dump_request(request: HttpRequest) -> Request:
    """The request in a JSON or msgpack body as it would be dropped, or that of the parameters."""
    if request.body and request.media_type != FORM:
        if request.media_type not in _ENCODINGS:
            raise RequestError(f"a body here is a request in {' or '.join(_ENCODINGS)}, or a form ({FORM})")
        return read_request(request.body, _ENCODINGS[request.media_type])
    pairs = request.pairs()
    for name, _ in pairs:
        if name not in _DUMP_KEYS:
            raise RequestError(f"unknown parameter {name[:40]!a}: use {', '.join(_DUMP_KEYS)}, or send a JSON body")
    params = dict(reversed(pairs))
    timeout_s = _seconds("timeout_s", params["timeout_s"]) if "timeout_s" in params else DEFAULT_TIMEOUT_S
    calls = tuple(HandlerCall(value) for name, value in pairs if name == "handler")
    return Request(calls, params.get("format", FORMATS[0]), timeout_s=timeout_s)


def _preferred(accept: str, codecs: Iterable[Codec]) -> Codec:
    """The codec that an ``Accept`` header likes best; the first one (JSON) where it names none of them."""
    first, *others = codecs
    if not accept or accept == "*/*":
        return first
    weights = dict(map(_weight, accept.lower().split(",")))
    best = max((first, *others), key=lambda codec: weights.get(codec.media_type, 0.0))
    weight = weights.get(best.media_type, 0.0)
    return best if weight > 0 and weight >= weights.get("*/*", 0.0) else first


def _weight(word: str) -> tuple[str, float]:
    """``text/html;q=0.5`` as name and weight; a weight that is no number counts as none."""
    name, *parameters = (piece.strip() for piece in word.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _has_token(request: HttpRequest, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and compare_digest(given.strip().encode(), token.encode())


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MAX_TIMEOUT_S:
        raise RequestError(f"{name} is {text[:40]!a}: give seconds, above 0 and up to {MAX_TIMEOUT_S:g}")
    return value


def _ready(reply: Reply) -> Plan:
    return Plan(lambda: reply)


def _not_found(name: str, why: str) -> Reply:
    return _text(404, f"Handler {name} not found: {why}")


def _text(code: int, text: str) -> Reply:
    return Reply(code, text.encode("utf-8", "backslashreplace"))


def _document(value: object) -> Reply:
    return Reply(200, json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii"), _JSON)
