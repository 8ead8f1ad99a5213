"""A decoded value as lines that a person reads; pure.

In: plain values (what a JSON reader gives). Out: an outline: one line a key, list items behind
dashes, small lists and objects on one line, a text of several lines as such. The rule only this
module keeps: each line is harmless to a terminal, and no value is too deep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from oobdump.report.harmless import harmless

__all__ = ["MAX_DEPTH", "pretty"]

MAX_DEPTH = 40
"""Levels that are laid out (and calls that are nested); what is below stands on one line."""

_STEP = "  "
_DASH = "- "


def pretty(value: Any, width: int = 80) -> Iterator[str]:
    """The lines, without line ends."""
    return (harmless(line) for line in _outline(value, width, MAX_DEPTH))


def _outline(value: Any, width: int, depth: int) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value:
        yield from value.splitlines()
    elif _fits(value, width) or not depth:
        yield _flat(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _under(key if str(key).isidentifier() else _flat(key), item, width, depth)
    else:
        for item in value:
            lines = _outline(item, width - len(_DASH), depth - 1)
            yield _DASH + next(lines)
            yield from (_STEP + line for line in lines)


def _under(key: str, item: Any, width: int, depth: int) -> Iterator[str]:
    if _fits(item, width - len(f"{key}: ")):
        yield f"{key}: {_flat(item)}"
    else:
        yield f"{key}:"
        yield from (_STEP + line for line in _outline(item, width - len(_STEP), depth - 1))


def _fits(value: Any, width: int) -> bool:
    """Whether a value stands on one line: a container only if it is small and holds no other."""
    if not isinstance(value, (dict, list)):
        return not (isinstance(value, str) and "\n" in value)
    items = value.values() if isinstance(value, dict) else value
    if any((isinstance(item, (dict, list)) and item) or (isinstance(item, str) and "\n" in item) for item in items):
        return False
    return not value or len(_flat(value)) <= width


def _flat(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "… (nested too deep to be shown: --raw has it)"
