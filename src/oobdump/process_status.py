"""What ``status`` in ``/proc`` says of a process: its signals, its owner, what it may do (proc(5)).

In: a pid, or the fields of one look. Out: plain values; nothing where the kernel says nothing. The rule
only this module keeps: no process is stopped or attached to, and every call returns at once on a process
in any state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["effective_uid", "has_signal", "may_ptrace", "signals", "status", "takes", "threads", "yama_scope"]

_CAP_SYS_PTRACE = 19
"""capability.h"""

_MAX_BYTES = 2**16
"""A ``status`` has about 1,500; the list of its groups may be long."""

_YAMA = "/proc/sys/kernel/yama/ptrace_scope"


def status(pid: int, thread: int | None = None) -> dict[str, str]:
    """The fields of a process's or a thread's ``status``; empty if there is no such one."""
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


def signals(fields: Mapping[str, str], *masks: str) -> int:
    """The signals that are in any of these masks (``SigCgt``, ``SigBlk``, ``SigIgn``, ``SigPnd``, ``ShdPnd``)."""
    found = 0
    for mask in masks:
        found |= int(fields.get(mask, "0"), 16)
    return found


def has_signal(fields: Mapping[str, str], mask: str, signum: int) -> bool:
    """Whether a signal is in one of the masks."""
    return bool(signals(fields, mask) >> (signum - 1) & 1)


def takes(pid: int, signum: int) -> bool:
    """Caught, or blocked in every thread: one that does not block it would let it in, and end the process."""
    if has_signal(status(pid), "SigCgt", signum):
        return True
    there = [fields for fields in (status(pid, thread) for thread in threads(pid)) if fields]
    return bool(there) and all(has_signal(fields, "SigBlk", signum) for fields in there)


def effective_uid(fields: Mapping[str, str]) -> int | None:
    """Its effective uid."""
    words = fields.get("Uid", "").split()
    return int(words[1]) if len(words) > 1 else None


def may_ptrace(fields: Mapping[str, str]) -> bool:
    """Whether it has the capability SYS_PTRACE."""
    return bool(int(fields.get("CapEff", "0"), 16) >> _CAP_SYS_PTRACE & 1)


def yama_scope() -> int | None:
    """``kernel.yama.ptrace_scope``; None where there is no Yama."""
    try:
        return int(_read(_YAMA))
    except (OSError, ValueError):
        return None


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(_MAX_BYTES)
