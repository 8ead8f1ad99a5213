"""The claims of the HTTP server's threads and sockets: what a client gets, and what no client can do to others."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oobdump import codecs
from oobdump.channels import http_connection, http_server
from oobdump.channels.bell import Bell
from oobdump.channels.http_listen import TcpAddress, UnixAddress
from oobdump.channels.http_routes import Routes
from oobdump.channels.http_server import MAX_CONNECTIONS, HttpServer
from oobdump.registry import Registry
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse
from oobdump.slots import Slots
from support import proc

WITHIN_S = 20.0
LARGE = 64 * 2**20
LARGE_BODY = b"x" * LARGE


@dataclass
class Served:
    """A running server and its registry."""

    server: HttpServer
    registry: Registry
    free: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    inside: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        """A client's socket."""
        address = self.server.address
        if isinstance(address, TcpAddress):
            return socket.create_connection((address.host, address.port), WITHIN_S)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(WITHIN_S)
        client.connect(address.path)
        return client

    def ask(self, name: str = "ping", **headers: str) -> bytes:
        """One whole reply on a connection of its own."""
        with self.connect() as client:
            client.sendall(request(name, connection="close", **headers))
            return rest(client)


def request(name: str = "ping", body: bytes = b"", **headers: str) -> bytes:
    """A request for a handler."""
    lines = [f"POST /handler/{name} HTTP/1.1", "Host: l", f"Content-Length: {len(body)}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(served: Served) -> bytes:
    """The reply to a ping, or what is read of it before the connection is reset: the server may be full."""
    with served.connect() as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(request())
        return one(client)
    return b""


def rest(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    return b"".join(iter(lambda: client.recv(2**20), b""))


def more(client: socket.socket) -> bytes:
    """What comes next; a connection that ends too early is an error, and nothing to wait for."""
    data = client.recv(65536)
    if not data:
        raise ConnectionResetError("the server closed before its reply was whole")
    return data


def one(client: socket.socket) -> bytes:
    """One small reply."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += more(client)
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < size:
        body += more(client)
    return head + b"\r\n\r\n" + body


def handlers(served: Served) -> None:
    """What the tests ask for."""

    def ping(_request: HandlerRequest, response: HandlerResponse) -> None:
        response.set_content("pong", "text/plain")

    def echo(asked: HandlerRequest, response: HandlerResponse) -> None:
        response.set_content(asked.body(), "application/octet-stream")

    def big(_request: HandlerRequest, response: HandlerResponse) -> None:
        response.set_content(LARGE_BODY, "application/octet-stream")

    def stuck(asked: HandlerRequest, response: HandlerResponse) -> None:
        served.inside.append(asked.call.name)
        served.entered.set()
        served.free.wait()
        response.set_content("late", "text/plain")

    for handler in (ping, echo, big, stuck):
        served.registry.register(handler.__name__, handler)


def many_stuck(served: Served, count: int) -> None:
    """``stuck0`` and so on: each has a slot of its own."""
    for number in range(count):
        served.registry.register(f"stuck{number}", served.registry.get("stuck").fn)


@contextlib.contextmanager
def serving(address: UnixAddress | TcpAddress) -> Iterator[Served]:
    """A server with a bell of its own; afterwards nothing of it is left."""
    registry = Registry()
    routes = Routes(registry, {name: codecs.get(name) for name in codecs.names()}, Slots())
    bell = Bell(None, lambda _byte: None)
    bell.start(lambda: False, lambda _now: None)
    served = Served(HttpServer(address, routes.plan, bell.at), registry)
    handlers(served)
    assert served.server.start() == http_server.RESTING_THREADS
    try:
        yield served
    finally:
        served.free.set()
        served.server.stop()
        bell.stop()


@pytest.fixture(params=["unix", "tcp"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A server of each kind."""
    address = UnixAddress(str(tmp_path / "s")) if request.param == "unix" else TcpAddress("127.0.0.1", 0)
    with serving(address) as found:
        yield found


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[Served]:
    """A server at a Unix socket."""
    with serving(UnixAddress(str(tmp_path / "s"))) as found:
        yield found


def until(check: object, what: str) -> None:
    """Waits for a condition that comes."""
    deadline = time.monotonic() + WITHIN_S
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def tasks() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))


# -- what a client gets ----------------------------------------------------------------------------------------------


def test_a_connection_answers_many_requests(served: Served) -> None:
    """One after the other, in pieces, and several in one piece; replies are in order."""
    with served.connect() as client:
        for _ in range(50):
            client.sendall(request())
            assert one(client).endswith(b"\r\n\r\npong")
        for byte in request("echo", b"slow"):
            client.sendall(bytes((byte,)))
        assert one(client).endswith(b"\r\n\r\nslow")
        client.sendall(request("echo", b"1") + request("echo", b"22") + request("echo", b"3", connection="close"))
        bodies = [part.partition(b"\r\n\r\n")[2] for part in rest(client).split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"1", b"22", b"3"]


def test_a_large_answer_and_a_large_request_arrive_whole(served: Served) -> None:
    """64 MiB to the client, and a body of 1 MiB from it, after leave to send it."""
    assert served.ask("big").partition(b"\r\n\r\n")[2] == LARGE_BODY
    body = os.urandom(2**20)
    with served.connect() as client:
        head = request("echo", body, expect="100-continue", connection="close").removesuffix(body)
        client.sendall(head)
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert rest(client).partition(b"\r\n\r\n")[2] == body


def test_a_large_answer_is_sent_from_where_it_lies(unix: Served) -> None:
    """The process needs no more memory for it than it has."""
    path = Path("/proc/self/clear_refs")
    unix.ask()
    before = proc_status("VmRSS")
    path.write_text("5")  # the peak is counted anew
    with unix.connect() as client:
        client.sendall(request("big", connection="close"))
        buffer = bytearray(2**16)
        while client.recv_into(buffer):
            pass
    assert proc_status("VmHWM") - before < LARGE / 1024 / 4


def proc_status(key: str) -> int:
    """A figure of /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise AssertionError(key)


def test_a_head_has_no_body(unix: Served) -> None:
    """Its length is told all the same."""
    with unix.connect() as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n")
        data = rest(client)
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-Length: 78\r\n" in data


def test_a_request_that_is_refused_unread_hears_why(served: Served) -> None:
    """A sender of a body that is too large, which is still sending, reads the 413."""
    with served.connect() as client:
        client.sendall(b"POST /handler/echo HTTP/1.1\r\nHost: l\r\nContent-Length: 8000000\r\n\r\n")
        with contextlib.suppress(OSError):
            client.sendall(b"x" * 8_000_000)
        assert rest(client).startswith(b"HTTP/1.1 413 ")
    assert served.ask().endswith(b"pong")


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_stuck_handler_is_a_504_and_the_server_lives_on(served: Served) -> None:
    """The client hears where it stands, 100 others are answered, another request for it is refused at once."""
    late = served.ask("stuck", x_oobdump_timeout="0.2")
    assert late.startswith(b"HTTP/1.1 504 ")
    assert b"Handler stuck failed: it did not return within 0.2 s" in late
    assert b"in stuck" in late
    for _ in range(100):
        assert served.ask().endswith(b"pong")
    began = time.monotonic()
    assert served.ask("stuck").startswith(b"HTTP/1.1 503 ")
    assert time.monotonic() - began < 5
    served.free.set()
    until(lambda: served.ask("stuck").endswith(b"late"), "the handler's slot is free again")


def test_a_deadline_that_is_met_is_none(served: Served) -> None:
    """A connection whose request ended in time is not touched when that time comes."""
    with served.connect() as client:
        client.sendall(request(x_oobdump_timeout="0.1"))
        assert one(client).endswith(b"pong")
        ready, _, _ = select.select([client], [], [], 0.3)
        assert not ready
        client.sendall(request())
        assert one(client).endswith(b"pong")


def test_many_stuck_handlers_leave_room(unix: Served) -> None:
    """Thirty of them, each asked for five times, starve nobody."""
    many_stuck(unix, 30)
    clients = []
    for number in range(30):
        client = unix.connect()
        client.sendall(request(f"stuck{number}", x_oobdump_timeout="0.2"))
        clients.append(client)
    for client in clients:
        assert rest(client).startswith(b"HTTP/1.1 504 ")
        client.close()
    for number in range(30):
        for _ in range(5):
            assert unix.ask(f"stuck{number}").startswith(b"HTTP/1.1 503 ")
    assert unix.ask().endswith(b"pong")


# -- clients that mean no good ---------------------------------------------------------------------------------------


def test_a_slow_sender_is_ended(unix: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stalls in a request gets a 408, one that drips is cut at the deadline, an idle one is closed."""
    monkeypatch.setattr(http_connection, "KEEP_ALIVE_S", 0.2)
    monkeypatch.setattr(http_connection, "RECEIVE_S", 0.5)
    with unix.connect() as client:
        client.sendall(b"POST /handler/ping HT")
        assert rest(client).startswith(b"HTTP/1.1 408 ")
    with unix.connect() as client:
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            while time.monotonic() - began < WITHIN_S:
                client.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - began < 5
    with unix.connect() as client:
        assert rest(client) == b""


def test_a_slow_reader_is_ended(unix: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes nothing, and one that takes a little now and then, lose the connection at the deadline."""
    monkeypatch.setattr(http_connection, "SEND_S", 0.3)
    monkeypatch.setattr(http_connection, "SLOWEST_READER_BYTES_PER_S", 1e9)
    with unix.connect() as client, unix.connect() as dripping:
        client.sendall(request("big"))
        dripping.sendall(request("big"))
        got, began = 0, time.monotonic()
        while data := dripping.recv(1000):
            got += len(data)
            time.sleep(0.05 if time.monotonic() - began < 1 else 0)
        assert got < LARGE
        assert len(rest(client)) < LARGE
    assert unix.ask().endswith(b"pong")


def test_a_flood_of_idle_connections_makes_room(unix: Served) -> None:
    """Three times as many connections as there may be, each with half a request: others are answered meanwhile."""
    flood = []
    for _ in range(3 * MAX_CONNECTIONS):
        client = unix.connect()
        client.sendall(b"POST /handler/ping")
        flood.append(client)
    for _ in range(20):
        assert unix.ask().endswith(b"pong")
    assert tasks() < MAX_CONNECTIONS + 20
    for client in flood:
        client.close()


def test_beyond_its_connections_a_server_says_so(unix: Served) -> None:
    """When all are being answered, the next one is a 503 at once, and room when there is room."""
    many_stuck(unix, MAX_CONNECTIONS)
    clients = []
    for number in range(MAX_CONNECTIONS):
        client = unix.connect()
        client.sendall(request(f"stuck{number}"))
        clients.append(client)
    # Before the first ping: until its handler runs a client may be waiting to be read, and then makes room.
    until(lambda: len(unix.inside) == MAX_CONNECTIONS, "64 handlers run")
    until(lambda: b"64 connections" in answer(unix), "the next one is told")
    unix.free.set()
    for client in clients:
        assert one(client).endswith(b"late")
        client.close()
    until(lambda: answer(unix).endswith(b"pong"), "there is room again")


def test_a_client_now_and_then_starts_no_thread(unix: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe every few seconds, for days: threads that wait in the kernel are not lost, and are not replaced."""
    monkeypatch.setattr(http_server, "LOST_S", 0.01)
    at_rest = tasks()
    for _ in range(40):
        assert answer(unix).endswith(b"pong")
        time.sleep(0.03)  # longer than a thread may take before it counts as lost
    assert tasks() <= at_rest + 1


def test_clients_that_go_away_leave_nothing(unix: Served) -> None:
    """Before a byte, in a request, before the reply and in a large one: threads and descriptors come back."""
    threads_at_rest, descriptors = tasks(), len(os.listdir("/proc/self/fd"))
    for data in (b"", b"POST", request("ping"), request("big"), b"\x16\x03\x01\x02\x00" * 50):
        for _ in range(20):
            client = unix.connect()
            client.sendall(data)
            client.close()
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "every descriptor is closed")
    until(lambda: tasks() <= threads_at_rest, "threads end that are not needed")
    assert unix.ask().endswith(b"pong")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_refused(unix: Served) -> None:
    """The kernel says who connects: even with the file open to all, another user gets a 403."""
    address = unix.server.address
    assert isinstance(address, UnixAddress)
    os.chmod(address.path, 0o777)
    for directory in Path(address.path).parents:
        if directory.stat().st_uid == os.geteuid() and directory.is_relative_to("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o055)
    pid = os.fork()
    if not pid:  # only system calls here: the child has no threads
        code = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            with unix.connect() as client:
                client.sendall(request())
                code = 0 if client.recv(100).startswith(b"HTTP/1.1 403 ") else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_descriptors_it_still_answers(unix: Served) -> None:
    """When the program has used up its descriptors, the threads that wait in ``accept`` have one each already."""
    limits, me = resource.getrlimit(resource.RLIMIT_NOFILE), threading.get_native_id()
    until(
        lambda: all(proc.settled(os.getpid(), "any", tid) for tid in proc.threads(os.getpid()) if tid != me), "at rest"
    )
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(WITHIN_S)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        address = unix.server.address
        assert isinstance(address, UnixAddress)
        client.connect(address.path)
        client.sendall(request())
        assert one(client).endswith(b"pong")
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        client.close()


# -- beginning, rest and end -----------------------------------------------------------------------------------------


def test_stop_is_safe_at_once_and_twice(tmp_path: Path) -> None:
    """A hundred servers, stopped before their threads run: no thread, descriptor or file is left."""
    gc.collect()
    threads, descriptors = tasks(), len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with serving(UnixAddress(str(tmp_path / "s"))) as served:
            served.server.stop()
            served.server.stop()
            assert not (tmp_path / "s").exists()
    until(lambda: tasks() <= threads, "every thread has ended")
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_stop_ends_idle_connections_and_lets_a_handler_finish(unix: Served) -> None:
    """An idle client is closed at once; one whose handler runs gets its reply, if that comes in a second."""
    with unix.connect() as idle, unix.connect() as busy:
        idle.sendall(request())
        one(idle)
        busy.sendall(request("stuck"))
        assert unix.entered.wait(WITHIN_S)
        stopping = threading.Thread(target=unix.server.stop)
        stopping.start()
        assert rest(idle) == b""
        unix.free.set()
        reply = rest(busy)
        assert reply.endswith(b"late")
        assert b"Connection: close" in reply
        stopping.join()


def test_stop_does_not_wait_for_a_stuck_handler(unix: Served) -> None:
    """It takes its second and leaves; the client's connection is closed."""
    with unix.connect() as client:
        client.sendall(request("stuck"))
        assert unix.entered.wait(WITHIN_S)
        began = time.monotonic()
        unix.server.stop()
        assert time.monotonic() - began < http_server.STOP_S + 2
        assert rest(client) == b""


@pytest.mark.serial
def test_at_rest_nothing_wakes_up(unix: Served) -> None:
    """After requests, with a client that stays connected: no thread runs for a second."""
    unix.ask()
    with unix.connect() as client:
        client.sendall(request())
        one(client)
        me = threading.get_native_id()

        def switches() -> list[str]:
            pid = os.getpid()
            return [proc.look(pid, tid).switches for tid in proc.threads(pid) if tid != me]

        time.sleep(0.3)
        before = switches()
        time.sleep(1.0)
        assert switches() == before


def test_a_forked_child_does_not_serve(unix: Served) -> None:
    """The child lets go of the socket: when the parent's server ends, nobody is left who could be connected to."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        unix.server.forget()
        unix.server.stop()
        os.read(reading, 1)
        os._exit(0)
    try:
        address = unix.server.address
        assert isinstance(address, UnixAddress)
        assert unix.ask().endswith(b"pong")
        assert Path(address.path).exists(), "the child removed its parent's socket"
        os.link(address.path, f"{address.path}.kept")
        unix.server.stop()
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(f"{address.path}.kept")
    finally:
        os.write(writing, b"x")
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
