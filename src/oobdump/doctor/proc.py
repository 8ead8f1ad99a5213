"""What the kernel lets others see of a process: its environment, one byte of its memory.

In: a pid. Out: plain values; nothing where the kernel says nothing. The rule only this module keeps: no
process is stopped or attached to, and each call returns at once on a process in any state but ``environ``
and ``maps`` of one in D state, which the deadline of the check is for.
"""

from __future__ import annotations

import os

from oobdump.process_status import effective_uid, status

__all__ = ["dumpable", "environ", "read_memory"]

_MAX_BYTES = 2**20


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(_MAX_BYTES)


def environ(pid: int) -> dict[str, str] | None:
    """The environment that it was started with; None if it may not be read."""
    try:
        entries = _read(f"/proc/{pid}/environ").decode("utf-8", "replace").split("\0")
    except OSError:
        return None
    return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)


def dumpable(pid: int) -> bool | None:
    """Whether the kernel lets others read it: files of a process that is not dumpable belong to root (proc(5)).

    None for a process of root's, whose files belong to root anyway.
    """
    owner = effective_uid(status(pid))
    try:
        return None if owner in (None, 0) else os.stat(f"/proc/{pid}/environ").st_uid == owner
    except OSError:
        return None


def read_memory(pid: int) -> OSError | None:
    """Reads one byte of its memory; why not, or None."""
    try:
        first = int(_read(f"/proc/{pid}/maps").split(b"-", 1)[0] or b"0", 16)
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.pread(descriptor, 1, first)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error
    except ValueError:
        return PermissionError(1, "its memory map is empty")
    return None
