"""The claims of ``http_apps.py``: the routes inside a WSGI server and an ASGI server, both real ones of a few lines."""

from __future__ import annotations

import asyncio
import json
import threading
import wsgiref.simple_server
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from io import BytesIO
from typing import Any
from wsgiref.validate import validator

import pytest

from oobdump import control_plane
from oobdump.channels.http_wire import FORM, MAX_BODY_BYTES
from oobdump.http_apps import asgi_app, wsgi_app

free = threading.Event()


def app_stuck(_request: Any, _response: Any) -> None:
    """Waits until the tests let it go."""
    free.wait()


def app_seen(request: Any, response: Any) -> None:
    """What arrived."""
    shown = {"params": request.params(), "body": request.body().decode()}
    response.set_content(json.dumps(shown), "application/json")


@pytest.fixture(scope="module", autouse=True)
def handlers() -> Iterator[None]:
    """Two handlers in the registry of the process, under names of this module."""
    for handler in (app_stuck, app_seen):
        control_plane.register_handler(handler.__name__, handler)
    yield
    free.set()


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """The standard library's server without its log."""

    def log_message(self, *_args: Any) -> None:
        """Not a word."""


@contextmanager
def wsgi_server(app: Any) -> Iterator[HTTPConnection]:
    """A client of the standard library's WSGI server, which checks the application as it runs it."""
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, validator(app), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with closing(HTTPConnection("127.0.0.1", server.server_port, timeout=20)) as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(client: HTTPConnection, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Status and body."""
    client.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = client.getresponse()
    return reply.status, reply.read()


def test_a_wsgi_server_answers_as_ours_does() -> None:
    """Paths, parameters, forms, help and statuses."""
    with wsgi_server(wsgi_app()) as client:
        assert ask(client, "POST", "/handler/ping") == (200, b"pong")
        assert ask(client, "GET", "/handler/ping") == (404, b"")
        assert ask(client, "HEAD", "/")[0] == 200
        assert ask(client, "POST", "/handler/no%20pe")[1].startswith(b"Handler no pe not found")
        status, body = ask(client, "POST", "/handler/app_seen?a=1", b"b=%C3%A9", Content_Type=FORM)
        assert (status, json.loads(body)) == (200, {"params": {"a": "1", "b": "é"}, "body": "b=%C3%A9"})
        assert b"This handler" not in ask(client, "GET", "/handler/app_seen", Accept="application/json")[1]


def test_a_stuck_handler_keeps_no_thread_of_the_host() -> None:
    """A WSGI server of a single thread goes on after the 504."""
    with wsgi_server(wsgi_app()) as client:
        status, body = ask(client, "POST", "/handler/app_stuck", X_Oobdump_Timeout="0.2")
        assert (status, b"app_stuck" in body) == (504, True)
        assert ask(client, "POST", "/handler/ping") == (200, b"pong")
        assert ask(client, "POST", "/handler/app_stuck")[0] == 503


def test_a_token_is_wanted_where_one_is_set() -> None:
    """Of each request."""
    with wsgi_server(wsgi_app(token="secret")) as client:
        assert ask(client, "POST", "/handler/ping")[0] == 401
        assert ask(client, "POST", "/handler/ping", Authorization="Bearer secret") == (200, b"pong")


def test_a_body_without_a_length_is_read_where_the_server_ends_it() -> None:
    """PEP 3333 gives no length for chunks; servers say so when the input ends by itself. Too large is a 413."""
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/handler/app_seen", "wsgi.input": BytesIO(b"text")}
    started: list[str] = []
    answer = wsgi_app()(environ | {"wsgi.input_terminated": True}, lambda status, _headers: started.append(status))
    assert json.loads(b"".join(answer))["body"] == "text"
    wsgi_app()(environ | {"CONTENT_LENGTH": str(MAX_BODY_BYTES + 1)}, lambda status, _headers: started.append(status))
    endless = environ | {"wsgi.input_terminated": True, "wsgi.input": BytesIO(b"x" * (MAX_BODY_BYTES + 1))}
    wsgi_app()(endless, lambda status, _headers: started.append(status))
    assert [status[:3] for status in started] == ["200", "413", "413"]


def run_asgi(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends, run in a loop of its own."""
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def scope(method: str, path: str, query: bytes = b"", **headers: bytes) -> dict[str, Any]:
    """An HTTP scope, mounted below ``/debug``."""
    named = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return {
        "type": "http",
        "method": method,
        "path": f"/debug{path}",
        "root_path": "/debug",
        "query_string": query,
        "headers": named,
    }


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """A message with part of a body."""
    return {"type": "http.request", "body": data, "more_body": more}


def test_an_asgi_server_answers_as_ours_does() -> None:
    """Mounted below a path, with a body in pieces; the loop is not kept by a handler."""
    sent = run_asgi(asgi_app(), scope("POST", "/handler/app_seen", b"a=1"), body(b"x", more=True), body(b"y"))
    assert sent[0]["status"] == 200
    assert (b"content-type", b"application/json") in sent[0]["headers"]
    assert json.loads(sent[1]["body"]) == {"params": {"a": "1"}, "body": "xy"}
    assert run_asgi(asgi_app(), scope("GET", "/handler/ping"), body(b""))[0]["status"] == 404
    assert run_asgi(asgi_app(), scope("POST", "/handler/ping"), body(b"x" * (MAX_BODY_BYTES + 1)))[0]["status"] == 413
    refused = run_asgi(asgi_app(token="secret"), scope("POST", "/handler/ping"), body(b""))
    assert (b"www-authenticate", b"Bearer") in refused[0]["headers"]
    late = run_asgi(asgi_app(), scope("POST", "/handler/app_stuck", x_oobdump_timeout=b"0.2"), body(b""))
    assert late[0]["status"] in (503, 504)  # 503 if the test before has it stuck already


def test_an_asgi_servers_life_is_acknowledged() -> None:
    """Start-up and shutdown; anything but http is refused."""
    life = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = run_asgi(asgi_app(), {"type": "lifespan"}, *life)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="not websocket"):
        run_asgi(asgi_app(), {"type": "websocket"})
