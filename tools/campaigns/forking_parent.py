"""An armed parent that makes children in several ways, one after the other: the program of ``forks.py``.

In: how many for each way, on the command line; settings and ``READY_FIFO`` from the environment.
Out: one JSON object on stdout: ``ways`` is ``{way: {pid: exit status}}``; ``held`` is what the parent
held before and after them (descriptors, threads). Then it waits to be asked itself.
"""

from __future__ import annotations

import ctypes
import glob
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

ANSWERS_WITHIN_S = 60.0
"""A dump takes milliseconds; this is what a loaded machine may make of it."""

LIBC = ctypes.PyDLL(None)
"""Calls keep the GIL: nobody else holds a lock of the interpreter at the instant of the fork."""


def fork() -> int:
    """As Python forks: the hooks run, and the child arms itself."""
    pid = os.fork()
    if pid == 0:
        time.sleep(LIVES_S)
        os._exit(0)
    return pid


def fork_and_answer() -> int:
    """The same, and the child stays until its own dump is committed."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if answered_within(ANSWERS_WITHIN_S) else 3)
    return pid


def answered_within(seconds: float) -> bool:
    """Whether this process has a committed dump by then."""
    armed = oobdump.start()  # the child's own, by the hook of the fork
    pattern = f"{armed.layout.dumps}/*/{armed.name}/manifest.json"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if glob.glob(pattern):
            return True
        time.sleep(0.02)
    return False


def fork_in_c() -> int:
    """As a library forks: no hook runs, and the child never comes back to Python."""
    pid = int(LIBC.fork())
    if pid == 0:
        LIBC.usleep(int(LIVES_S * 1e6))
        LIBC["_exit"](0)
    return pid


def run() -> int:
    """Another program, which knows nothing of request signals."""
    process = subprocess.Popen(["sleep", str(LIVES_S)])
    KEPT.append(process)
    return process.pid


KEPT: list[subprocess.Popen[bytes]] = []
"""One that is let go of collects its process when it is deleted, and may be faster than ``ended``."""

WAYS: dict[str, Callable[[], int]] = {
    "os.fork": fork,
    "os.fork, until it answers": fork_and_answer,
    "fork in C": fork_in_c,
    "subprocess": run,
}


def main(children: int) -> None:
    """Arm, announce, make children, say how they ended."""
    oobdump.start()
    ready = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(ready, f"ready {os.getpid()} -\n".encode())
    before = held()
    ways = {way: dict(ended(make()) for _ in range(children)) for way, make in WAYS.items()}
    print(json.dumps({"ways": ways, "held": [before, held()]}), flush=True)
    signal.pause()


def held() -> dict[str, int]:
    """What this process has open, and its threads."""
    return {"descriptors": len(os.listdir("/proc/self/fd")), "threads": len(os.listdir("/proc/self/task"))}


def ended(pid: int) -> tuple[int, int]:
    """A child and its exit status; negative: the signal that killed it."""
    return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(int(sys.argv[1]))
