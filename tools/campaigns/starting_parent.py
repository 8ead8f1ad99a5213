"""A program that makes Python children in five ways, one after the other: under ``oobdump run``, for ``starts.py``.

In: how many for each way, on the command line. Out: one JSON object on stdout, ``{way: {pid: exit status}}``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable

LIVES_S = 0.05
"""Long enough to be aimed at, once it is there."""


def live() -> None:
    """What a child does."""
    time.sleep(LIVES_S)


def forked() -> tuple[int, int]:
    """By ``os.fork``; it ends as a program does, exit hooks included."""
    pid = os.fork()
    if pid == 0:
        live()
        sys.exit(0)
    return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def subprocess_() -> tuple[int, int]:
    """Another Python."""
    process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LIVES_S})"])
    return process.pid, process.wait()


def by(method: str) -> Callable[[], tuple[int, int]]:
    """By ``multiprocessing``."""

    def make() -> tuple[int, int]:
        process = multiprocessing.get_context(method).Process(target=live)  # type: ignore[attr-defined]
        process.start()
        process.join()
        return int(process.pid or 0), int(process.exitcode)

    return make


WAYS: dict[str, Callable[[], tuple[int, int]]] = {
    "os.fork": forked,
    "subprocess": subprocess_,
    "multiprocessing fork": by("fork"),
    "multiprocessing spawn": by("spawn"),
    "multiprocessing forkserver": by("forkserver"),
}


def main(children: int) -> None:
    """Make them, say how they ended."""
    statuses = {way: dict(make() for _ in range(children)) for way, make in WAYS.items()}
    print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
