"""Processes that never entered a roster: whether one is a Python program, and what to call it.

In: a pid. Out: a worker's name, or in words why it is not looked at. The rule this module keeps: what
may hang on a process in D state is read on a thread that may be lost.
"""

from __future__ import annotations

import os

from oobdump.identity import Machine, name_of
from oobdump.outside.rungs import bounded

__all__ = ["is_python", "name_of_stranger"]

_WITHIN_S = 1.0


def name_of_stranger(pid: int) -> str:
    """What it would be called if it were armed, without a rank: what it holds itself for is not asked."""
    return name_of(None, Machine.here().host, pid)


def is_python(pid: int) -> bool | None:
    """Whether a Python interpreter runs in it, as far as its program and its libraries tell; None: not allowed to see.

    One that hangs where its memory is locked is taken for one by its program's name alone.
    """
    try:
        if "python" in os.path.basename(os.readlink(f"/proc/{pid}/exe")):
            return True
        return bounded(lambda: _has_library(pid), _WITHIN_S)
    except PermissionError:
        return None
    except OSError:
        return False


def _has_library(pid: int) -> bool:
    with open(f"/proc/{pid}/maps", "rb") as file:
        return any(b"libpython" in line for line in file)
