"""Which ranks are in which process group, as ``torch.distributed`` wrote it down: ``process_groups``.

In: the tables of ``torch.distributed.distributed_c10d``, if it is loaded. Out: plain data, a
folded rank set for each group. The rule only this module keeps: no group is called or held, for
its backend may hang, and whoever holds a group last runs its destructor, which joins threads. The
flight recorder names the groups too, but on Gloo it does not know who is in them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from oobdump.handlers.plain import text
from oobdump.handlers.torch_objects import NotInTorch, c10d
from oobdump.identity import now_iso

__all__ = ["process_groups"]

_TABLES = "torch.distributed.distributed_c10d"
_NAMES, _RANKS, _BACKENDS = "_pg_names", "_pg_group_ranks", "_pg_backend_config"

_MAX_GROUPS = 10_000
"""More than ranks times kinds of parallelism on one rank of any job."""


def process_groups() -> dict[str, Any]:
    """The process groups of this rank: name, backend, and its members as ranks of the job."""
    c10d()
    module = sys.modules.get(_TABLES)
    names, ranks = _table(module, _NAMES), _table(module, _RANKS)
    if names is None or ranks is None:
        raise NotInTorch("this PyTorch keeps no table of process groups where this oobdump looks for it")
    backends = _table(module, _BACKENDS) or {}
    return {
        "schema_version": 1,
        "pid": os.getpid(),
        "taken_at": now_iso(),
        "groups": [
            {
                "name": text(str(name)),
                "backend": text(str(backends.get(group, ""))),
                "ranks": _folded(ranks.get(group, ())),
                "size": len(ranks.get(group, ())),
            }
            for group, name in list(names.items())[:_MAX_GROUPS]
        ],
    }


def _table(module: Any, name: str) -> Mapping[int, Any] | None:
    """One table by the address of each group. C code alone runs: nothing can remove a group meanwhile."""
    found = getattr(module, name, None)
    return dict(zip(map(id, found), found.values(), strict=True)) if type(found) is dict else None


def _folded(ranks: Iterable[Any]) -> str:
    """``0-3,8``: a job of ten thousand ranks has groups of as many."""
    runs: list[list[int]] = []
    for rank in sorted(rank for rank in ranks if type(rank) is int):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
