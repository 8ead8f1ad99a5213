"""Traces a process and holds it, as a debugger does that was left open: run as a program, ``tracer.py PID``.

In: a pid. Out: a line ``holding`` once every thread of it stands; it lets go when its standard input ends.
"""

from __future__ import annotations

import ctypes
import os
import sys

PTRACE_ATTACH = 16
WALL = 0x40000000
"""``__WALL`` of waitpid(2): a traced thread is no child, but is waited for as one."""


def hold(pid: int) -> None:
    """Attach to every thread, and wait until each has stopped."""
    libc = ctypes.CDLL(None, use_errno=True)
    for tid in map(int, os.listdir(f"/proc/{pid}/task")):
        if libc.ptrace(PTRACE_ATTACH, tid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(tid, WALL)


if __name__ == "__main__":
    hold(int(sys.argv[1]))
    os.write(1, b"holding\n")
    sys.stdin.read()
