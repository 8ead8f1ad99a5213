"""What keeps a process that runs from answering: used-up limits, and an exit that has begun.

In: the roster entry, the looks, the details. Out: each obstacle in words. The rule this module keeps: it
names only what was read; a limit that could not be read is no obstacle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oobdump.outside.look import Look
from oobdump.store.roster import EXITING, Entry

__all__ = ["obstacles"]

NEARLY = 0.98
"""Of a limit on memory: who wants a megabyte more gets none."""


def obstacles(entry: Entry | None, looks: Sequence[Look], details: Mapping[str, Any]) -> tuple[str, ...]:
    """All that can be seen."""
    return tuple(_found(entry, looks, details))


def _found(entry: Entry | None, looks: Sequence[Look], details: Mapping[str, Any]) -> Iterator[str]:
    if entry is not None and (entry.ended or {}).get("how") == EXITING:
        yield "it has begun to exit, and hangs in that"
    limits = details.get("limits") or {}
    opened, may = (details.get("descriptors") or {}).get("open"), _soft(limits, "Max open files")
    if isinstance(opened, int) and may is not None and opened >= may:
        yield f"it is out of descriptors ({opened} of {may} are open)"
    space, most = _kib(looks, "VmSize"), _soft(limits, "Max address space")
    if most and space >= NEARLY * most:
        yield f"its address space is used up ({space} of {most} bytes)"


def _soft(limits: Mapping[str, Any], name: str) -> int | None:
    word = (limits.get(name) or {}).get("soft", "")
    return int(word) if isinstance(word, str) and word.isdecimal() else None


def _kib(looks: Sequence[Look], field: str) -> int:
    word = looks[-1].status.get(field, "").split(" ")[0] if looks else ""
    return int(word) * 1024 if word.isdecimal() else 0
