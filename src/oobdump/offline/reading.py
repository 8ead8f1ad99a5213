"""Everything that a path holds, for ``oobdump diagnose --from``.

In: a file or directory that was left or copied: PyTorch's recorder pickles (torchfrtrace's input)
or JSON, ``py-spy dump --json`` files, ``stacks`` parts, or dumps of oobdump. Out: ``Offline``. The
rules only this module keeps: of each rank and each kind one file counts, and whatever is not read
is said, with its rank where its name has one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oobdump.errors import DamagedDump, StoreError
from oobdump.job.calls import Pool
from oobdump.job.collectives import TraceProblem
from oobdump.job.pyspy import parse_pyspy
from oobdump.job.stacks import Problem, WorkerStacks, parse_stacks
from oobdump.job.trace import RankTrace
from oobdump.offline.copies import copy_at
from oobdump.offline.look import Family, Kind, families
from oobdump.offline.recorders import read_recorders
from oobdump.request import AcceptedRequest
from oobdump.store import reader
from oobdump.store.atomic import read_bounded
from oobdump.store.layout import Layout
from oobdump.store.reader import Dump

__all__ = ["Offline", "read"]

MAX_STACKS_BYTES = 2**26
"""Of one process's stacks: a thousand threads of a thousand frames have half of it."""

MAX_NOTES = 20
"""Lines on what was left out: a wrong directory would give one for each of its files."""


@dataclass(frozen=True)
class Offline:
    """What a path holds.

    ``dumps`` are oobdump's own, of request ``request_id`` of ``layout``; ``accepted`` is that
    request where it was copied too. ``notes`` say what was left out, and why.
    """

    path: str
    traces: tuple[RankTrace | TraceProblem, ...] = ()
    stacks: tuple[WorkerStacks | Problem, ...] = ()
    layout: Layout | None = None
    request_id: str = ""
    accepted: AcceptedRequest | None = None
    dumps: tuple[Dump, ...] = ()
    notes: tuple[str, ...] = ()


def read(path: str, *, request_id: str | None = None, pool: Pool | None = None) -> Offline:
    """Reads it. Raises ``StoreError`` if there is nothing there that could be read."""
    if not os.path.lexists(path):
        raise StoreError(f"{path} does not exist: --from takes a file or a directory")
    copy = copy_at(path, request_id)
    if copy is not None:
        return _dumps(path, copy.layout, copy.request_id, copy.only)
    found = families(path)
    if not any(family.kind != "unknown" for family in found):
        raise StoreError(
            f"{path} holds nothing that could be read: --from takes dumps of oobdump, flight recorder files "
            "(<prefix><rank>), or files of `py-spy dump --json`"
        )
    recorders, notes = _chosen(found, ("recorder",))
    stacks, more = _chosen(found, ("pyspy", "stacks"))
    unknown = [f"{each.name}: {len(each.files)} files of another kind" for each in found if each.kind == "unknown"]
    return Offline(
        path,
        traces=tuple(read_recorders([file for _, file in recorders], pool=pool)),
        stacks=tuple(_stacks(kind, rank, file) for kind, (rank, file) in stacks),
        notes=tuple([*notes, *more, *unknown][:MAX_NOTES]),
    )


def _dumps(path: str, layout: Layout, request_id: str, only: str | None) -> Offline:
    notes: list[str] = []
    accepted = None
    try:
        accepted = reader.open_request(layout, request_id)
    except DamagedDump as error:
        notes.append(str(error))
    dumps = reader.dumps(layout, request_id) if only is None else [reader.read_dump(layout, request_id, only)]
    return Offline(
        path, layout=layout, request_id=request_id, accepted=accepted, dumps=tuple(dumps), notes=tuple(notes)
    )


def _chosen(found: Iterable[Family], kinds: tuple[Kind, ...]) -> tuple[list[tuple[Kind, tuple[int, str]]], list[str]]:
    """One file a rank: of the largest family that has it."""
    files: dict[int, tuple[Kind, tuple[int, str]]] = {}
    notes = []
    for family in found:
        if family.kind not in kinds:
            continue
        new = {rank: (family.kind, (rank, file)) for rank, file in family.files if rank not in files}
        if left_out := len(family.files) - len(new):
            notes.append(f"{family.name}: {left_out} left out, for ranks that other files tell of")
        files |= new
    return [files[rank] for rank in sorted(files)], notes


def _stacks(kind: Kind, rank: int, path: str) -> WorkerStacks | Problem:
    worker = os.path.basename(path)
    try:
        document = json.loads(read_bounded(path, MAX_STACKS_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        return Problem(worker, rank, f"{path}: {str(error)[:200]}")
    return _PARSERS[kind](worker, rank, document)


_PARSERS: dict[Kind, Callable[[str, int | None, object], WorkerStacks | Problem]] = {
    "pyspy": parse_pyspy,
    "stacks": parse_stacks,
}
