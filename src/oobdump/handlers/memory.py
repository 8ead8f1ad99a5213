"""Who holds the memory: the collector's counts, allocation sites if traced, sizes from the kernel.

In: ``gc``, ``tracemalloc`` and ``/proc/self/status``. Out: plain data. The rules this module keeps:
objects are counted by type and never looked into, and only when asked, because the list of all of
them holds the GIL for as long as it takes to make; sources are not read for allocation sites.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections import Counter
from typing import Any

from oobdump.errors import ParameterError
from oobdump.handlers.plain import Readings, text, type_name
from oobdump.handlers.process import memory_sizes
from oobdump.identity import now_iso

__all__ = ["memory"]

_MAX_TOP = 1000
"""Lines of one table: more is a database."""


def memory(*, top: int = 25, objects: bool = False) -> dict[str, Any]:
    """The garbage collector's counts, tracemalloc's top lines if it traces, objects by type if asked."""
    if not 0 <= top <= _MAX_TOP:
        raise ParameterError(f"Invalid value for top valid values are 0 to {_MAX_TOP}")
    readings = Readings()
    found = {
        "sizes": readings.take("sizes", memory_sizes),
        "collector": readings.take("collector", _collector),
        "allocated_blocks": readings.take("allocated_blocks", sys.getallocatedblocks),
        "tracemalloc": readings.take("tracemalloc", lambda: _traced(top)),
        "objects": readings.take("objects", lambda: _objects(top)) if objects else None,
    }
    return {"schema_version": 1, "pid": os.getpid(), "taken_at": now_iso(), **found, "problems": readings.problems}


def _collector() -> dict[str, Any]:
    return {
        "enabled": gc.isenabled(),
        "counts": [*gc.get_count()],
        "thresholds": [*gc.get_threshold()],
        "generations": gc.get_stats(),
        "frozen": gc.get_freeze_count(),
        "uncollectable": len(gc.garbage),
    }


def _objects(top: int) -> dict[str, Any]:
    """Tracked objects by type, most frequent first.

    Counted by the type's address: the hash of a type is its metaclass's business.
    """
    kinds = [*map(type, gc.get_objects())]  # the objects themselves are let go of at once
    types = {id(kind): kind for kind in kinds}
    counts: Counter[str] = Counter()
    for ident, count in Counter(map(id, kinds)).items():
        counts[type_name(types[ident])] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))  # most_common() imports heapq
    most = [{"type": name, "count": count} for name, count in ordered[:top]]
    return {"total": len(kinds), "by_type": most}


def _traced(top: int) -> dict[str, Any]:
    """Traced bytes by line, largest first."""
    if not tracemalloc.is_tracing():
        return {"tracing": False, "top": []}
    now, peak = tracemalloc.get_traced_memory()
    lines = tracemalloc.take_snapshot().statistics("lineno")[:top]
    entries = [
        {"file": text(place.filename), "line": place.lineno, "bytes": line.size, "blocks": line.count}
        for line in lines
        for place in line.traceback
    ]
    return {"tracing": True, "traced_bytes": now, "peak_bytes": peak, "top": entries}
