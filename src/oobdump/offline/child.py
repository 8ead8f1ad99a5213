"""Reads flight recorders where that can do no harm: in a process of its own, with limits.

In: a line of JSON a task on stdin: files with their ranks, and the CPU seconds they may take. Out:
on stdout, for each task its length and a pickle of ``RankTrace`` and ``TraceProblem`` values. The
rule only this module keeps: whatever a file does, this process ends rather than the reader.
"""

from __future__ import annotations

import gc
import json
import pickle
import resource
import sys
from typing import Any, BinaryIO

from oobdump.bare_python import limit
from oobdump.job.calls import Pool
from oobdump.job.collectives import TraceProblem
from oobdump.job.recorder import parse_unscanned
from oobdump.job.trace import RankTrace
from oobdump.store.atomic import read_bounded

__all__ = ["LENGTH_BYTES", "MAX_FILE_BYTES", "main"]

MAX_FILE_BYTES = 2**28
"""Of one recorder: a hundred times what PyTorch's default of 2,000 entries makes."""

MAX_MEMORY_BYTES = 2**32
"""Address space: what the largest file unpacks to is far below; a bomb goes above."""

LENGTH_BYTES = 8


def main() -> None:
    """Answers tasks until stdin ends."""
    limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
    limit(resource.RLIMIT_CORE, 0)
    gc.disable()  # what is read has no cycles, and each file is let go of before the next
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(tasks: BinaryIO, answers: BinaryIO) -> None:
    """One answer for each task."""
    pool = Pool()
    for line in tasks:
        task: dict[str, Any] = json.loads(line)
        _allow(task["cpu_s"])
        data = pickle.dumps([_read(rank, path, pool) for rank, path in task["files"]], protocol=pickle.HIGHEST_PROTOCOL)
        answers.write(len(data).to_bytes(LENGTH_BYTES, "little"))
        answers.write(data)
        answers.flush()


def _allow(seconds: int) -> None:
    """From now on so many CPU seconds more; then the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _read(rank: int, path: str, pool: Pool) -> RankTrace | TraceProblem:
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        return TraceProblem(rank, path, str(error))
    return parse_unscanned(rank, data, where=path, pool=pool)
