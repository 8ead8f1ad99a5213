"""Our worker server beside PyTorch's: a ping, an answer of 256 MiB, and rest, in one run.

In: counts on the command line. Out: a table on stdout; a row a server, each in a process of its
own, asked in turns so that a noisy machine is noisy for all of them. Without torch only ours.
``cpp`` is PyTorch's server with its own C++ ``ping``, ``python`` the same with a handler in
Python, ``bare`` a socket with no server behind it. The module is not named ``http``: a script's
directory comes first on ``sys.path``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

PINGS_PER_TURN = 25
"""PyTorch's server closes a connection after 30 requests: each turn has one of its own."""

SERVERS = {
    "ours": ("oobdump", "bench_ping"),
    "python": ("torch", "bench_ping"),
    "cpp": ("torch", "ping"),
    "bare": ("socket", "ping"),
}
"""Row: which server, and the handler that is asked. ``bare`` is a loop of receive and send: the machine's limit."""

READ_BYTES = 2**18
"""What a client reads at once: more does not fit into a core's own cache."""

READY = b"ready\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
PONG = HEAD % 4 + b"pong"
MIB = 2**20


@dataclass
class Figures:
    """What was seen of one server."""

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    extra_mib: float = 0.0
    wakeups: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 always."""
    parser = argparse.ArgumentParser(description="time our worker server beside PyTorch's")
    parser.add_argument("--turns", type=int, default=200, help=f"turns of {PINGS_PER_TURN} pings (default: 200)")
    parser.add_argument("--mib", type=int, default=256, help="size of the large answer (default: 256)")
    parser.add_argument("--rounds", type=int, default=7, help="large answers (default: 7)")
    parser.add_argument("--rest", type=float, default=5.0, metavar="S", help="seconds at rest (default: 5)")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "PATH", "MIB"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.serve:
        return _serve(*given.serve)
    rows = {name: Figures() for name, (kind, _) in SERVERS.items() if importlib.util.find_spec(kind)}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as directory:
        running = {name: stack.enter_context(_server(SERVERS[name][0], directory, name, given.mib)) for name in rows}
        _measure(rows, running, given)
    _print(rows, given.mib)
    return 0


def _measure(rows: dict[str, Figures], running: dict[str, tuple[str, int]], given: argparse.Namespace) -> None:
    for _ in range(given.turns):
        for name, figures in rows.items():
            figures.seconds += _pings(running[name][0], SERVERS[name][1])
    for _ in range(given.rounds):
        for name, figures in rows.items():
            path, pid = running[name]
            before = _reset_peak(pid)
            figures.rates.append(_large(path, given.mib * MIB))
            figures.extra_mib = max(figures.extra_mib, (_memory(pid, "VmHWM") - before) / 1024)
    time.sleep(2.0)  # connections that are kept alive end first
    before_rest = {name: _switches(running[name][1]) for name in rows}
    time.sleep(given.rest)
    for name, figures in rows.items():
        figures.wakeups = _switches(running[name][1]) - before_rest[name]


def _print(rows: dict[str, Figures], mib: int) -> None:
    print(f"{'server':<8}{'ping p50 us':>12}{'p99 us':>9}{f'{mib} MiB: MiB/s':>18}{'extra MiB':>11}{'wake-ups':>10}")
    for name, figures in rows.items():
        seconds = sorted(figures.seconds)
        p50, p99 = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
        rate, extra = statistics.median(figures.rates), figures.extra_mib
        print(f"{name:<8}{p50 * 1e6:>12.1f}{p99 * 1e6:>9.1f}{rate:>18,.0f}{extra:>11,.0f}{figures.wakeups:>10}")


def _pings(path: str, handler: str) -> list[float]:
    request = _request(handler)
    with _connected(path) as sock:
        sock.sendall(request)  # the first one pays for the connection
        sock.recv(4096)

        def ping() -> None:
            sock.sendall(request)
            sock.recv(4096)

        return [_timed(ping) for _ in range(PINGS_PER_TURN)]


def _large(path: str, size: int) -> float:
    """MiB/s of one large answer."""
    buffer = bytearray(READ_BYTES)
    with _connected(path) as sock:

        def receive() -> None:
            sock.sendall(_request("bench_large"))
            got = sock.recv_into(buffer)
            left = size - (got - (bytes(buffer[:4096]).index(b"\r\n\r\n") + 4))
            while left > 0:
                left -= sock.recv_into(buffer)

        return size / MIB / _timed(receive)


def _request(handler: str) -> bytes:
    return f"POST /handler/{handler} HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n".encode()


def _timed(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


@contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        yield sock


@contextmanager
def _server(kind: str, directory: str, name: str, mib: int) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its socket and its pid."""
    path = f"{directory}/{name}.sock"
    command = [sys.executable, os.path.abspath(__file__), "--serve", kind, path, str(mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101
        if process.stdout.readline() != READY:
            raise RuntimeError(f"the {kind} server did not start")
        try:
            yield path, process.pid
        finally:
            process.stdin.close()


def _serve(kind: str, path: str, mib: str) -> int:
    """In the server's process: serves until standard input ends."""
    if kind == "socket":
        return _serve_bare(path, b"x" * (int(mib) * MIB))
    server: Any
    register: Callable[..., None]
    if kind == "torch":
        from torch._C._distributed_c10d import _register_handler, _WorkerServer  # noqa: PLC0415

        server, register = _WorkerServer(path), _register_handler
    else:
        from oobdump.control_plane import WorkerServer, register_handler  # noqa: PLC0415

        server, register = WorkerServer(path), register_handler
    large = b"x" * (int(mib) * MIB)

    def bench_ping(_request: object, response: object) -> None:
        response.set_content("pong", "text/plain")  # type: ignore[attr-defined]
        response.set_status(200)  # type: ignore[attr-defined]

    def bench_large(_request: object, response: object) -> None:
        response.set_content(large, "application/octet-stream")  # type: ignore[attr-defined]

    register("bench_ping", bench_ping)
    register("bench_large", bench_large)
    os.write(1, READY)
    os.read(0, 1)
    server.shutdown()
    os._exit(0)  # PyTorch's registry must not be torn down with functions of ours in it


def _serve_bare(path: str, large: bytes) -> int:
    """Answers each connection in turn with what was made beforehand: no parsing, no handler, no deadline."""
    large = HEAD % len(large) + large
    threading.Thread(target=_exit_with_standard_input, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, READY)
        while True:
            connection, _ = listener.accept()
            with connection:
                while request := connection.recv(4096):
                    connection.sendall(PONG if b"ping" in request else large)


def _exit_with_standard_input() -> None:
    os.read(0, 1)
    os._exit(0)


def _reset_peak(pid: int) -> float:
    """Has the kernel count the peak of memory anew; gives what is used now, in KiB."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return _memory(pid, "VmRSS")


def _memory(pid: int, key: str) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(float(line.split()[1]) for line in file if line.startswith(f"{key}:"))


def _switches(pid: int) -> int:
    """Context switches of all threads: at rest each is a wake-up."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return total


if __name__ == "__main__":
    sys.exit(main())
