"""How long it takes to merge the stacks of many ranks, from their JSON parts to the printed page.

In: numbers of ranks on the command line (default 10,000 and 100,000); ``--disk`` for jobs whose
dumps are read from a directory first. Out: a table on stdout, in ms of processor time (a busy
machine changes it least), the best of some rounds; ``alike`` is a hung job with one odd rank,
``distinct`` the worst case of a stack for each rank.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from oobdump.identity import Identity, Machine
from oobdump.job.merge import Merged, build
from oobdump.job.plain import merged_to_plain
from oobdump.job.stack_bytes import StackBytes
from oobdump.report.text import render
from oobdump.response import Part
from oobdump.store import atomic, reader
from oobdump.store.layout import Layout
from oobdump.store.writer import DumpWriter

DEPTH = 31
"""Frames of a stack: what a training loop under torchrun has."""

ROUNDS = 3

REQUEST = "20260131T120000.000Z-0123456789"

STEPS = ("disk", "parse", "merge", "text", "plain")
"""``disk`` lists and checks dumps and reads their parts; ``merge`` is ``build`` with tree, classes and outliers."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 always."""
    parser = argparse.ArgumentParser(description="time the merging of stacks over ranks")
    parser.add_argument("ranks", nargs="*", type=int, default=[10_000, 100_000], help="how many ranks, from memory")
    parser.add_argument("--disk", nargs="*", type=int, default=[], help="how many ranks, from dumps in a directory")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the best counts")
    options = parser.parse_args(argv)
    print(f"{'ranks':>9}  {'stacks':<9}" + "".join(f"{step + ' ms':>10}" for step in (*STEPS[:4], "all", STEPS[4])))
    for count in options.ranks:
        for name, line_of in (("alike", _alike), ("distinct", _distinct)):
            _show(count, name, [_round(_parts(count, line_of)) for _ in range(options.rounds)])
    for count in options.disk:
        with tempfile.TemporaryDirectory(prefix="oobdump-merge-") as directory:
            layout = _dumped(directory, count)
            _show(count, "dumps", [_round(_read(layout)) for _ in range(options.rounds)])
    return 0


def _show(count: int, name: str, rounds: Sequence[Sequence[float]]) -> None:
    *steps, plain = (min(times) for times in zip(*rounds, strict=True))
    shown = (*steps, sum(steps), plain)  # the page and the JSON document are two ways to end
    print(f"{count:>9,}  {name:<9}" + "".join(f"{seconds * 1000:>10.1f}" for seconds in shown), flush=True)


_Part = tuple[str, int, bytes]


def _round(parts: Iterable[_Part]) -> list[float]:
    """Seconds of each step. The collector runs as it does in the command."""
    gc.collect()
    begin = time.process_time()
    read = list(parts)
    held = time.process_time()
    quick = StackBytes(json.loads)
    workers = [quick.parse(worker, rank, data) for worker, rank, data in read]
    parsed = time.process_time()
    merged = build(workers)
    _look(merged)
    together = time.process_time()
    for _ in render(merged):
        pass
    shown = time.process_time()
    merged_to_plain(merged)
    return [held - begin, parsed - held, together - parsed, shown - together, time.process_time() - shown]


def _parts(count: int, line_of: Callable[[int], int]) -> list[_Part]:
    """Each rank's part as its worker writes it."""
    return [
        (f"rank{rank:05d}.node{rank // 8}.{rank + 2}", rank, _content(rank, line_of(rank))) for rank in range(count)
    ]


def _content(rank: int, line: int) -> bytes:
    return json.dumps(_value(rank, line), separators=(",", ":")).encode()


def _dumped(directory: str, count: int) -> Layout:
    """A job whose ranks have each answered one request for stacks."""
    layout = Layout(directory, "job")
    atomic.make_tree(layout.root, layout.job_dir, layout.roster, layout.inbox, layout.dumps)
    for rank in range(count):
        writer = DumpWriter(layout, REQUEST, Identity(Machine.here(), rank + 2, 0, "job", rank, role="rank"))
        writer.claim(("stacks",), 1.0)
        content = _content(rank, _alike(rank))
        record = writer.write_part(Part("stacks", "ok", 200, "application/json", "json", content))
        writer.commit((record,), "responsive", {}, 2.0)
    return layout


def _read(layout: Layout) -> Iterator[_Part]:
    """Every dump of the request, checked against its manifest."""
    for rank, dump in enumerate(reader.dumps(layout, REQUEST)):
        yield dump.worker, rank, reader.part_bytes(dump, dump.parts[0])


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
    frames[-1] = {"file": "/code/train.py", "line": line, "function": "train_step"}
    thread = {"name": "MainThread", "ident": 1, "native_id": rank + 2, "daemon": False, "main": True, "ours": False}
    thread |= {"frames": frames, "omitted_frames": 0}
    return {"schema_version": 1, "pid": rank + 2, "taken_at": "", "python": "3.11.7", "threads": [thread]}


def _alike(rank: int) -> int:
    return 85 if rank == 1 else 71


def _distinct(rank: int) -> int:
    return rank


if __name__ == "__main__":
    sys.exit(main())
