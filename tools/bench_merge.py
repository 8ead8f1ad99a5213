"""How long it takes to merge the stacks of many ranks, from decoded values to the printed page.

In: numbers of ranks on the command line (default 10,000). Out: a table on stdout, in ms, the
best of some rounds; ``alike`` is a hung job with one odd rank, ``distinct`` the worst case of a
stack for each rank.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from oobdump.job.merge import Merged, build
from oobdump.job.plain import merged_to_plain
from oobdump.job.stacks import parse_stacks
from oobdump.report.text import render

DEPTH = 31
"""Frames of a stack: what a training loop under torchrun has."""

ROUNDS = 3

STEPS = ("parse", "merge", "text", "plain")
"""``merge`` is ``build`` with tree, classes and outliers: what the promise of 0.1 s is about."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 always."""
    parser = argparse.ArgumentParser(description="time the merging of stacks over ranks")
    parser.add_argument("ranks", nargs="*", type=int, default=[10_000], help="how many ranks (default: 10000)")
    ranks = parser.parse_args(argv).ranks
    print(f"{'ranks':>9}  {'stacks':<9}" + "".join(f"{step + ' ms':>10}" for step in STEPS))
    for count in ranks:
        for name, line_of in (("alike", _alike), ("distinct", _distinct)):
            best = [min(times) for times in zip(*(_round(count, line_of) for _ in range(ROUNDS)), strict=True)]
            print(f"{count:>9,}  {name:<9}" + "".join(f"{seconds * 1000:>10.1f}" for seconds in best), flush=True)
    return 0


def _round(count: int, line_of: Callable[[int], int]) -> list[float]:
    """Seconds of each step, each rank's value made anew as a decoder makes it."""
    gc.collect()
    values = [_value(rank, line_of(rank)) for rank in range(count)]
    begin = time.perf_counter()
    workers = [
        parse_stacks(f"rank{rank:05d}.node{rank // 8}.{rank + 2}", rank, each) for rank, each in enumerate(values)
    ]
    parsed = time.perf_counter()
    merged = build(workers)
    _look(merged)
    together = time.perf_counter()
    for _ in render(merged):
        pass
    shown = time.perf_counter()
    merged_to_plain(merged)
    return [parsed - begin, together - parsed, shown - together, time.perf_counter() - shown]


def _look(merged: Merged) -> None:
    """Everything that a reader of a merge asks for first; it is worked out when it is asked for."""
    for tree in merged.trees.values():
        len(tree.nodes)
    len(merged.outliers)


def _value(rank: int, line: int) -> dict[str, Any]:
    site = "/opt/venv/lib/python3.11/site-packages/torch/"
    frames = [
        {"file": f"{site}module{depth % 7}.py", "line": depth, "function": f"forward_{depth}"} for depth in range(DEPTH)
    ]
    frames[-1] = {"file": "/work/train.py", "line": line, "function": "train_step"}
    thread = {"name": "MainThread", "ident": 1, "native_id": rank + 2, "daemon": False, "main": True, "ours": False}
    thread |= {"frames": frames, "omitted_frames": 0}
    return {"schema_version": 1, "pid": rank + 2, "taken_at": "", "python": "3.11.7", "threads": [thread]}


def _alike(rank: int) -> int:
    return 85 if rank == 1 else 71


def _distinct(rank: int) -> int:
    return rank


if __name__ == "__main__":
    sys.exit(main())
