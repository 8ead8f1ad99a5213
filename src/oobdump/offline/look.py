"""What the files of a directory are, by their first bytes, and which rank each is of, by its name.

In: a file or a directory, from anywhere. Out: ``Family`` values: files whose names differ in their
numbers only, as a job leaves them. The rule only this module keeps: a file is opened without
waiting (no FIFO, no device, no link), its beginning is looked at, and one that is empty or foreign
stays in the family that its name puts it in, so that its rank is reported.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from oobdump.store.atomic import read_head

__all__ = ["Family", "Kind", "families", "rank_in"]

Kind = Literal["recorder", "pyspy", "stacks", "unknown"]

HEAD_BYTES = 4096

MAX_FILES = 2**18
"""More than the largest job leaves; a directory with more is not one that was made for this."""

MAX_DEPTH = 4
"""Directories of hosts in directories of days: deeper, somebody gave the wrong path."""

_NAME = re.compile(r"(?P<prefix>.*?)(?P<rank>[0-9]{1,9})(?P<suffix>(?:\.[A-Za-z][A-Za-z0-9-]*)*)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]+")

_PICKLE = b"\x80"
_RECORDER = re.compile(rb'"(?:comm_lib_version|pg_config|pg_status|entries|nccl_comm_state)"')
_STACKS = re.compile(rb'"(?:taken_at|threads)"')
_PYSPY = re.compile(rb'\[\s*(?:\{[^{}]*"pid"|\])')


@dataclass(frozen=True)
class Family:
    """Files that belong together: of what kind, and each with its rank, rising."""

    kind: Kind
    name: str
    files: tuple[tuple[int, str], ...]


def families(path: str) -> list[Family]:
    """The families below ``path`` (or the one file), the largest first."""
    found: dict[str, list[tuple[int, str, Kind]]] = {}
    for file in _files(path):
        name = _NAME.fullmatch(os.path.basename(file))
        rank, family = (int(name["rank"]), _family(name)) if name else (0, os.path.basename(file))
        found.setdefault(family, []).append((rank, file, _kind(file)))
    made = [_made(name, members) for name, members in found.items()]
    return sorted(made, key=lambda each: (-len(each.files), each.name))


def rank_in(name: str) -> int | None:
    """The rank that a file's name ends with, before its suffixes."""
    match = _NAME.fullmatch(name)
    return int(match["rank"]) if match else None


def _family(name: re.Match[str]) -> str:
    """The name with ``N`` for its rank and ``M`` for other numbers, such as a node's."""
    return f"{_NUMBER.sub('M', name['prefix'])}N{name['suffix']}"


def _made(name: str, members: list[tuple[int, str, Kind]]) -> Family:
    kinds = Counter(kind for _, _, kind in members if kind != "unknown")
    kind: Kind = kinds.most_common(1)[0][0] if kinds else "unknown"
    return Family(kind, name, tuple(sorted((rank, file) for rank, file, _ in members)))


def _files(path: str) -> Iterator[str]:
    """Every file below a directory that is not hidden, or the path itself."""
    if not os.path.isdir(path):
        yield path
        return
    count = 0
    for place, inner, names in os.walk(path):
        depth = place[len(path) :].count(os.sep)
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if depth < MAX_DEPTH else []
        for name in sorted(names):
            if not name.startswith("."):
                count += 1
                yield os.path.join(place, name)
        if count > MAX_FILES:
            return


def _kind(path: str) -> Kind:
    head = read_head(path, HEAD_BYTES)
    if head[:1] == _PICKLE:
        return "recorder"
    text = head.lstrip()
    if text[:1] == b"{":
        return "recorder" if _RECORDER.search(text) else "stacks" if _STACKS.search(text) else "unknown"
    return "pyspy" if _PYSPY.match(text) else "unknown"
