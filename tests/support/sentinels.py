"""Sentinels from outside: who they are, what they wrote, and whether any is left; standard library only.

In: job directories and pids. Out: pids, and dumps from outside once they are there.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from support import dumps, proc

GRACE_S = 1.0
"""What the tests give a worker: it answers in milliseconds, but on a loaded machine."""


def seats(job_dir: Path) -> list[dict[str, Any]]:
    """What the sentinels of a job say of themselves."""
    found = []
    for path in sorted((job_dir / "sentinels").glob("[!.]*.json")):
        try:
            found.append(json.loads(path.read_bytes()))
        except FileNotFoundError:
            continue
    return found


def sentinel(job_dir: Path, *, other_than: int = 0) -> int:
    """The pid of the sentinel, once there is one."""

    def pid() -> int:
        living = [seat["pid"] for seat in seats(job_dir) if proc.threads(seat["pid"])]
        return living[0] if living and living[0] != other_than else 0

    return dumps.until(pid, f"a sentinel of {job_dir} other than {other_than}", 60)


def sentinels(runtime: str) -> list[int]:
    """Every process that was started as a sentinel with this runtime directory; not its children."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            leader = os.getsid(int(entry)) == int(entry)
        except (OSError, ProcessLookupError):
            continue
        if leader and os.fsencode(runtime) in b" ".join(words) and any(word.endswith(b"start.py") for word in words):
            found.append(int(entry))
    return found


def outside(job_dir: Path, count: int = 1, within_s: float = 40.0) -> list[dumps.Dump]:
    """Committed dumps from outside."""

    def enough() -> list[dumps.Dump]:
        found = [dump for dump in dumps.committed(job_dir) if dump.worker.endswith(".outside")]
        return found if len(found) >= count else []

    return dumps.until(enough, f"{count} dumps from outside in {dumps.tree(job_dir)}", within_s)


def end(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)
