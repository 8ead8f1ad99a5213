"""The claims of ``http_client.py``, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oobdump import control_plane
from oobdump.control_plane import WorkerServer
from oobdump.errors import ConfigError, RequestError
from oobdump.http_client import HttpClient, Unreachable
from oobdump.request import HandlerCall, Request


def client_seen(request: Any, response: Any) -> None:
    """What arrived."""
    shown = {"params": request.params(), "body": request.body().decode()}
    response.set_content(json.dumps(shown), "application/json")


def client_value(*, number: int = 1) -> list[int]:
    """A list of one number."""
    return [number]


@pytest.fixture(scope="module", params=["unix", "tcp"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpClient]:
    """A client of a server of each kind."""
    for handler in (client_seen, client_value):
        if handler.__name__ not in control_plane.get_handler_names():
            control_plane.register_handler(handler.__name__, handler)
    path = str(tmp_path_factory.mktemp("client") / "s")
    server = WorkerServer(path) if request.param == "unix" else WorkerServer("127.0.0.1", 0)
    yield HttpClient(server.address)
    server.shutdown()


def test_names_and_help(client: HttpClient) -> None:
    """The list, and one handler's parameters; an unknown one is an error with the server's words."""
    assert {"ping", "client_seen"} <= set(client.names())
    found = client.describe("client_value")
    assert (found["help"], found["parameters"][0]["name"]) == ("A list of one number.", "number")
    with pytest.raises(RequestError, match=r"404: Handler no/pe not found|404: without a word"):
        client.describe("no/pe")


def test_a_handler_runs_there(client: HttpClient) -> None:
    """Parameters, body and format arrive; the outcome is a part as a dump would have it."""
    part = client.run(HandlerCall("client_seen", {"a b": "c&d=é"}), body=b"text", timeout_s=5)
    assert (part.status, part.code, part.media_type, part.suffix) == ("ok", 200, "application/json", "json")
    assert json.loads(bytes(part.body)) == {"params": {"a b": "c&d=é"}, "body": "text"}
    assert client.run(HandlerCall("client_value", {"number": "7"}, "msgpack")).body == b"\x91\x07"


def test_an_error_is_an_outcome(client: HttpClient) -> None:
    """Unknown and wrongly asked: a part that says so."""
    unknown = client.run(HandlerCall("nope"))
    assert (unknown.status, unknown.code) == ("error", 404)
    assert unknown.error is not None
    assert "Failed to find handler nope" in unknown.error.message
    assert client.run(HandlerCall("client_value", {"number": "x"})).code == 400


def test_without_a_store_a_dump_is_refused(client: HttpClient) -> None:
    """With the server's words."""
    with pytest.raises(RequestError, match=r"503: this process stores nothing.*oobdump.start"):
        client.dump(Request((HandlerCall("ping"),)))


def test_nobody_there_is_told(tmp_path: Path) -> None:
    """With the address; what is no address is a mistake of the caller."""
    with pytest.raises(Unreachable, match=f"no answer at unix:{tmp_path}/s"):
        HttpClient(f"unix:{tmp_path}/s").names()
    with pytest.raises(ConfigError):
        HttpClient("http://example.com").names()
