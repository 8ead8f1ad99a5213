"""The claims of ``channels/http_routes.py``: every route, text and status, without a socket."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from oobdump import codecs
from oobdump.channels.http_routes import HTTP_TIMEOUT_S, MAX_WAITING, Plan, Routes
from oobdump.channels.http_wire import FORM, HttpRequest, Reply
from oobdump.errors import Refused
from oobdump.registry import Registry
from oobdump.request import HandlerRequest, Request
from oobdump.response import HandlerResponse
from oobdump.slots import Slots


def ping(_request: HandlerRequest, response: HandlerResponse) -> None:
    """Answers ``pong``."""
    response.set_content("pong", "text/plain")


def seen(request: HandlerRequest, response: HandlerResponse) -> None:
    """What a handler sees of a request."""
    shown = {"params": request.params(), "body": request.body().decode("latin-1"), "a": request.get_param("a")}
    response.set_content(json.dumps(shown), "application/json")


def teapot(_request: HandlerRequest, response: HandlerResponse) -> None:
    """Sets a status and bytes."""
    response.set_status(418)
    response.set_content(b"\xff\x00", "application/x-tea")


def boom(_request: HandlerRequest, _response: HandlerResponse) -> None:
    """Raises."""
    raise ValueError("boom")


def leave(_request: HandlerRequest, _response: HandlerResponse) -> None:
    """Wants to end the process."""
    raise SystemExit(3)


def double(*, number: int = 1) -> dict[str, int]:
    """Twice the number."""
    return {"double": 2 * number}


def shaped(*, format: str = "round") -> str:  # noqa: A002 - the name is what the test is about
    """A parameter that is called as ours."""
    return format


@pytest.fixture
def registry() -> Registry:
    """A registry with a handler of each kind."""
    made = Registry()
    for fn in (ping, seen, teapot, boom, leave, double, shaped):
        made.register(fn.__name__, fn)
    return made


@pytest.fixture
def routes(registry: Registry) -> Routes:
    """The routes over it, with nowhere to store."""
    return Routes(registry, {name: codecs.get(name) for name in codecs.names()}, Slots())


def ask(routes: Routes, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
    """The reply to one request; header names with underscores."""
    path, _, query = target.partition("?")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return routes.plan(HttpRequest(method, path, query, named, body)).answer()


# -- PyTorch's routes, as FACTS has them -----------------------------------------------------------------------------


def test_the_index_is_pytorchs(routes: Routes) -> None:
    """``GET /`` is the page of PyTorch's server, to the byte; a query changes nothing."""
    page = b'<h1>torch.distributed.WorkerServer</h1>\n<a href="/handler/">Handler names</a>\n'
    assert ask(routes, "GET", "/") == ask(routes, "GET", "/?x=1") == Reply(200, page, "text/html")


def test_the_names_are_a_list(routes: Routes) -> None:
    """``GET /handler/`` is a JSON list of names."""
    reply = ask(routes, "GET", "/handler/")
    assert (reply.code, reply.media_type) == (200, "application/json")
    assert json.loads(reply.body) == ["boom", "double", "leave", "ping", "seen", "shaped", "teapot"]


@pytest.mark.parametrize("target", ["/handler/ping", "/handler/ping/", "/handler/pi%6eg", "/handler/ping?x=1"])
def test_a_handler_runs(routes: Routes, target: str) -> None:
    """``POST /handler/NAME`` runs it, also with a slash behind and with escapes, as PyTorch's server does."""
    assert ask(routes, "POST", target) == Reply(200, b"pong", "text/plain")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *[("GET", "/handler/ping"), ("PUT", "/handler/ping"), ("DELETE", "/handler/ping"), ("POST", "/")],
        *[("GET", "/handler"), ("POST", "/handler"), ("POST", "/handler/ping/x"), ("GET", "//handler/")],
        *[("GET", "/favicon.ico"), ("OPTIONS", "*"), ("GET", "/dump"), ("BREW", "/")],
    ],
)
def test_any_other_path_or_method_is_an_empty_404(routes: Routes, method: str, target: str) -> None:
    """404 without a body."""
    reply = ask(routes, method, target)
    assert (reply.code, reply.body) == (404, b"")


@pytest.mark.parametrize("name", ["nonexistent", "", "a%20b%3Cscript%3E", "%C3%A9"])
def test_an_unknown_name_is_told_so(routes: Routes, name: str) -> None:
    """404 with the text of PyTorch, which echoes the name, as plain text."""
    reply = ask(routes, "POST", f"/handler/{name}")
    shown = {"a%20b%3Cscript%3E": "a b<script>", "%C3%A9": "é"}.get(name, name)
    text = f"Handler {shown} not found: Failed to find handler {shown}"
    assert (reply.code, reply.media_type, bytes(reply.body).decode()) == (404, "text/plain", text)


def test_a_handler_that_raises_is_a_500(routes: Routes) -> None:
    """500 with the text of PyTorch; ``SystemExit`` ends the handler and nothing else."""
    assert ask(routes, "POST", "/handler/boom") == Reply(500, b"Handler boom failed: boom", "text/plain")
    assert ask(routes, "POST", "/handler/leave").code == 500


def test_status_media_type_and_bytes_are_the_handlers(routes: Routes) -> None:
    """What it sets is what is answered; bytes stay bytes."""
    assert ask(routes, "POST", "/handler/teapot") == Reply(418, b"\xff\x00", "application/x-tea")


def test_parameters_reach_the_handler(routes: Routes) -> None:
    """From the query and from a form, the first of a repeated one, and the body beside them."""
    reply = ask(routes, "POST", "/handler/seen?a=1&a=2&b=x+y", b"a=3&c=4", content_type=FORM)
    assert json.loads(reply.body) == {"params": {"a": "1", "b": "x y", "c": "4"}, "body": "a=3&c=4", "a": "1"}
    plain = ask(routes, "POST", "/handler/seen", b"a=3", content_type="text/plain")
    assert json.loads(plain.body) == {"params": {}, "body": "a=3", "a": ""}


# -- beyond PyTorch --------------------------------------------------------------------------------------------------


def test_values_are_json_and_their_parameters_are_checked(routes: Routes) -> None:
    """A handler that returns a value: JSON, typed parameters, 400 that says what would be right."""
    assert json.loads(ask(routes, "POST", "/handler/double?number=4").body) == {"double": 8}
    wrong = ask(routes, "POST", "/handler/double?number=x")
    assert wrong.code == 400
    assert b"whole numbers" in bytes(wrong.body)
    assert ask(routes, "POST", "/handler/double?nmber=1").code == 400


DECODERS: dict[str, Callable[[Any], Any]] = {
    "application/json": json.loads,
    "application/msgpack": msgpack.unpackb,
    "application/vnd.oobdump.pickle": pickle.loads,
}


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", "", "application/json"),
        ("", "*/*", "application/json"),
        ("", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "application/json"),
        ("", "application/msgpack", "application/msgpack"),
        ("", "application/msgpack;q=0.5, application/json;q=0.4", "application/msgpack"),
        ("", "application/msgpack;q=0.5, */*", "application/json"),
        ("", "application/msgpack;q=0", "application/json"),
        ("", "application/msgpack;q=x", "application/json"),
        ("", "Application/VND.oobdump.pickle", "application/vnd.oobdump.pickle"),
        ("", "image/png", "application/json"),
        ("?format=msgpack", "application/json", "application/msgpack"),
        ("?format=pickle", "", "application/vnd.oobdump.pickle"),
    ],
)
def test_a_values_format_is_negotiated(routes: Routes, query: str, accept: str, media_type: str) -> None:
    """``?format=`` before ``Accept``, the best weight of it, and JSON for who does not care or asks for a picture."""
    reply = ask(routes, "POST", f"/handler/double{query}", accept=accept)
    assert reply.media_type == media_type
    assert reply.code == 200
    assert DECODERS[media_type](reply.body) is not None


def test_format_is_ours_only_where_nobody_else_wants_it(routes: Routes) -> None:
    """A handler with a parameter ``format`` gets it, and so does one that reads its parameters itself."""
    assert ask(routes, "POST", "/handler/shaped?format=square").body == b'"square"'
    assert json.loads(ask(routes, "POST", "/handler/seen?format=x").body)["params"] == {"format": "x"}
    assert ask(routes, "POST", "/handler/double?format=yaml").code == 400


def test_help_is_there_for_who_asks_for_json(routes: Routes) -> None:
    """``GET /handler/NAME`` describes the handler; without ``Accept`` it stays PyTorch's empty 404."""
    found = json.loads(ask(routes, "GET", "/handler/double", accept="application/json").body)
    assert (found["name"], found["help"]) == ("double", "Twice the number.")
    assert [parameter["name"] for parameter in found["parameters"]] == ["number"]
    assert ask(routes, "GET", "/handler/nope", accept="application/json").code == 404


def test_a_head_is_planned_as_a_get(routes: Routes) -> None:
    """What is sent of it is the connection's business."""
    assert ask(routes, "HEAD", "/") == ask(routes, "GET", "/")


def test_a_deadline_is_asked_for_by_header(routes: Routes) -> None:
    """Seconds in a header, so that no handler sees them; what is no number of seconds is a 400."""

    def timeout(text: str | None) -> float:
        headers = {} if text is None else {"x-oobdump-timeout": text}
        return routes.plan(HttpRequest("POST", "/handler/ping", "", headers)).timeout_s

    assert timeout(None) == HTTP_TIMEOUT_S
    assert timeout("0.5") == 0.5
    for wrong in ("x", "0", "-1", "nan", "inf", "1e9", ""):
        assert ask(routes, "POST", "/handler/ping", x_oobdump_timeout=wrong).code == 400


def test_what_no_route_expects_is_a_500() -> None:
    """A registry that fails is answered too."""

    def fail() -> Reply:
        raise MemoryError

    assert Plan(fail).answer().code == 500


def test_a_registry_that_fails_ends_no_connection() -> None:
    """Behind ours may be another one, which may fail in its own way: 500."""

    class Failing:
        """A registry behind ours that breaks its word."""

        def names(self) -> list[str]:
            """Raises."""
            raise OSError("gone")

        def find(self, _name: str) -> None:
            """Raises."""
            raise OSError("gone")

    routes = Routes(Registry(Failing()), {name: codecs.get(name) for name in codecs.names()}, Slots())
    assert ask(routes, "POST", "/handler/x").code == 500
    assert ask(routes, "GET", "/handler/").code == 500


def test_a_late_plan_says_where_it_stands() -> None:
    """The 504 names the handler, the deadline and the stack of the thread that is stuck."""
    reply = Plan(Reply, 2.0, "Handler x").late(threading.get_ident())
    assert reply.code == 504
    assert bytes(reply.body).startswith(b"Handler x failed: it did not return within 2 s")
    assert b"test_a_late_plan_says_where_it_stands" in bytes(reply.body)


# -- a handler that is busy ------------------------------------------------------------------------------------------


def test_a_stuck_handler_refuses_the_next_one_and_only_that(registry: Registry, routes: Routes) -> None:
    """While one run is overdue another request for it is a 503 at once; others are answered."""
    entered, free = threading.Event(), threading.Event()

    def stuck(_request: HandlerRequest, _response: HandlerResponse) -> None:
        entered.set()
        free.wait(30)

    registry.register("stuck", stuck)
    first = threading.Thread(target=ask, args=(routes, "POST", "/handler/stuck"), kwargs={"x_oobdump_timeout": "0.01"})
    first.start()
    try:
        assert entered.wait(10)
        refused = ask(routes, "POST", "/handler/stuck")
        assert refused.code == 503
        assert b"keeps its slot" in bytes(refused.body)
        assert ask(routes, "POST", "/handler/ping").code == 200
    finally:
        free.set()
        first.join()
    assert ask(routes, "POST", "/handler/stuck").code == 200


def test_only_so_many_wait_for_one_handler(registry: Registry, routes: Routes) -> None:
    """A crowd in front of one handler does not take every thread: the next one is refused."""
    entered, free = threading.Event(), threading.Event()

    def slow(_request: HandlerRequest, _response: HandlerResponse) -> None:
        entered.set()
        free.wait(30)

    registry.register("slow", slow)
    codes: list[int] = []
    crowd = [
        threading.Thread(target=lambda: codes.append(ask(routes, "POST", "/handler/slow").code))
        for _ in range(MAX_WAITING + 5)
    ]
    for one in crowd:
        one.start()
    assert entered.wait(10)
    while len(codes) < 4:  # one runs and MAX_WAITING wait: the others hear so at once
        crowd[-1].join(0.01)
    free.set()
    for one in crowd:
        one.join()
    assert sorted(codes) == [200] * (MAX_WAITING + 1) + [503] * 4


# -- the token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("Bearer secret", 200),
        ("bearer  secret ", 200),
        ("Bearer Secret", 401),
        ("Bearer ", 401),
        ("secret", 401),
        ("Basic secret", 401),
        ("Bearer secr\xe9t", 401),
        ("", 401),
    ],
)
def test_a_token_is_wanted_of_everybody(registry: Registry, given: str, code: int) -> None:
    """With a token every route wants it, whole; the answer tells nothing else."""
    routes = Routes(registry, {name: codecs.get(name) for name in codecs.names()}, Slots(), token="secret")
    for method, target in (("GET", "/"), ("GET", "/handler/"), ("POST", "/handler/ping")):
        assert ask(routes, method, target, authorization=given).code == code
    assert ask(routes, "POST", "/handler/nope").code == 401
    assert "secret" not in repr(routes)


# -- POST /dump ------------------------------------------------------------------------------------------------------


class Ticket:
    """A request that was handed in; ``done`` says whether it is answered."""

    def __init__(self, directory: str | None, done: bool = True) -> None:  # noqa: FBT001, FBT002
        self.directory = directory
        self.done = done

    def wait(self, _timeout_s: float) -> bool:
        """At once."""
        return self.done


def storing(registry: Registry, submit: Callable[[Request], Ticket]) -> Routes:
    """Routes with somewhere to store."""
    return Routes(registry, {name: codecs.get(name) for name in codecs.names()}, Slots(), submit)


def test_a_dump_is_answered_with_its_manifest(registry: Registry, tmp_path: Path) -> None:
    """``POST /dump`` hands the request in, and answers with what was committed and where."""
    asked: list[Request] = []
    (tmp_path / "manifest.json").write_bytes(b'{"schema_version": 1}')

    def submit(request: Request) -> Ticket:
        asked.append(request)
        return Ticket(str(tmp_path))

    routes = storing(registry, submit)
    reply = ask(routes, "POST", "/dump?handler=a&handler=b&format=msgpack&timeout_s=3")
    assert (reply.code, reply.media_type, reply.body) == (200, "application/json", b'{"schema_version": 1}')
    assert dict(reply.headers)["X-Oobdump-Directory"] == str(tmp_path)
    assert ask(routes, "POST", "/dump", b"handler=a", content_type=FORM).code == 200
    body = b'{"handlers": [{"name": "a", "params": {"x": "1"}}]}'
    assert ask(routes, "POST", "/dump", body, content_type="application/json").code == 200
    assert [[call.name for call in request.calls] for request in asked] == [["a", "b"], ["a"], ["a"]]
    assert (asked[0].format, asked[0].timeout_s) == ("msgpack", 3.0)
    assert asked[2].calls[0].params == {"x": "1"}


@pytest.mark.parametrize(
    ("target", "body", "media_type"),
    [
        ("/dump", b"", ""),
        ("/dump?handler=a&color=red", b"", ""),
        ("/dump?handler=../x", b"", ""),
        ("/dump?handler=a&format=yaml", b"", ""),
        ("/dump?handler=a&timeout_s=-1", b"", ""),
        ("/dump", b"{", "application/json"),
        ("/dump", b"x", "text/plain"),
    ],
)
def test_a_dump_request_that_is_wrong_is_a_400(registry: Registry, target: str, body: bytes, media_type: str) -> None:
    """With a text that says what is wrong, and nothing handed in."""
    reply = ask(storing(registry, lambda _: pytest.fail("handed in")), "POST", target, body, content_type=media_type)
    assert reply.code == 400
    assert reply.body


def test_a_dump_that_is_not_committed_says_why(registry: Registry) -> None:
    """Nowhere to store 503, too many waiting 503, not in time 504, no directory 500, unreadable 500."""

    def refuse(_request: Request) -> Ticket:
        raise Refused("64 requests wait already")

    cases: list[tuple[Callable[[Request], Ticket] | None, int]] = [
        (None, 503),
        (refuse, 503),
        (lambda _: Ticket(None, done=False), 504),
        (lambda _: Ticket(None), 500),
        (lambda _: Ticket("/nonexistent"), 500),
    ]
    for submit, code in cases:
        routes = Routes(registry, {}, Slots(), submit)
        reply = ask(routes, "POST", "/dump?handler=ping")
        assert (reply.code, bool(reply.body)) == (code, True)
