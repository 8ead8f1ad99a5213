"""The kernel refuses ``socket()`` from before ``start()`` on: ``wait_without_sockets``.

A seccomp filter (seccomp(2)) answers the system call with EPERM, as a strict container does.
"""

from __future__ import annotations

import errno
import socket

from _program import arm, held_lock, ready, refuse_system_call

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}


def forbid_sockets() -> None:
    """Install the filter, and see that it holds."""
    refuse_system_call(SOCKET_CALL, errno.EPERM)
    try:
        socket.socket()
    except PermissionError:
        return
    raise AssertionError("the filter does not hold")


def wait_without_sockets() -> None:
    """Hang with no way to listen."""
    lock = held_lock()
    ready()
    lock.acquire()


if __name__ == "__main__":
    forbid_sockets()
    arm()
    wait_without_sockets()
