"""Other tools, asked about the same programs.

In: a ``Peer`` and a pid. Out: what it printed, or "" if it had nothing to say in time. The rule only this module
keeps: each is used as its own documentation says, with its own timeouts, and ended by pid if it does not come back.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.programs import Running

__all__ = ["PEERS", "Peer", "there"]

WITHIN_S = 8.0
"""Longer than our own promise: nobody is cut off who would have answered."""

READ_BYTES = 2**16

QUIET_S = 0.3
"""A dump that has begun and has not grown for so long is whole."""


@dataclass(frozen=True)
class Peer:
    """``arm`` is its way to be armed in ``tests/programs/_peers.py``; "" for one that needs nothing in the program."""

    name: str
    ask: Callable[[Running, int], str]
    arm: str = ""
    needs: str = ""
    command: str = ""


def there(peer: Peer) -> bool:
    """Whether it is installed here."""
    if peer.command and _command(peer.command) is None:
        return False
    return not peer.needs or importlib.util.find_spec(peer.needs) is not None


def _command(name: str) -> str | None:
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")


def _tool(name: str, *words: str) -> Callable[[Running, int], str]:
    def ask(_program: Running, pid: int) -> str:
        try:
            done = subprocess.run(
                [str(_command(name)), *words, str(pid)], capture_output=True, timeout=WITHIN_S, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.decode(errors="replace")

    return ask


def _torch(handler: str) -> Callable[[Running, int], str]:
    def ask(program: Running, pid: int) -> str:
        connection = http.client.HTTPConnection("localhost", timeout=WITHIN_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(WITHIN_S)
        try:
            connection.sock.connect(str(program.directory / f"s{pid}"))
            connection.request("POST", f"/handler/{handler}")
            return connection.getresponse().read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    return ask


def _by_signal(program: Running, pid: int) -> str:
    os.kill(pid, signal.SIGUSR1)
    return _grown(program.directory / f"peer.{pid}")


def _grown(path: Path) -> str:
    """A file's text once it does not grow any more."""
    deadline, text, since = time.monotonic() + WITHIN_S, "", time.monotonic()
    while time.monotonic() < deadline:
        now = path.read_text(errors="replace") if path.exists() else ""
        if now != text:
            text, since = now, time.monotonic()
        if text and time.monotonic() - since > QUIET_S:
            break
        time.sleep(0.02)
    return text


def _manhole(_program: Running, pid: int) -> str:
    text = b""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(WITHIN_S / 2)
        try:
            asking.connect(f"/tmp/manhole-{pid}")  # manhole's own place
            asking.sendall(b"dump_stacktraces()\nexit()\n")
            while chunk := asking.recv(READ_BYTES):
                text += chunk
        except OSError:
            pass
    return text.decode(errors="replace")


PEERS: tuple[Peer, ...] = (
    Peer("torch dump_traceback", _torch("dump_traceback"), "torch", "torch"),
    Peer("torch pyspy_dump", _torch("pyspy_dump"), "torch", "torch"),
    Peer("faulthandler.register", _by_signal, "faulthandler"),
    Peer("Python signal handler", _by_signal, "handler"),
    Peer("manhole", _manhole, "manhole", "manhole"),
    Peer("py-spy", _tool("py-spy", "dump", "--pid"), command="py-spy"),
    Peer("py-spy --nonblocking", _tool("py-spy", "dump", "--nonblocking", "--pid"), command="py-spy"),
    Peer("pystack", _tool("pystack", "remote"), command="pystack"),
    Peer("pystack --no-block", _tool("pystack", "remote", "--no-block"), command="pystack"),
)
