"""The claims of ``channels/http_listen.py``: which address is taken, taken over or refused, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from oobdump.channels.http_listen import (
    MAX_PATH_BYTES,
    CannotListen,
    Listener,
    TcpAddress,
    UnixAddress,
    empty_socket,
    listen,
    parse_address,
    socket_path,
)
from oobdump.errors import ConfigError
from support.programs import SOURCES


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/a/b", UnixAddress("/a/b")),
        ("/a/b", UnixAddress("/a/b")),
        ("tcp://127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("tcp://[::1]:0", TcpAddress("::1", 0)),
        ("tcp://localhost:80/", TcpAddress("127.0.0.1", 80)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: UnixAddress | TcpAddress) -> None:
    """Each form is read, and what is written is read back."""
    assert parse_address(text) == address == parse_address(str(address))


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "unix:a", "tcp://example.com:80", "tcp://:80", "tcp://1.2.3.4", "tcp://1.2.3.4:99999", "http://x"],
)
def test_what_is_no_address_is_told_so(text: str) -> None:
    """With what would be right; a host name is refused, for nobody resolves it."""
    with pytest.raises(ConfigError, match="tcp://127"):
        parse_address(text)


def close(listener: Listener) -> None:
    """As a server does at its end."""
    listener.remove()
    listener.close()


def test_only_the_owner_can_connect(tmp_path: Path) -> None:
    """The socket file has mode 0600, whatever the umask, and is removed with its server."""
    before = os.umask(0)
    try:
        listener = listen(UnixAddress(str(tmp_path / "s")))
    finally:
        os.umask(before)
    found = os.lstat(tmp_path / "s")
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    close(listener)
    assert not (tmp_path / "s").exists()


def test_there_is_no_instant_at_which_others_may_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux the file is made with its mode; what is changed afterwards is for other systems."""
    monkeypatch.setattr(os, "chmod", lambda *_: None)
    listener = listen(UnixAddress(str(tmp_path / "s")))
    assert stat.S_IMODE(os.lstat(tmp_path / "s").st_mode) == 0o600
    close(listener)


def test_what_a_dead_server_left_is_taken_over(tmp_path: Path) -> None:
    """A socket file that nobody serves any more is replaced."""
    address = UnixAddress(str(tmp_path / "s"))
    listen(address).socket.close()
    assert (tmp_path / "s").exists()
    close(listen(address))


def test_a_live_server_is_an_error_and_stays(tmp_path: Path) -> None:
    """``PATH already exists``, as a ``RuntimeError`` too; the first server is not disturbed."""
    address = UnixAddress(str(tmp_path / "s"))
    first = listen(address)
    with pytest.raises(RuntimeError, match=f"{address.path} already exists: another server answers there") as caught:
        listen(address)
    assert isinstance(caught.value, CannotListen)
    assert caught.value.taken
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address.path)
    close(first)


def test_another_file_is_never_removed(tmp_path: Path) -> None:
    """A file, or a link to a dead socket, at the path is an error and stays."""
    for name in ("file", "link"):
        path = tmp_path / name
        if name == "file":
            path.write_text("precious")
        else:
            listen(UnixAddress(str(tmp_path / "dead"))).socket.close()
            path.symlink_to(tmp_path / "dead")
        with pytest.raises(CannotListen, match="already exists"):
            listen(UnixAddress(str(path)))
        assert path.is_symlink() or path.read_text() == "precious"


def test_a_server_removes_only_its_own_file(tmp_path: Path) -> None:
    """If the path was given to another in the meantime, that stays."""
    path = tmp_path / "s"
    first = listen(UnixAddress(str(path)))
    path.unlink()
    second = listen(UnixAddress(str(path)))
    close(first)
    assert path.exists()
    close(second)


def test_of_many_at_one_stale_path_one_wins(tmp_path: Path) -> None:
    """Twenty threads at once: one listens, is the one at the path, and the others are told."""
    address = UnixAddress(str(tmp_path / "s"))
    for _ in range(20):
        won: list[Listener] = []
        lost: list[CannotListen] = []
        gate = threading.Barrier(20)

        def race() -> None:
            gate.wait()  # noqa: B023 - each round ends before the next
            try:
                won.append(listen(address))  # noqa: B023
            except CannotListen as error:
                lost.append(error)  # noqa: B023

        threads = [threading.Thread(target=race) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 19)
        assert won[0].made == (os.stat(address.path).st_dev, os.stat(address.path).st_ino)
        won[0].socket.close()  # and leaves its file to the next round


def test_a_path_that_is_too_long_is_told_so(tmp_path: Path) -> None:
    """With its length and the limit."""
    path = str(tmp_path / ("x" * MAX_PATH_BYTES))
    with pytest.raises(CannotListen, match=f"has {len(path)} bytes.*at most {MAX_PATH_BYTES}"):
        listen(UnixAddress(path))


def test_a_directory_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    """In words, and it is not ``taken``."""
    with pytest.raises(CannotListen, match=r"Error binding to .*No such file") as caught:
        listen(UnixAddress(str(tmp_path / "no" / "s")))
    assert not caught.value.taken


def test_a_workers_socket_fits_whatever_its_name(tmp_path: Path) -> None:
    """Beside its bell; with a job and a host as long as can be it is shortened, and stays different per worker."""
    assert socket_path("/run/x", "job", "rank00000.host.12") == "/run/x/job/rank00000.host.12.sock"
    paths = [socket_path("/tmp/oobdump-1000.run", "j" * 100, f"rank00000.{'h' * 64}.{pid}") for pid in (1, 2)]
    assert all(len(os.fsencode(path)) <= MAX_PATH_BYTES for path in paths)
    assert len(set(paths)) == 2
    listener = listen(UnixAddress(socket_path(str(tmp_path), "j" * 100, "proc.host.1")))
    close(listener)


def test_tcp_says_which_port_it_got() -> None:
    """Port 0 is any; a port that is in use is an error that says so."""
    listener = listen(TcpAddress("127.0.0.1", 0))
    assert isinstance(listener.address, TcpAddress)
    assert listener.address.port > 0
    with pytest.raises(CannotListen, match="Address already in use") as caught:
        listen(listener.address)
    assert caught.value.taken
    close(listener)


def test_tcp_with_no_host_is_every_interface() -> None:
    """As PyTorch's: IPv4 clients reach ``""`` and ``::``."""
    for host in ("", "::"):
        listener = listen(TcpAddress(host, 0))
        assert isinstance(listener.address, TcpAddress)
        socket.create_connection(("127.0.0.1", listener.address.port)).close()
        close(listener)


def test_the_programs_default_timeout_is_not_ours(tmp_path: Path) -> None:
    """``socket.setdefaulttimeout`` neither ends ``accept`` early nor the reading of a connection."""
    socket.setdefaulttimeout(0.01)
    try:
        listener = listen(UnixAddress(str(tmp_path / "s")))
        assert listener.socket.gettimeout() is None
        accepted = empty_socket()
        assert not listener.accept(accepted), "nobody has come yet"
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "s"))
        listener.wait()
        assert listener.accept(accepted)
        assert accepted.gettimeout() is None
        accepted.close()
        client.close()
        close(listener)
    finally:
        socket.setdefaulttimeout(None)


IMPORTS = """
import sys
import oobdump.channels.http_server
assert "socket" not in sys.modules, "socket"
"""


def test_the_server_does_without_the_socket_module() -> None:
    """What patches ``socket`` (gevent) does not reach it, and a worker does not pay for it."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n{IMPORTS}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
