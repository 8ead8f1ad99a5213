"""What every program here does first and last: arm itself, and announce that it hangs.

In: ``READY_FIFO`` (where to announce), ``RELEASE_FIFO`` (how some are let go again) and
``PROGRAM_BARE=1`` (do not start oobdump), all from the environment. Out: one line
``ready <pid> <rank>`` in the FIFO, with ``-`` for no rank.

The announcement is the last thing before the hang; ``tests/support/programs.py`` then
watches ``/proc`` until the hang is there. Only descriptors are used here, no file
objects: an announcement leaves no lock and no buffer behind.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading
from collections.abc import Callable, Mapping

BARE = os.environ.get("PROGRAM_BARE") == "1"
MUTEX_BYTES = 128
"""``pthread_mutex_t`` has 40 bytes on x86-64, 48 on aarch64; all zero is an unlocked mutex."""


def arm() -> None:
    """Start oobdump as a user would, unless the program runs bare; then, perhaps, another tool (``_peers``)."""
    if not BARE:
        import oobdump  # a bare program runs without it

        oobdump.start()
    elif peer := os.environ.get("PROGRAM_PEER"):
        import _peers

        _peers.arm_for(peer)


def ready() -> None:
    """Announce this process, without waiting for a reader; the next call is the hang."""
    path = os.environ.get("READY_FIFO")
    if path is None:
        return
    line = f"ready {os.getpid()} {os.environ.get('RANK', '-')}\n"
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, line.encode())
    os.close(fd)


def wait_until_released() -> None:
    """Block, with the GIL released, until the test writes to ``RELEASE_FIFO``."""
    fd = os.open(os.environ["RELEASE_FIFO"], os.O_RDONLY)
    os.read(fd, 1)
    os.close(fd)


def tempt(fall_in: Callable[[], object]) -> None:
    """Have a thread call this once ``RELEASE_FIFO`` is written: it proves that the trap is set.

    To be called before the trap is.
    """
    if "RELEASE_FIFO" in os.environ:
        threading.Thread(target=_fall_when_released, args=(fall_in,), name="tempted", daemon=True).start()


def _fall_when_released(fall_in: Callable[[], object]) -> None:
    wait_until_released()
    fall_in()


def held_lock() -> threading.Lock:
    """A lock that is taken already: to acquire it is to wait for ever."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def held_mutex() -> ctypes.Array[ctypes.c_char]:
    """A C mutex that this thread holds: to lock it again is to wait in C for ever."""
    mutex = ctypes.create_string_buffer(MUTEX_BYTES)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    return mutex


PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def refuse_system_call(numbers: Mapping[str, int], error: int) -> None:
    """Have the kernel answer a system call with ``error`` from here on (seccomp(2)); ``numbers`` by machine."""
    lines = [
        (LOAD_WORD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, numbers[platform.machine()]),
        (RETURN, 0, 0, REFUSE | error),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
