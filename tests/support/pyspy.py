"""What py-spy sees of a process, without pausing it.

In: a pid. Out: its threads, or the names of the functions on their stacks. Rule kept here: a look
that fails is tried again, because reading a busy process without pausing it fails now and then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["PY_SPY", "functions", "spied"]

ATTEMPTS = 20
WITHIN_S = 20.0

PY_SPY = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
"""The program; None if it is not installed."""


def spied(pid: int) -> list[dict[str, Any]] | None:
    """One look at all threads of a process, without pausing it; None if the look failed."""
    command = [str(PY_SPY), "dump", "--json", "--nonblocking", "--pid", str(pid)]
    found = subprocess.run(command, capture_output=True, timeout=WITHIN_S, check=False)
    return json.loads(found.stdout) if found.returncode == 0 else None


def functions(pid: int, *, main_only: bool = False) -> set[str]:
    """The names, without their classes, of the functions on the stacks of a process or of its main thread.

    The main thread goes by its name, or is the only one: without pausing it, ``py-spy`` knows no thread ids before
    3.11, and at the end of the interpreter the names are gone.
    """
    for _ in range(ATTEMPTS):
        threads = spied(pid)
        if threads is not None:
            chosen = [
                thread
                for thread in threads
                if not main_only or thread["thread_name"] == "MainThread" or len(threads) == 1
            ]
            return {frame["name"].rpartition(".")[2] for thread in chosen for frame in thread["frames"]}
    raise AssertionError(f"py-spy never managed to read {pid}")
