"""A decoded document as what a person can take in: every value cut to size, and every cut said.

In: a tree as a JSON or msgpack reader gives it, tags not revived. Out: a tree of dicts, lists,
texts, numbers and two tags more: ``shown`` (a text as it is to be printed) and ``map`` (a dict's
keys as texts, with values). Only this module decides what of a large value is left out; it looks
at no more than ``Bounds`` allow, whatever the document holds.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

from oobdump.codecs import model
from oobdump.codecs.kinds import open_value
from oobdump.codecs.marked import MARKED_KINDS, Tag
from oobdump.codecs.model import BODY, MARK

__all__ = ["MAP", "SHOWN", "Bounds", "Outline", "flat", "shown"]

SHOWN, MAP = "shown", "map"
"""Kinds that stand in no document: between a reader and whoever lays it out."""

MAX_DEPTH = 45
"""A little more than is laid out on lines of their own."""

_KEY_DEPTH = 3
"""Of a key that is a container: it stands on one line."""

_BYTES_SHOWN = 16
_DIGITS_SHOWN = 40
_SAFE_HEX = 1000
"""Hexadecimal digits of a number that is written in decimal: beyond 4,300 decimal ones Python refuses."""


@dataclass(frozen=True)
class Bounds:
    """How much is shown: of one container, of all, and of one text."""

    items: int = 200
    nodes: int = 20_000
    chars: int = 800
    lines: int = 1000

    @classmethod
    def generous(cls) -> Bounds:
        """For a reader who asked for everything: what a pager can still hold."""
        return cls(items=100_000, nodes=500_000, lines=100_000)


def shown(text: str) -> dict[str, Any]:
    """A text that is printed without quotes."""
    return {MARK: SHOWN, BODY: text}


Arrays = Callable[[str, Any], Any]
"""What is shown of a tag, from its kind and body: a tree, or a heading and what is to be outlined below it;
None for a kind that is no array."""


class Outline:
    """One document's outline. ``arrays`` is asked for each tag before anything else.

    With ``revived`` it is a value, not a document: no dict is a tag, and what JSON has no word for is
    opened as a codec would, one level at a time, so that no more of it is looked at than is shown.
    """

    def __init__(
        self, bounds: Bounds | None = None, arrays: Arrays = lambda _kind, _body: None, *, revived: bool = False
    ) -> None:
        self._revived = revived
        self._bounds = bounds or Bounds()
        self._arrays = arrays
        self._room = self._bounds.nodes

    def of(self, value: Any, depth: int = MAX_DEPTH) -> Any:
        """The outline of a value."""
        self._room -= 1
        known = _BY_TYPE.get(type(value))
        if known is not None:
            return known(self, value, depth)
        if type(value) is tuple and not self._revived:
            return self._list(value, depth)
        if type(value) is Tag:
            return self._opened(value, depth)
        if self._revived and type(value) not in (bytes, bytearray):
            return self._opened(open_value(value), depth)
        return shown(_odd(value))

    def _opened(self, tag: Tag, depth: int) -> Any:
        """A value that JSON has no word for, as its tag; ``depth`` ends what a value opens without end."""
        if depth <= 0:
            return shown("… (nested too deep to be shown: --json has it)")
        return self._tag(tag.kind, tag.body, depth)

    def _deep(self, value: Any, depth: int) -> Any:
        if depth <= 0 and value:
            return shown(f"… ({len(value):,} items, nested too deep to be shown: --json has them)")
        if self._room <= 0:
            return shown(f"… (not shown: more than {self._bounds.nodes:,} values; --json has all)")
        return None

    def _list(self, value: Any, depth: int) -> Any:
        cut = self._deep(value, depth)
        if cut is not None:
            return cut
        taken = min(len(value), self._bounds.items)
        found = []
        for item in islice(value, taken):
            found.append(self.of(item, depth - 1))
            if self._room <= 0:
                break
        return found + self._more(len(value) - len(found), "item")

    def _more(self, count: int, noun: str) -> list[Any]:
        return [shown(f"… {count:,} more {noun}{'s' * (count != 1)}")] if count else []

    def _map(self, value: dict[Any, Any], depth: int) -> Any:
        if not self._revived and value.keys() == {MARK, BODY} and type(value[MARK]) is str:
            return self._tag(value[MARK], value[BODY], depth)
        return self._pairs(value.items(), len(value), depth)

    def _pairs(self, pairs: Iterable[tuple[Any, Any]], count: int, depth: int) -> Any:
        cut = self._deep([None] * min(count, 1), depth)
        if cut is not None:
            return cut
        found: list[list[Any]] = []
        for key, item in islice(pairs, self._bounds.items):
            found.append([self._key(key, min(depth - 1, _KEY_DEPTH)), self.of(item, depth - 1)])
            if self._room <= 0:
                break
        return _mapping(found, self._more(count - len(found), "key"))

    def _key(self, key: Any, depth: int) -> Any:
        """A key: a text that is short is itself, anything else is a text that is printed as it is."""
        return key if type(key) is str and len(key) <= self._bounds.chars else shown(flat(self.of(key, depth)))

    # -- tags

    def _tag(self, kind: str, body: Any, depth: int) -> Any:
        told = self._arrays(kind, body)
        if told is not None:
            return told if type(told) is not tuple else {MARK: MAP, BODY: [[told[0], self.of(told[1], depth - 1)]]}
        return self._known(kind, body, depth)

    def _known(self, kind: str, body: Any, depth: int) -> Any:
        """A tag that is no array: as a person says it, if its kind is one of ours."""
        if kind in MARKED_KINDS and type(body) is dict:
            return self._mark(kind, body, depth)
        if kind == "dict" and type(body) is list and len(body) % 2 == 0:
            return self._pairs(zip(body[::2], body[1::2], strict=True), len(body) // 2, depth)
        text = _FLAT.get(kind, _no_text)(body)
        if text is not None:
            return shown(text)
        if kind == "str" and type(body) is str:
            return self._text(_unescaped(body[: 8 * self._bounds.chars]) if len(body) < _LONG else body)
        return {MARK: clean(kind), BODY: self.of(body, depth - 1)}

    def _mark(self, kind: str, body: dict[Any, Any], depth: int) -> Any:
        """``<object threading.Lock: its type has no form>``, or the same with what could be told below it."""
        words = [kind, *(str(body[name])[:200] for name in ("type",) if body.get(name))]
        told = f"<{' '.join(words)}{_why(body)}>"
        if body.get("value") is None:
            return shown(told)
        return {MARK: MAP, BODY: [[told, self.of(body["value"], depth - 1)]]}

    def _text(self, value: str, _depth: int = 0) -> Any:
        """A text, whole if it is short; else its beginning and how much more there is."""
        bounds = self._bounds
        if len(value) <= bounds.chars:
            return value
        if "\n" not in value[: bounds.chars]:
            more = f"… {len(value) - bounds.chars:,} more characters"
            return shown(f"{json.dumps(value[: bounds.chars], ensure_ascii=False)} {more}")
        lines = value.splitlines()
        kept = [line if len(line) <= bounds.chars else f"{line[: bounds.chars]}…" for line in lines[: bounds.lines]]
        cut = [f"… {len(lines) - bounds.lines:,} more lines"] * (len(lines) > bounds.lines)
        return "\n".join([*kept, *cut])


_LONG = 1_000_000

_BY_TYPE: Mapping[type, Callable[[Outline, Any, int], Any]] = MappingProxyType(
    {
        dict: Outline._map,  # noqa: SLF001 - its own table
        list: Outline._list,  # noqa: SLF001
        str: Outline._text,  # noqa: SLF001
        float: lambda _, value, __: value if math.isfinite(value) else shown(repr(value)),
        int: lambda _, value, __: value if model.in_64_bits(value) else shown(_number(hex(value))),
        bool: lambda _, value, __: value,
        type(None): lambda _, value, __: value,
    }
)


def _mapping(pairs: list[list[Any]], more: list[Any]) -> dict[str, Any]:
    """A dict where all keys are plain texts, else the tag of one."""
    keys = [key for key, _ in pairs]
    if not more and all(type(key) is str and key != MARK for key in keys) and len({*keys}) == len(keys):
        return dict(pairs)
    texts = [[key[BODY] if type(key) is dict else _quoted(key), item] for key, item in pairs]
    return {MARK: MAP, BODY: texts + [["…", each] for each in more]}


def clean(text: str) -> str:
    """A kind's name, which may be anything in a hostile document."""
    return text[:80]


def flat(value: Any) -> str:
    """An outline on one line."""
    if type(value) is dict and value.keys() == {MARK, BODY}:
        kind, body = value[MARK], value[BODY]
        if kind == SHOWN:
            return str(body)
        if kind == MAP:
            return "{" + ", ".join(f"{key}: {flat(item)}" for key, item in body) + "}"
        return f"{kind} {flat(body)}"
    if type(value) is list:
        return "[" + ", ".join(map(flat, value)) + "]"
    if type(value) is dict:
        return "{" + ", ".join(f"{_quoted(key)}: {flat(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def _why(body: Mapping[str, Any]) -> str:
    """What is missing of a mark."""
    omitted = body.get("omitted")
    said = [str(body["why"])[:300]] if body.get("why") else []
    said += [f"{omitted:,} left out"] if type(omitted) is int and omitted else []
    return f": {', '.join(said)}" if said else ""


def _odd(value: Any) -> str:
    """What JSON has no word for, from msgpack: bytes, extension types."""
    if isinstance(value, (bytes, bytearray)):
        return _bytes_text(bytes(value[: _BYTES_SHOWN + 1]), len(value))
    if hasattr(value, "isoformat"):
        return str(value.isoformat())  # a timestamp
    code, data = getattr(value, "code", None), getattr(value, "data", None)
    if type(code) is int and isinstance(data, bytes):
        return f"extension type {code}, {_bytes_text(data[: _BYTES_SHOWN + 1], len(data))}"
    return f"<{type(value).__name__}>"


def _bytes_text(head: bytes, size: int) -> str:
    digits = head[:_BYTES_SHOWN].hex(" ")
    return f"{size:,} bytes: {digits}{' …' if size > _BYTES_SHOWN else ''}".rstrip(": ")


def _base64_text(body: Any) -> str | None:
    if isinstance(body, (bytes, bytearray)):
        return _bytes_text(bytes(body[: _BYTES_SHOWN + 1]), len(body))
    if type(body) is dict and body.keys() == {MARK, BODY}:  # a bytearray of tagged bytes
        body = body[BODY]
    if type(body) is not str:
        return None
    try:
        head = base64.b64decode(body[:48] + "=" * (-len(body[:48]) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return _bytes_text(head, len(body) * 3 // 4 - body[-2:].count("="))


def _number(text: str) -> str:
    """A large number: in decimal, and beyond that the beginning of its hexadecimal digits."""
    if len(text) <= _SAFE_HEX:
        return str(int(text, 16))
    return f"{text[:_DIGITS_SHOWN]}… ({len(text.lstrip('-')) - 2:,} hexadecimal digits)"


_HEX = re.compile(r"-?0x[0-9a-f]+")
_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")


def _int_text(body: Any) -> str | None:
    return _number(body) if type(body) is str and _HEX.fullmatch(body) else None


def _plain_text(body: Any) -> str | None:
    return body[:_SAFE_HEX] if type(body) is str else None


def _unescaped(body: str) -> str:
    return _ESCAPE.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1][1:], 16)), body)


def _no_text(_: Any) -> str | None:
    return None


_FLAT: Mapping[str, Callable[[Any], str | None]] = MappingProxyType(
    {
        "int": _int_text,
        "float": _plain_text,
        "bytes": _base64_text,
        "bytearray": _base64_text,
        "Decimal": _plain_text,
        "datetime": _plain_text,
        "date": _plain_text,
        "time": _plain_text,
        "UUID": _plain_text,
        **dict.fromkeys(("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath"), _plain_text),
    }
)
"""Kinds whose body says it all."""
