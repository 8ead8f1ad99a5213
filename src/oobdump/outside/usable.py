"""Whether a directory takes files at all, asked by a process that may be lost.

In: a directory. Out: nothing, or in words why not. The rule only this module keeps: no thread of ours is
the first to write where nobody knows whether writing ends; one that hangs there in D state would keep this
process from ending, killed or not.
"""

from __future__ import annotations

import functools
import os
import time

from oobdump.handlers.child_process import run
from oobdump.handlers.plain import text

__all__ = ["usable"]

PROBE_S = 2.0
"""A root that takes longer for an empty file is of no use to somebody who waits."""

_SCRIPT = 'cd "$1" && : > ".probe.$$.tmp" && rm -f ".probe.$$.tmp"'


@functools.lru_cache(maxsize=64)
def usable(directory: str) -> str:
    """Why nothing can be written there; "" if it can, or if it is not there yet. Asked once for each directory.

    The directory must be one that the caller has checked to be nobody else's.
    """
    there = directory
    while there and not os.path.isdir(there):
        there = os.path.dirname(there) if there != os.path.dirname(there) else ""
    try:
        found = run(["/bin/sh", "-c", _SCRIPT, "sh", there or "/"], time.monotonic() + PROBE_S)
    except OSError as error:
        return f"{directory} could not be tried: {error}"
    if not found.ended:
        return f"{directory} does not take a file within {PROBE_S:g} s: its file system hangs"
    if found.code not in (0, None):
        return f"{directory} takes no file: {_reason(found.output)}"
    return ""


def _reason(output: bytes) -> str:
    return text(output.decode("utf-8", "replace").strip().rpartition(": ")[2] or "no reason was given", 200)
