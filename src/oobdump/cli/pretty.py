"""A value as lines that a person reads; pure.

In: plain values (what a JSON reader gives), or an outline of ``reading.outline``. Out: one line a
key, list items behind dashes, small lists and objects on one line, a text of several lines as
such, a tag's kind before its body. The rule only this module keeps: each line is harmless to a
terminal, and no value is too deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from oobdump.codecs.model import BODY, MARK
from oobdump.reading.outline import MAP, SHOWN, flat
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
    kind, inside = _opened(value)
    if isinstance(inside, str) and "\n" in inside and kind != SHOWN:
        yield from inside.splitlines()
    elif _fits(value, width) or not depth:
        yield _flat(value)
    elif kind not in (None, MAP):
        yield from _under(str(kind), inside, width, depth)
    elif kind == MAP:
        yield from _pairs(inside, width, depth)
    elif isinstance(value, dict):
        yield from _pairs(((_flat(key), item) for key, item in value.items()), width, depth)
    else:
        for item in value:
            lines = _outline(item, width - len(_DASH), depth - 1)
            yield _DASH + next(lines)
            yield from (_STEP + line for line in lines)


def _opened(value: Any) -> tuple[str | None, Any]:
    """A tag's kind and body; None and the value where it is no tag."""
    if isinstance(value, dict) and value.keys() == {MARK, BODY}:
        return str(value[MARK]), value[BODY]
    return None, value


def _pairs(pairs: Iterable[tuple[str, Any]], width: int, depth: int) -> Iterator[str]:
    for key, item in pairs:
        yield from _under(key[1:-1] if key[:1] == '"' and key[1:-1].isidentifier() else key, item, width, depth)


def _under(key: str, item: Any, width: int, depth: int) -> Iterator[str]:
    if _fits(item, width - len(f"{key}: ")):
        yield f"{key}: {_flat(item)}"
    else:
        yield f"{key}:"
        yield from (_STEP + line for line in _outline(item, width - len(_STEP), depth - 1))


def _fits(value: Any, width: int) -> bool:
    """Whether a value stands on one line: a container only if it is small and holds no other."""
    kind, inside = _opened(value)
    if kind == SHOWN:
        return True
    if kind == MAP:
        inside = [item for _, item in inside]
    if not isinstance(inside, (dict, list)):
        return not (isinstance(inside, str) and "\n" in inside)
    items = inside.values() if isinstance(inside, dict) else inside
    if any(map(_is_large, items)):
        return False
    return not inside or len(_flat(value)) <= width


def _is_large(item: Any) -> bool:
    kind, inside = _opened(item)
    if kind == SHOWN:
        return False
    return (isinstance(inside, (dict, list)) and bool(inside)) or (isinstance(inside, str) and "\n" in inside)


def _flat(value: Any) -> str:
    try:
        return flat(value)
    except RecursionError:
        return "… (nested too deep to be shown: --raw has it)"
