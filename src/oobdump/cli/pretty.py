"""A decoded value as lines that a person reads; pure.

In: plain values (what a JSON reader gives). Out: lines like indented JSON, with two liberties:
a small list or object stays on one line, and a text of several lines is shown as such. The rule
only this module keeps: each line is harmless to a terminal, and no depth is too deep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from oobdump.report.harmless import harmless

__all__ = ["MAX_DEPTH", "pretty"]

MAX_DEPTH = 40
"""Levels that are laid out (it is also how many calls deep this goes); what is below is on one line."""

_STEP = "  "


def pretty(value: Any, width: int = 80) -> Iterator[str]:
    """The lines, without line ends."""
    return (harmless(line) for line in _value(value, "", "", width, 0))


def _value(value: Any, key: str, indent: str, width: int, depth: int) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value:
        yield f"{indent}{key}|"
        yield from (f"{indent}{_STEP}{line}" for line in value.splitlines())
    elif not _is_laid_out(value, len(indent) + len(key), width) or depth >= MAX_DEPTH:
        yield f"{indent}{key}{_flat(value)}"
    else:
        first, last = "{}" if isinstance(value, dict) else "[]"
        yield f"{indent}{key}{first}"
        items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
        for name, item in items:
            label = "" if name is None else f"{_flat(name)}: "
            yield from _value(item, label, indent + _STEP, width, depth + 1)
        yield f"{indent}{last}"


def _is_laid_out(value: Any, before: int, width: int) -> bool:
    """Whether a container gets lines of its own: it holds another, a text of several lines, or is too wide."""
    if not isinstance(value, (dict, list)) or not value:
        return False
    items = list(value.values()) if isinstance(value, dict) else value
    nested = any(isinstance(item, (dict, list)) and item for item in items)
    lines = any(isinstance(item, str) and "\n" in item for item in items)
    return nested or lines or before + len(_flat(value)) > width


def _flat(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "… (nested too deep to be shown; --raw has it)"
