"""An armed parent that makes children in three ways, one after the other: the program of ``forks.py``.

In: how many for each way, on the command line; settings and ``READY_FIFO`` from the environment.
Out: one JSON object on stdout, ``{way: {pid: exit status}}``; then it waits to be asked itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import oobdump

LIVES_S = 0.03
"""Long enough for a forked child to arm itself and answer now and then."""

LIBC = ctypes.PyDLL(None)
"""Calls keep the GIL: nobody else holds a lock of the interpreter at the instant of the fork."""


def fork() -> int:
    """As Python forks: the hooks run, and the child arms itself."""
    pid = os.fork()
    if pid == 0:
        time.sleep(LIVES_S)
        os._exit(0)
    return pid


def fork_in_c() -> int:
    """As a library forks: no hook runs, and the child never comes back to Python."""
    pid = int(LIBC.fork())
    if pid == 0:
        LIBC.usleep(int(LIVES_S * 1e6))
        LIBC["_exit"](0)
    return pid


def run() -> int:
    """Another program, which knows nothing of request signals."""
    return subprocess.Popen(["sleep", str(LIVES_S)]).pid


WAYS: dict[str, Callable[[], int]] = {"os.fork": fork, "fork in C": fork_in_c, "subprocess": run}


def main(children: int) -> None:
    """Arm, announce, make children, say how they ended."""
    oobdump.start()
    ready = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(ready, f"ready {os.getpid()} -\n".encode())
    statuses = {way: dict(ended(make()) for _ in range(children)) for way, make in WAYS.items()}
    print(json.dumps(statuses), flush=True)
    signal.pause()


def ended(pid: int) -> tuple[int, int]:
    """A child and its exit status; negative: the signal that killed it."""
    return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(int(sys.argv[1]))
