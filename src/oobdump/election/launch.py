"""Starting a sentinel that is nobody's child: by way of a shell that ends at once.

In: orders. Out: the pid of that shell, to be waited for. The rules only this module keeps:
nothing is forked (a worker may be large, and hold locks): ``posix_spawn`` starts /bin/sh with no
signal blocked and its three standard descriptors on /dev/null, so that no pipe of the program's is
kept open; the interpreter runs with ``-S``, so that no ``.pth`` file arms the sentinel itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import msgpack

from oobdump.election.orders import Orders
from oobdump.errors import StartError

__all__ = ["command", "launch", "why_not"]

_SHELL = "/bin/sh"
_IN_THE_BACKGROUND = '"$@" &'

_NOT_FOR_IT = frozenset(
    {"PYTHONPATH", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONTRACEMALLOC", "PYTHONMALLOC", "PYTHONPROFILEIMPORTTIME"}
    | {"PYTHONVERBOSE", "PYTHONFAULTHANDLER", "PYTHONWARNINGS", "PYTHONDEVMODE", "LD_PRELOAD", "OOBDUMP_ARM"}
)
"""Variables that say how to run the program, not its sentinel: they cost memory, or print."""

_RESET = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM"))
"""Ignored signals stay ignored in a started program: a sentinel wants its children's ends, and its alarms."""

_SHELL_ENDS_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.005


def why_not() -> str:
    """Why no sentinel can be started from this process; "" if one can."""
    name = os.path.basename(sys.executable or "")
    if not name.startswith(("python", "pypy")):
        return f"this program embeds Python ({name or 'no executable'}): run `oobdump sentinel` beside it"
    if not os.path.isfile(_script()):
        return "oobdump is not installed as files: run `oobdump sentinel` from an installation that is"
    return ""


def launch(orders: Orders) -> None:
    """Starts a sentinel, which is nobody's child when this returns. Raises ``StartError`` or ``OSError``.

    It only becomes *the* sentinel if it gets the seat. Takes a millisecond or two; call it off the main thread.
    """
    _wait(_spawn(command(orders)))


def command(orders: Orders) -> list[str]:
    """The command line of a sentinel. Raises ``StartError`` if there can be none."""
    reason = why_not()
    if reason:
        raise StartError(reason)
    return [sys.executable, "-S", "-s", _script(), "--path", _libraries(), *orders.words()]


def _spawn(command: list[str]) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT}
    return os.posix_spawn(
        _SHELL,
        [_SHELL, "-c", _IN_THE_BACKGROUND, "sh", *command],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ],
        setsigmask=(),
        setsigdef=_RESET,
    )


def _wait(shell: int) -> None:
    """Takes the shell's end, unless the program takes every child's end itself."""
    deadline = time.monotonic() + _SHELL_ENDS_WITHIN_S
    try:
        while not os.waitpid(shell, os.WNOHANG)[0] and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
    except ChildProcessError:
        pass


def _script() -> str:
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sentinel", "start.py")


def _libraries() -> str:
    """Where msgpack is: with ``-S`` nobody else looks there."""
    return os.path.dirname(os.path.dirname(os.path.abspath(str(msgpack.__file__))))
