"""The few kernel calls that Python's standard library does not have; the only user of ctypes.

In: plain numbers. Out: descriptors and plain values; ``OSError`` where the kernel says no.
``AVAILABLE`` is False elsewhere than on Linux, and nothing here may then be called.
Nothing here blocks, and nothing here allocates an object the garbage collector tracks
beyond what the call itself returns.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
from collections.abc import Iterable

__all__ = [
    "AVAILABLE",
    "add_watch",
    "harmless_action",
    "has_ended",
    "inotify",
    "memory_at",
    "name_thread",
    "pending_signals",
    "pidfd_exit_status",
    "sigaction_get",
    "sigaction_handler",
    "sigaction_set",
    "signalfd",
]

AVAILABLE = sys.platform == "linux"

_libc = ctypes.CDLL(None, use_errno=True) if AVAILABLE else None

_SIGSET_BYTES = 128
"""``sigset_t`` of glibc and musl: 1,024 bits."""

_SIGACTION_BYTES = 256
"""More than ``struct sigaction`` of any libc (152 on x86-64): it is kept and given back whole."""

_PR_SET_NAME = 15

_PIDFD_INFO_BYTES = 64
"""The first version of ``struct pidfd_info``, which every later kernel fills too (linux/pidfd.h)."""

_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO_BYTES << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_CODE = slice(60, 64)

IN_ATTRIB = 0x00000004
IN_CLOSE_WRITE = 0x00000008
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE_SELF = 0x00000400
IN_MOVE_SELF = 0x00000800
IN_ONLYDIR = 0x01000000


def signalfd(signums: Iterable[int], descriptor: int = -1) -> int:
    """A non-blocking descriptor that becomes readable while one of ``signums`` is pending and blocked.

    Given an existing one, changes the signals that it stands for.
    """
    mask = (ctypes.c_ubyte * _SIGSET_BYTES)()
    for signum in signums:
        mask[(signum - 1) // 8] |= 1 << ((signum - 1) % 8)
    return _checked(_libc.signalfd(descriptor, mask, os.O_NONBLOCK | os.O_CLOEXEC), "signalfd")  # type: ignore[union-attr]


def memory_at(address: int, size: int, owner: object) -> memoryview:
    """So many bytes of this process's memory as they are, without a copy; the view keeps ``owner`` alive.

    Only to be written to a descriptor: the kernel says EFAULT where the memory has gone meanwhile.
    """
    block = (ctypes.c_ubyte * size).from_address(address)
    block.owner = owner  # type: ignore[attr-defined]
    return memoryview(block).cast("B")


def inotify() -> int:
    """A non-blocking inotify descriptor; ``OSError`` (EMFILE) when the user's instances are used up."""
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")  # type: ignore[union-attr]


def add_watch(descriptor: int, path: str, mask: int) -> int:
    """Watches a directory; asking again for the same directory changes nothing."""
    return _checked(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask), "inotify_add_watch", path)  # type: ignore[union-attr]


def sigaction_get(signum: int) -> bytes:
    """The signal's whole disposition, C handlers included, as an opaque value for ``sigaction_set``."""
    buffer = ctypes.create_string_buffer(_SIGACTION_BYTES)
    _checked(_libc.sigaction(signum, None, buffer), "sigaction")  # type: ignore[union-attr]
    return buffer.raw


def sigaction_set(signum: int, action: bytes) -> None:
    """Puts a disposition back that ``sigaction_get`` returned."""
    buffer = ctypes.create_string_buffer(action, _SIGACTION_BYTES)
    _checked(_libc.sigaction(signum, buffer, None), "sigaction")  # type: ignore[union-attr]


def sigaction_handler(signum: int) -> int:
    """The address of the C function that the kernel would call: 0 default, 1 ignored."""
    return int.from_bytes(sigaction_get(signum)[: ctypes.sizeof(ctypes.c_void_p)], sys.byteorder)


def harmless_action() -> bytes:
    """A disposition that calls a C function which does nothing: system calls that it interrupts return early.

    The function is ``abs``: it takes the signal's number, and touches nothing.
    """
    address = ctypes.cast(_libc.abs, ctypes.c_void_p).value or 0  # type: ignore[union-attr]
    return address.to_bytes(ctypes.sizeof(ctypes.c_void_p), sys.byteorder)


def pending_signals() -> set[int]:
    """The signals that wait for this thread or its process."""
    return {int(signum) for signum in signal.sigpending()}


def has_ended(pidfd: int) -> bool:
    """Whether the process behind a pidfd is gone, taken by its parent or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def name_thread(name: str) -> None:
    """Names the calling thread for ``/proc/<pid>/task/<tid>/comm``: the kernel keeps 15 bytes."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, name.encode("ascii", "replace"), 0, 0, 0)


def pidfd_exit_status(descriptor: int) -> int | None:
    """How the process behind a pidfd ended, as ``waitpid`` would say; None while it runs or nobody has waited for it.

    Needs no right over the process and no kinship with it, but Linux 6.15; None on an older kernel.
    """
    info = bytearray(_PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder).ljust(_PIDFD_INFO_BYTES, b"\0"))
    try:
        fcntl.ioctl(descriptor, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    known = int.from_bytes(info[:8], sys.byteorder) & _PIDFD_INFO_EXIT
    return int.from_bytes(info[_EXIT_CODE], sys.byteorder) if known else None


def _checked(result: int, call: str, path: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", path)
    return result
