"""Where a server listens: an address to a listening socket that only we and root can use.

In: ``unix:PATH`` or ``tcp://HOST:PORT``. Out: a ``Listener``; ``CannotListen`` in words. The
rules only this module keeps: a socket file that a dead server left is taken over and one that
somebody serves is not, a peer on it is asked for by the kernel's word, and what we made we
remove. ``_socket``, not ``socket``: libraries that patch the latter do not reach us, and
nothing here resolves a name, unless a ``TcpAddress`` that a program made itself has one.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import re
import select
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from oobdump.errors import ConfigError, StartError

__all__ = [
    "MAX_PATH_BYTES",
    "Address",
    "CannotListen",
    "Listener",
    "TcpAddress",
    "UnixAddress",
    "empty_socket",
    "listen",
    "parse_address",
    "peer_is_ours",
    "set_timeouts",
    "socket_path",
]

MAX_PATH_BYTES = 107
"""``sun_path`` of unix(7) has 108 bytes with the NUL."""

BACKLOG = 1024
"""Connections that wait for a thread; a non-blocking client at a Unix socket beyond that is told to try again."""

LOCK_S = 1.0
"""Two servers that start at one path take turns; who holds the directory's lock for longer is not one of them."""

PROBE_S = 0.2
"""A Unix socket takes or refuses a connection at once."""

_TCP = re.compile(r"tcp://(?:\[([^\]]*)\]|([^:/\[\]]*)):([0-9]{1,5})/?")
_LOCALHOST = "127.0.0.1"
_ANYWHERE = "::"
_MAX_PORT = 65535


class CannotListen(StartError, RuntimeError):
    """The address cannot be listened at; a ``RuntimeError`` too, as PyTorch's is. ``taken``: somebody serves it."""

    def __init__(self, text: str, *, taken: bool = False) -> None:
        super().__init__(text)
        self.taken = taken


@dataclass(frozen=True)
class UnixAddress:
    """A Unix socket's path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True)
class TcpAddress:
    """A TCP port, 0 for any that is free; the host ``""`` stands for every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def empty_socket() -> _socket.socket:
    """A socket object that ``accept`` will fill."""
    return _socket.socket.__new__(_socket.socket)


def parse_address(text: str) -> Address:
    """``unix:/path``, ``/path`` or ``tcp://127.0.0.1:4100``. Raises ``ConfigError``: names are not resolved."""
    path = text.removeprefix("unix:")
    if path.startswith("/"):
        return UnixAddress(path)
    found = _TCP.fullmatch(text)
    if found is None or int(found[3]) > _MAX_PORT:
        raise ConfigError(f"{text!r} is no address: write unix:/PATH, tcp://127.0.0.1:PORT or tcp://[::1]:PORT")
    host = found[2] if found[1] is None else found[1]
    if host == "localhost":
        host = _LOCALHOST
    if _family(host) is None:
        raise ConfigError(f"{text!r} has a host name: give the number, as in tcp://127.0.0.1:PORT; none is resolved")
    return TcpAddress(host, int(found[3]))


def socket_path(directory: str, job: str, worker: str) -> str:
    """Where a worker's own socket is, below the runtime directory; shortened if a socket's path must be."""
    path = f"{directory}/{job}/{worker}.sock"
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        return path
    return f"{directory}/{zlib.crc32(os.fsencode(path)):08x}.{worker.rpartition('.')[2]}.sock"


@dataclass(frozen=True, eq=False)
class Listener:
    """A listening socket. ``address`` has the port that the kernel chose, ``made`` is the socket file's identity."""

    socket: _socket.socket
    address: Address
    made: tuple[int, int] | None = None
    reserve: list[int] = field(default_factory=list)

    def wait(self) -> None:
        """Until there may be a connection. Every thread that waits is woken: if one is lost, another accepts."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.poll()

    def accept(self, into: _socket.socket) -> bool:
        """Makes ``into``, an ``empty_socket``, the next connection; False if another thread has it, or it is gone.

        Raises ``OSError`` without descriptors, and when closed. Nothing is allocated between the kernel's
        answer and the connection's being in a place where others find it: the collector may take the thread.
        """
        mine = self.socket
        try:
            descriptor, _ = mine._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - accept() without its wrapper
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self.give_reserve():
                raise
            return self.accept(into)
        into.__init__(mine.family, mine.type, mine.proto, descriptor)  # type: ignore[misc]
        into.settimeout(None)  # setdefaulttimeout() is the program's
        if mine.family != _socket.AF_UNIX:
            into.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        return True

    def refill(self) -> None:
        """After a connection: the descriptor that is kept for the time when the program has none."""
        if not self.reserve:
            try:
                self.reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                pass

    def close(self) -> None:
        """Gives every descriptor back; the socket file is ``remove``'s."""
        self.give_reserve()
        self.socket.close()

    def give_reserve(self) -> bool:
        """Closes the descriptor that was kept; False if there was none."""
        try:
            os.close(self.reserve.pop())
        except IndexError:
            return False
        return True

    def wake(self, waiting: int) -> None:
        """Has every thread return that waits."""
        try:
            self.socket.shutdown(_socket.SHUT_RDWR)
        except OSError:  # not on Linux: a listening socket is not connected, says the standard
            for _ in range(waiting):
                self._knock()

    def remove(self) -> None:
        """Takes the socket file away, if it is still the one that was made here."""
        if isinstance(self.address, UnixAddress) and self.made is not None:
            try:
                if _key(self.address.path) == self.made:
                    os.unlink(self.address.path)
            except OSError:
                pass

    def _knock(self) -> None:
        probe = _socket.socket(self.socket.family, _socket.SOCK_STREAM)
        try:
            probe.settimeout(PROBE_S)
            probe.connect(self.socket.getsockname())
        except OSError:
            pass
        finally:
            probe.close()


def listen(address: Address) -> Listener:
    """Listens at an address. Raises ``CannotListen``."""
    try:
        return _listen_unix(address) if isinstance(address, UnixAddress) else _listen_tcp(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise CannotListen(f"Error binding to {address}: {error.strerror or error}", taken=taken) from None


def peer_is_ours(sock: _socket.socket) -> bool:
    """Whether the other end of a Unix socket is a process of ours or of root's; True of TCP, which has tokens."""
    if sock.family != _socket.AF_UNIX or not hasattr(_socket, "SO_PEERCRED"):
        return True  # elsewhere than on Linux the file's mode has to do
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())


def set_timeouts(sock: _socket.socket, receive_s: float, send_s: float) -> None:
    """The kernel's own timeouts: Python's would cost a second system call, and a second wait for the GIL, a read."""
    for option, seconds in ((_socket.SO_RCVTIMEO, receive_s), (_socket.SO_SNDTIMEO, send_s)):
        sock.setsockopt(_socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))


def _listen_tcp(address: TcpAddress) -> Listener:
    host = address.host or (_ANYWHERE if _has_ipv6() else "0.0.0.0")  # noqa: S104 - "" asks for it
    sock = _socket.socket(_family(host) or _socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.settimeout(None)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if host == _ANYWHERE:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        sock.bind((host, address.port))
        sock.listen(BACKLOG)
        os.set_blocking(sock.fileno(), False)  # not settimeout(0): see set_timeouts
        return Listener(sock, TcpAddress(address.host, sock.getsockname()[1]))
    except BaseException:
        sock.close()
        raise


def _listen_unix(address: UnixAddress) -> Listener:
    path = address.path
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise CannotListen(f"{path} has {size} bytes: a Unix socket's path has at most {MAX_PATH_BYTES}; take another")
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(None)
        os.fchmod(sock.fileno(), 0o600)  # on Linux the file is made with it: no instant at which others may connect
        with _taking_turns(os.path.dirname(path) or "."):
            _bind(sock, path)
            os.chmod(path, 0o600)
            sock.listen(BACKLOG)
            os.set_blocking(sock.fileno(), False)
            return Listener(sock, address, _key(path))
    except BaseException:
        sock.close()
        raise


def _bind(sock: _socket.socket, path: str) -> None:
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        if why := _in_use(path):
            raise CannotListen(f"{path} already exists: {why}", taken=True) from None
        os.unlink(path)
        sock.bind(path)


def _in_use(path: str) -> str:
    """Why what is at the path must stay; nothing if a server that is gone left it."""
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode):
        return "it is no socket, and stays"
    if found.st_uid != os.geteuid():
        return f"it belongs to uid {found.st_uid}"
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.settimeout(PROBE_S)
        probe.connect(path)
    except ConnectionRefusedError:
        return ""
    except OSError as error:
        return f"whether it is in use cannot be told ({error.strerror or error})"
    finally:
        probe.close()
    return "another server answers there; give each its own path"


@contextmanager
def _taking_turns(directory: str) -> Iterator[None]:
    """A lock on the directory, so that of two servers neither removes what the other has just made."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield  # not to be read, or not there, as bind() will say
        return
    try:
        deadline = time.monotonic() + LOCK_S
        while not _locked(descriptor) and time.monotonic() < deadline:
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: then without
    return True


def _key(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _family(host: str) -> int | None:
    """Of a numeric address; None for a name."""
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None


def _has_ipv6() -> bool:
    try:
        _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True
