"""The kernel refuses ``socket()`` from before ``start()`` on: ``wait_without_sockets``.

A seccomp filter (seccomp(2)) answers the system call with EPERM, as a strict container does.
"""

from __future__ import annotations

import ctypes
import platform
import socket
import struct

from _program import arm, held_lock, ready

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE_EPERM = 0x7FFF0000, 0x00050001


def forbid_sockets() -> None:
    """Install the filter, and see that it holds."""
    lines = [
        (LOAD_WORD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, SOCKET_CALL[platform.machine()]),
        (RETURN, 0, 0, REFUSE_EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
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
