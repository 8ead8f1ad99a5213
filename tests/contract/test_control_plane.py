"""One program on both worker servers, ours and PyTorch's: only its import line differs.

Every claim with the parameter ``kind`` is a claim about PyTorch's server too, and so cannot be
wrong about it. Below are those where ours does better on purpose, and PyTorch's own tests of its
server that need no such pair.
"""

from __future__ import annotations

import http.client
import json
import os
import pickle
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.programs import SOURCES

IMPORT = {"ours": "oobdump.control_plane", "torch": "torch._C._distributed_c10d"}
KINDS = ["ours", pytest.param("torch", marks=pytest.mark.torch)]
WITHIN_S = 60.0

SERVER = """
import os, sys
from {module} import _WorkerServer, _register_handler

def boom(request, response):
    raise ValueError("boom")

def nothing(request, response):
    pass

def octets(request, response):
    response.set_content(b"\\xff\\x00", "application/octet-stream")

def param(request, response):
    found = [request.get_param(name) for name in ("a", "b", "c", "absent")]
    response.set_content(repr(found), "text/plain")

def status(request, response):
    response.set_status(int(request.get_param("code")))
    response.set_content("as asked", "text/plain")

def body(request, response):
    response.set_content(request.body(), "application/octet-stream")

for handler in (boom, nothing, octets, param, status, body):
    _register_handler(handler.__name__, handler)
server = _WorkerServer(sys.argv[1], int(sys.argv[2]))
os.write(1, b"%d\\n" % server.port)
os.read(0, 1)
server.shutdown()
os.write(1, b"down\\n")
os._exit(0)
"""


def environment() -> dict[str, str]:
    """Our sources first."""
    return {**os.environ, "PYTHONPATH": str(SOURCES)}


def run(kind: str, code: str) -> str:
    """What a program of its own prints; ``{module}`` in it is where the names come from."""
    command = [sys.executable, "-c", textwrap.dedent(code).replace("{module}", IMPORT[kind])]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class UnixConnection(http.client.HTTPConnection):
    """The standard library's client at a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=WITHIN_S)
        self.path = path

    def connect(self) -> None:
        """To the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WITHIN_S)
        self.sock.connect(self.path)


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    kind: str
    path: str
    port: int

    def connection(self) -> http.client.HTTPConnection:
        """A client."""
        if not self.path.startswith("/"):
            return http.client.HTTPConnection("localhost", self.port, timeout=WITHIN_S)
        return UnixConnection(self.path)

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, str | None, bytes]:
        """Status, media type and body."""
        with closing(self.connection()) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request(method, target, body, named)
            reply = client.getresponse()
            return reply.status, reply.getheader("Content-Type"), reply.read()


@contextmanager
def serving(kind: str, host_or_file: str, port: int) -> Iterator[Served]:
    """The server of that kind; it shuts down and ends as it should."""
    command = [sys.executable, "-c", SERVER.replace("{module}", IMPORT[kind]), host_or_file, str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment(), **pipes) as process:  # type: ignore[call-overload]
        found = int(process.stdout.readline())
        served = Served(kind, host_or_file, found)
        assert served.ask("POST", "/handler/ping")[0] == 200
        yield served
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.readline() == b"down\n"
        assert process.wait(WITHIN_S) == 0


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Whose server."""
    return str(request.param)


@pytest.fixture(scope="module")
def served(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One at a Unix socket."""
    with serving(kind, str(tmp_path_factory.mktemp("server") / "s"), -1) as found:
        yield found


# -- both ------------------------------------------------------------------------------------------------------------


def test_index_and_names(served: Served) -> None:
    """The page is the same to the byte; the names are a JSON list with the built-in and the program's own."""
    page = b'<h1>torch.distributed.WorkerServer</h1>\n<a href="/handler/">Handler names</a>\n'
    assert served.ask("GET", "/") == (200, "text/html", page)
    status, media_type, body = served.ask("GET", "/handler/")
    assert (status, media_type) == (200, "application/json")
    assert {"ping", "dump_traceback", "boom", "param"} <= set(json.loads(body))


@pytest.mark.parametrize("target", ["/handler/ping", "/handler/ping/", "/handler/pi%6Eg", "/handler/ping?x=1"])
def test_ping(served: Served, target: str) -> None:
    """The handler is found by its name, whichever way that is written."""
    assert served.ask("POST", target) == (200, "text/plain", b"pong")


def test_a_traceback_is_faulthandlers(served: Served) -> None:
    """It names the main thread's frame."""
    status, media_type, body = served.ask("POST", "/handler/dump_traceback")
    assert (status, media_type) == (200, "text/plain")
    assert b"(most recent call first)" in body
    assert b"in <module>\n" in body


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *[("GET", "/handler/ping"), ("PUT", "/handler/ping"), ("POST", "/"), ("GET", "/handler"), ("POST", "/handler")],
        *[("POST", "/handler/ping/x"), ("OPTIONS", "/"), ("GET", "//handler/"), ("GET", "/nothing"), ("POST", "/dump")],
    ],
)
def test_wrong_method_or_path(served: Served, method: str, target: str) -> None:
    """404 and not a word."""
    if (served.kind, target) == ("ours", "/dump"):
        pytest.skip("ours: POST /dump is a route")
    status, _, body = served.ask(method, target)
    assert (status, body) == (404, b"")


@pytest.mark.parametrize("name", ["nonexistent", "", "a%20b"])
def test_unknown_handler(served: Served, name: str) -> None:
    """404, and the text names it twice."""
    shown = name.replace("%20", " ").encode()
    text = b"Handler %s not found: Failed to find handler %s" % (shown, shown)
    assert served.ask("POST", f"/handler/{name}") == (404, "text/plain", text)


def test_a_handler_that_raises(served: Served) -> None:
    """500, and the text says which handler, and what it raised."""
    status, media_type, body = served.ask("POST", "/handler/boom")
    assert (status, media_type) == (500, "text/plain")
    assert body.startswith(b"Handler boom failed: ")
    assert b"boom" in body.removeprefix(b"Handler boom failed: ")


def test_what_a_handler_sets(served: Served) -> None:
    """Nothing: 200 and empty; a status, a media type and bytes: as they were set."""
    status, _, body = served.ask("POST", "/handler/nothing")
    assert (status, body) == (200, b"")
    assert served.ask("POST", "/handler/octets") == (200, "application/octet-stream", b"\xff\x00")
    assert served.ask("POST", "/handler/status?code=418") == (418, "text/plain", b"as asked")


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("query", "body", "media_type", "found"),
    [
        ("?a=1&b=x+y%20z", b"", "", ["1", "x y z", "", ""]),
        ("?a=1&a=2", b"", "", ["1", "", "", ""]),
        ("", b"a=1&b=%26", FORM, ["1", "&", "", ""]),
        ("?a=1", b"a=2&b=3", FORM, ["1", "3", "", ""]),
        ("?a=1", b"b=3", "text/plain", ["1", "", "", ""]),
        ("?a&b=", b"", "", ["", "", "", ""]),
        ("?c=%C3%A9", b"", "", ["", "", "é", ""]),
    ],
)
def test_parameters(served: Served, query: str, body: bytes, media_type: str, found: list[str]) -> None:
    """From the query and from a form; the first of a repeated one; ``""`` for what is absent."""
    reply = served.ask("POST", f"/handler/param{query}", body, Content_Type=media_type)
    assert reply == (200, "text/plain", repr(found).encode())


def test_a_body_reaches_the_handler(served: Served) -> None:
    """A text as it was sent, with its length or in chunks."""
    assert served.ask("POST", "/handler/body", b"some text")[2] == b"some text"
    with closing(served.connection()) as client:
        client.request(
            "POST",
            "/handler/body",
            iter([b"some ", b"text"]),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert client.getresponse().read() == b"some text"


def test_a_connection_is_kept(served: Served) -> None:
    """Several requests on one connection, of which some are 404 and 500."""
    with closing(served.connection()) as client:
        for name, status in (("ping", 200), ("nope", 404), ("boom", 500), ("ping", 200)):
            client.request("POST", f"/handler/{name}")
            reply = client.getresponse()
            reply.read()
            assert reply.status == status


def test_head(served: Served) -> None:
    """The headers of a GET, and no body."""
    status, media_type, body = served.ask("HEAD", "/")
    assert (status, media_type, body) == (200, "text/html", b"")


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_tcp(kind: str, host: str) -> None:
    """A host and port 0: ``port`` is the one that was chosen, and ``""`` is every interface."""
    if (kind, host) == ("torch", ""):
        pytest.skip(
            "what PyTorch's server makes of an empty host depends on the machine: here it is not reached by IPv4"
        )
    with serving(kind, host, 0) as found:
        assert found.port > 0
        assert found.ask("GET", "/handler/")[0] == 200


def test_a_path_in_use_is_a_runtime_error(kind: str, tmp_path: Path) -> None:
    """``PATH already exists``."""
    path = str(tmp_path / "s")
    code = f"""
    import os
    from {{module}} import _WorkerServer
    try:
        _WorkerServer({path!r})
    except RuntimeError as error:
        print(str(error).splitlines()[0], flush=True)
    os._exit(0)
    """
    with serving(kind, path, -1):
        assert f"{path} already exists" in run(kind, code)


def test_a_handler_runs_on_the_programs_own_objects(kind: str) -> None:
    """``_get_handler`` gives a function of any subclass of ``_Request`` and ``_Response``."""
    code = """
    import os
    from {module} import _get_handler, _Request, _Response

    class Request(_Request):
        def __init__(self):
            _Request.__init__(self)
        def body(self):
            return b"dummy"
        def params(self):
            return {}

    class Response(_Response):
        def __init__(self):
            _Response.__init__(self)
        def set_content(self, content, content_type):
            self.content, self.content_type = content, content_type
        def set_status(self, status):
            self.status = status

    response = Response()
    _get_handler("ping")(Request(), response)
    print(response.status, repr(response.content), response.content_type, flush=True)
    os._exit(0)
    """
    assert run(kind, code) == "200 'pong' text/plain\n"


def test_the_registry_refuses_in_the_same_words(kind: str) -> None:
    """An unknown name and a name that is taken are ``ValueError`` with PyTorch's texts; names are listed."""
    code = """
    import os
    from {module} import _get_handler, _get_handler_names, _register_handler
    try:
        _get_handler("nonexistent")
    except ValueError as error:
        print(error)
    keep = lambda request, response: None
    _register_handler("mine", keep)
    for name in ("mine", "ping"):
        try:
            _register_handler(name, keep)
        except ValueError as error:
            print(str(error).splitlines()[0])
    print({"ping", "mine"} <= set(_get_handler_names()), flush=True)
    os._exit(0)
    """
    expected = [
        "Failed to find handler nonexistent",
        "Handler mine already registered",
        "Handler ping already registered",
    ]
    assert run(kind, code).splitlines() == [*expected, "True"]


# -- ours, where it does better --------------------------------------------------------------------------------------


def test_a_handler_that_returns_a_value_fills_the_programs_own_response() -> None:
    """JSON text, or what ``format`` says; parameters are checked, and the handler's own error comes through."""
    code = """
    from {module} import Request, Response, get_handler, register_handler

    class Asked(Request):
        def __init__(self, **params):
            self.given = params
        def params(self):
            return self.given

    def twice(*, number: int = 1):
        return {"twice": 2 * number}

    def boom(*, x: int = 0):
        raise KeyError("boom")

    register_handler("twice", twice)
    register_handler("boom", boom)
    for params in ({}, {"number": "4"}, {"number": "4", "format": "msgpack"}):
        response = Response()
        get_handler("twice")(Asked(**params), response)
        print(response.status, response.content_type, response.content)
    for name, params in (("twice", {"number": "x"}), ("boom", {})):
        try:
            get_handler(name)(Asked(**params), Response())
        except Exception as error:
            print(type(error).__name__)
    print(repr(Request().body()), Request().get_param("x") == "")
    """
    assert run("ours", code).splitlines() == [
        '200 application/json {"twice":2}',
        '200 application/json {"twice":8}',
        "200 application/msgpack b'\\x81\\xa5twice\\x08'",
        "ParameterError",
        "KeyError",
        "b'' True",
    ]


def test_shutdown_is_safe_at_once_and_removes_the_socket(tmp_path: Path) -> None:
    """Fifty servers, shut down before they ran, twice; dropped ones end by themselves; nothing is left."""
    code = f"""
    import os, time
    from {{module}} import WorkerServer
    path = {str(tmp_path / "s")!r}
    def tasks():
        return len(os.listdir("/proc/self/task"))
    for _ in range(50):
        server = WorkerServer(path)
        server.shutdown()
        server.shutdown()
        assert not os.path.exists(path)
        WorkerServer(path)
        assert not os.path.exists(path)
    deadline = time.monotonic() + 20
    while tasks() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    print(tasks())
    """
    assert run("ours", code) == "1\n"


def test_a_server_that_is_forgotten_removes_its_socket_at_exit(tmp_path: Path) -> None:
    """Without ``shutdown()``, by the end of the program."""
    path = tmp_path / "s"
    code = f"""
    import os
    from {{module}} import WorkerServer
    server = WorkerServer({str(path)!r})
    print(os.path.exists({str(path)!r}), server.port)
    """
    assert run("ours", code) == "True -1\n"
    assert not path.exists()


def test_a_stale_socket_is_taken_over(tmp_path: Path) -> None:
    """What a killed server left does not keep the next one from starting."""
    path = str(tmp_path / "s")
    code = f"""
    import os, signal
    from {{module}} import WorkerServer
    server = WorkerServer({path!r})
    print("there", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code).replace("{module}", IMPORT["ours"])]
    assert subprocess.run(command, env=environment(), check=False, capture_output=True).stdout == b"there\n"
    assert Path(path).exists()
    with serving("ours", path, -1) as found:
        assert found.ask("POST", "/handler/ping")[2] == b"pong"


def test_a_forked_child_leaves_its_parents_server_alone(tmp_path: Path) -> None:
    """It neither serves nor removes it, and may have one of its own."""
    path = str(tmp_path / "s")
    code = f"""
    import os
    from {{module}} import WorkerServer
    server = WorkerServer({path!r})
    pid = os.fork()
    if not pid:
        server.shutdown()
        WorkerServer({path + ".child"!r}).shutdown()
        os._exit(0 if os.path.exists({path!r}) else 3)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.path.exists({path!r}))
    server.shutdown()
    """
    assert run("ours", code) == "0 True\n"


# -- PyTorch's own tests that need CUDA there ------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("dump_nccl_trace_pickle", 200),
        ("dump_nccl_trace_pickle?includeCollectives=true", 400),
        ("dump_nccl_trace_pickle?unknownkey=true", 400),
        ("dump_nccl_trace_pickle?includecollectives=notabool", 400),
        ("dump_nccl_trace_pickle?includecollectives=True", 400),
        ("dump_nccl_trace_pickle?includecollectives=true", 200),
        ("dump_nccl_trace_pickle?includecollectives=true&includestacktraces=false&onlyactive=true", 200),
        ("dump_nccl_trace_json?includeCollectives=true", 400),
        ("dump_nccl_trace_json?unknownkey=true", 400),
        ("dump_nccl_trace_json?includecollectives=notabool", 400),
        ("dump_nccl_trace_json?includecollectives=True", 400),
        ("dump_nccl_trace_json?includecollectives=true", 200),
        ("dump_nccl_trace_json?includecollectives=true&onlyactive=true", 200),
    ],
)
def test_the_recorder_answers_on_a_cpu_build(with_torch: Served, target: str, code: int) -> None:
    """PyTorch's table of good and bad parameters, which its own tests can only run on CUDA."""
    status, media_type, body = with_torch.ask("POST", f"/handler/{target}")
    assert status == code
    if code == 200 and "pickle" in target:
        assert media_type == "application/octet-stream"
        assert "version" in pickle.loads(body)
    if code == 200 and "json" in target:
        assert "version" in json.loads(body)


@pytest.mark.torch
def test_wait_counters_are_those_of_the_program(with_torch: Served) -> None:
    """A counter that the program used three times: three calls, none active, its times in microseconds."""
    status, media_type, body = with_torch.ask("POST", "/handler/wait_counter_values")
    counter = json.loads(body)["three_times"]
    assert (status, media_type) == (200, "application/json")
    assert (counter["total_calls"], counter["active_count"]) == (3, 0)
    assert counter["total_time_us"] >= counter["max_time_us"] >= 0


COUNTING = """
import os, sys, torch.distributed
from torch.monitor import _WaitCounter

counter = _WaitCounter("three_times")
for _ in range(3):
    with counter.guard():
        pass
"""


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our server in a program that imported torch, and used one of its wait counters."""
    path = str(tmp_path_factory.mktemp("torch") / "s")
    code = SERVER.replace("import os, sys", COUNTING, 1)
    command = [sys.executable, "-c", code.replace("{module}", "oobdump.control_plane"), path, "-1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment(), **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == b"-1\n"
        yield Served("with torch", path, -1)
        process.stdin.close()
        assert process.wait(WITHIN_S) == 0
