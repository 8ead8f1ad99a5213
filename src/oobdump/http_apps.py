"""The same routes inside a web server that a program has already: WSGI and ASGI applications.

In: nothing, or a token. Out: an application to mount. It answers as ``WorkerServer`` does, but in
the host's threads or loop, which may be what hangs: a server of its own is what to ask then. The
rule only this module keeps: a handler runs on a thread of ours under its deadline, so that a
stuck one keeps neither a thread nor the loop of the host.
"""

from __future__ import annotations

import _thread
import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from oobdump.channels.http_routes import Plan, Routes
from oobdump.channels.http_wire import MAX_BODY_BYTES, HttpRequest, Reply, sendable
from oobdump.control_plane import routes
from oobdump.threads import start_thread

__all__ = ["asgi_app", "wsgi_app"]

_TOO_LARGE = Reply(413, f"the body has more than the {MAX_BODY_BYTES} bytes that are read".encode())
_NO_THREAD = Reply(503, b"no thread can be started: raise the limit (ulimit -u)")

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def wsgi_app(*, token: str | None = None) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """A WSGI application; with ``token`` it wants ``Authorization: Bearer TOKEN``."""
    table = routes(token=token)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = _from_environ(environ)
        reply = sendable(_TOO_LARGE if request is None else _answer(table, request))
        start_response(f"{reply.code} {_phrase(reply.code)}", _headers(reply))
        return () if request is not None and request.method == "HEAD" else (bytes(reply.body),)

    return app


def asgi_app(*, token: str | None = None) -> Callable[[_Message, _Receive, _Send], Awaitable[None]]:
    """An ASGI application for an asyncio loop; with ``token`` it wants ``Authorization: Bearer TOKEN``."""
    table = routes(token=token)

    async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            raise ValueError(f"oobdump answers http, not {scope['type']}")
        body = await _body(receive)
        if body is None:
            reply = _TOO_LARGE
        else:
            request = _from_scope(scope, body)
            reply = sendable(await asyncio.get_running_loop().run_in_executor(None, _answer, table, request))
        headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in _headers(reply)]
        await send({"type": "http.response.start", "status": reply.code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else bytes(reply.body)})
        return None

    return app


def _answer(table: Routes, request: HttpRequest) -> Reply:
    """Runs the plan on a thread of ours, and waits no longer than it may take."""
    plan, found, thread = table.plan(request), list[Reply](), list[int]()
    done = _thread.allocate_lock()
    done.acquire()

    def run(plan: Plan = plan) -> None:
        thread.append(_thread.get_ident())
        found.append(plan.answer())
        done.release()

    if not start_thread("oobdump http app", run):
        return _NO_THREAD
    return found[0] if done.acquire(True, plan.timeout_s) else plan.late(thread[0] if thread else 0)


def _from_environ(environ: dict[str, Any]) -> HttpRequest | None:
    """None for a body that is too large."""
    length = environ.get("CONTENT_LENGTH") or ""
    limit = int(length) if length.isdecimal() else MAX_BODY_BYTES + 1 if environ.get("wsgi.input_terminated") else 0
    if length and limit > MAX_BODY_BYTES:
        return None
    body = environ["wsgi.input"].read(limit) if limit else b""
    if len(body) > MAX_BODY_BYTES:
        return None
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    headers["content-type"] = environ.get("CONTENT_TYPE") or ""
    path = quote(environ.get("PATH_INFO", "").encode("latin-1")) or "/"
    return HttpRequest(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), headers, body)


def _from_scope(scope: _Message, body: bytes) -> HttpRequest:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    query = scope.get("query_string", b"").decode("latin-1")
    return HttpRequest(scope["method"], quote(path) or "/", query, headers, body)


async def _body(receive: _Receive) -> bytes | None:
    """None for one that is too large."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


async def _lifespan(receive: _Receive, send: _Send) -> None:
    """There is nothing to set up; servers ask all the same."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _headers(reply: Reply) -> list[tuple[str, str]]:
    size = memoryview(reply.body).nbytes
    return [("Content-Type", reply.media_type), ("Content-Length", str(size)), *reply.headers]


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Status"
