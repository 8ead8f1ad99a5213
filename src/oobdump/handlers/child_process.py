"""Another program, run to its end or to a deadline, from a thread that may be anywhere.

In: a command and a deadline. Out: its output and how it ended. The rules only this module keeps:
/bin/sh is what is started, and replaces itself by the program, because a process waits for the exec
of its child with the GIL held: a shared file system that hangs then hangs the child alone. The
child starts with no signal blocked, although every thread of ours blocks all, and a child that does
not even die when killed is left behind.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NOT_FOUND", "Run", "run"]

NOT_FOUND = 127
"""The shell's status for a program that is not there."""

_SHELL = "/bin/sh"
_READ_BYTES = 2**16
_MAX_OUTPUT_BYTES = 2**26
_DIES_WITHIN_S = 1.0
_LOOK_EVERY_S = 0.002

_RESET = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Signals whose disposition a child gets back: Python ignores the first two, and request signals may be ignored."""


@dataclass(frozen=True)
class Run:
    """Standard output and error together; the exit status, None if unknown; whether the end came in time."""

    output: bytes
    code: int | None
    ended: bool


def run(command: Sequence[str], deadline: float) -> Run:
    """Runs a program until ``deadline`` on the monotonic clock. Raises ``OSError`` if nothing can be started."""
    reading, writing = os.pipe()
    try:
        try:
            pid = _spawn(command, writing)
        finally:
            os.close(writing)
        output, ended = b"", False
        try:
            output, ended = _read(reading, deadline)
        finally:
            code = _end(pid, kill=not ended)
    finally:
        os.close(reading)
    return Run(output, code, ended)


def _spawn(command: Sequence[str], writing: int) -> int:
    return os.posix_spawn(
        _SHELL,
        [_SHELL, "-c", 'exec "$@"', "sh", *command],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsigmask=(),
        setsigdef=_RESET,
    )


def _read(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    """What comes until the end, and whether the end came in time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    pieces: list[bytes] = []
    left_bytes = _MAX_OUTPUT_BYTES
    while left_bytes > 0 and (left_s := deadline - time.monotonic()) > 0:
        if not poll.poll(left_s * 1000):
            break
        piece = os.read(descriptor, _READ_BYTES)
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        left_bytes -= len(piece)
    return b"".join(pieces), False


def _end(pid: int, *, kill: bool) -> int | None:
    """The exit status; None if somebody else of this process waited for the child (a handler of SIGCHLD may)."""
    deadline = time.monotonic() + _DIES_WITHIN_S
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended and kill:
            os.kill(pid, signal.SIGKILL)
        while not ended and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
            ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None
