"""What the kernel says of a process, read from outside: its status, its masks, one byte of its memory.

In: a pid. Out: plain values; nothing where the kernel says nothing. The rule only this module keeps: no
process is stopped or attached to, and each call returns at once on a process in any state but ``environ``
and ``maps`` of one in D state, which the deadline of the check is for.
"""

from __future__ import annotations

import os

__all__ = [
    "dumpable",
    "environ",
    "has_signal",
    "may_ptrace",
    "read_memory",
    "status",
    "threads",
    "uid",
    "yama_scope",
]

_CAP_SYS_PTRACE = 19
"""capability.h"""

_MAX_BYTES = 2**20


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(_MAX_BYTES)


def status(pid: int, thread: int | None = None) -> dict[str, str]:
    """The fields of ``status``; empty if there is no such process."""
    path = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    try:
        lines = _read(path).decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def threads(pid: int) -> list[int]:
    """The native ids of its threads; empty if it is gone."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return []


def has_signal(fields: dict[str, str], mask: str, signum: int) -> bool:
    """Whether a signal is in one of the masks ``SigCgt``, ``SigBlk``, ``SigIgn``, ``ShdPnd``."""
    return bool(int(fields.get(mask, "0"), 16) >> (signum - 1) & 1)


def environ(pid: int) -> dict[str, str] | None:
    """The environment that it was started with; None if it may not be read."""
    try:
        entries = _read(f"/proc/{pid}/environ").decode("utf-8", "replace").split("\0")
    except OSError:
        return None
    return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)


def uid(pid: int) -> int | None:
    """Its effective uid."""
    words = status(pid).get("Uid", "").split()
    return int(words[1]) if len(words) > 1 else None


def dumpable(pid: int) -> bool | None:
    """Whether the kernel lets others read it: files of a process that is not dumpable belong to root (proc(5)).

    None for a process of root's, whose files belong to root anyway.
    """
    owner = uid(pid)
    try:
        return None if owner in (None, 0) else os.stat(f"/proc/{pid}/environ").st_uid == owner
    except OSError:
        return None


def yama_scope() -> int | None:
    """``kernel.yama.ptrace_scope``; None where there is no Yama."""
    try:
        return int(_read("/proc/sys/kernel/yama/ptrace_scope"))
    except (OSError, ValueError):
        return None


def may_ptrace() -> bool:
    """Whether this process has the capability SYS_PTRACE."""
    return bool(int(status(os.getpid()).get("CapEff", "0"), 16) >> _CAP_SYS_PTRACE & 1)


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
