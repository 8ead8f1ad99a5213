"""PyTorch's own server beside ours: its C++ handlers answer while Python cannot.

In: PyTorch's module and a path for a socket in our private runtime directory. Out: a server, or
in words why there is none. The rule only this module keeps: ``shutdown()`` is called only when it
must return at once, because it holds the GIL until its last thread has ended: called before the
server runs, or while a handler waits for the GIL, it freezes the process for good. So: ping, take
the path away, wait until no connection is left. A server that cannot be shut down so is left alone.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from typing import Any

from oobdump.threads import BLOCKABLE
from oobdump.torch_bridge.forever import never_freed

__all__ = ["MAX_SOCKET_PATH_BYTES", "SideDoor"]

MAX_SOCKET_PATH_BYTES = 107
"""``sun_path`` has 108 with its NUL (unix(7))."""

PING_S = 1.0
"""An answer takes 20 µs; a server whose threads are all taken gives none."""

DRAIN_S = 2.5
"""PyTorch's server keeps an idle connection for one second, and then some for a loaded machine."""

_LOOK_EVERY_S = 0.01
_PING = b"POST /handler/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_SOCKETS = "/proc/self/net/unix"


class SideDoor:
    """One server. ``open`` and ``close`` once each; ``trouble`` says what went wrong."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.trouble = ""
        self._server: Any = None
        self._inode = ""

    @property
    def is_open(self) -> bool:
        """Whether the server listens at ``path``."""
        return self._server is not None

    def open(self, module: Any) -> None:
        """Starts the server; its threads take no signals."""
        size = len(os.fsencode(self.path))
        if size > MAX_SOCKET_PATH_BYTES:
            self.trouble = (
                f"PyTorch's server is not started: its socket's path {self.path} has {size} bytes, and a socket's "
                f"may have {MAX_SOCKET_PATH_BYTES}: set a shorter directory with OOBDUMP_RUNTIME_DIR"
            )
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE)
        try:
            _remove(self.path)  # it has our pid in its name: whoever left it is gone
            self._server = never_freed(module._WorkerServer(self.path, -1))  # noqa: SLF001 - PyTorch names it so
            os.chmod(self.path, 0o600)
            self._inode = _listener(self.path)
        except (OSError, RuntimeError) as error:
            self.trouble = f"PyTorch's server is not started: {error}"[:1000]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """Takes the socket away and ends the server if that can be done at once; else says so in ``trouble``."""
        server, self._server = self._server, None
        if server is None:
            return
        runs = _pong(self.path)
        _remove(self.path)
        if runs and self._drained():
            server.shutdown()
        else:
            self.trouble = "PyTorch's server is left running without its socket: it is still answering somebody"

    def hide(self) -> None:
        """Takes the socket away: nobody comes in any more, who is in is answered."""
        if self._server is not None:
            _remove(self.path)

    def forget(self) -> None:
        """In a forked child: lets go of the parent's socket, which would keep accepting after the parent's end.

        Its number stays taken, for PyTorch's objects remember it.
        """
        self._server = None
        if not self._inode:
            return
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for number in _descriptors(int(self._inode)):
                os.dup2(null, number, inheritable=False)
        finally:
            os.close(null)

    def _drained(self) -> bool:
        """Waits until no connection to the server is left; False if that takes too long or cannot be seen."""
        deadline = time.monotonic() + DRAIN_S
        while (found := _lines(self.path)) is not None:
            if len(found) <= 1:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY_S)
        return False


def _pong(path: str) -> bool:
    """Whether the server runs. A Unix socket: no name is resolved."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(PING_S)
            asking.connect(path)
            asking.sendall(_PING)
            return asking.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _lines(path: str) -> list[list[str]] | None:
    """The kernel's list of the sockets at a path, connections included, also once the path is gone; None if unknown."""
    try:
        with open(_SOCKETS, "rb", buffering=0) as file:
            table = file.readall()
    except OSError:
        return None
    wanted = os.fsencode(path)
    rows = (row.split(None, 7) for row in table.splitlines())
    return [[word.decode("ascii") for word in row[:7]] for row in rows if len(row) > 7 and row[7] == wanted]  # noqa: PLR2004


def _listener(path: str) -> str:
    """The inode of the listening socket; nothing if it cannot be known."""
    found = _lines(path) or []
    return found[0][6] if len(found) == 1 else ""


def _descriptors(inode: int) -> list[int]:
    """The descriptors of this process that are that socket."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            held = os.fstat(int(name))
        except OSError:
            continue
        if stat.S_ISSOCK(held.st_mode) and held.st_ino == inode:
            found.append(int(name))
    return found


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
