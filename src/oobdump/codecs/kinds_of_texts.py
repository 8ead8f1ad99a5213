"""The standard library's types that a text says all of, as rows of the table of types.

In: values of exactly these types. Out: ``Kind``s.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from oobdump.codecs.kind import Kind, items_in, text_in
from oobdump.codecs.marked import Marked, mark

__all__ = ["IP_TYPES", "KINDS_OF_TEXTS", "MAX_PATTERN_CHARS"]

MAX_PATTERN_CHARS = 10_000
"""Of a regular expression: to compile a longer one on reading could take seconds."""

IP_TYPES: tuple[type, ...] = (
    *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
    *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
)


def _open_pattern(value: Any) -> object:
    pattern, flags = value.pattern, value.flags
    if type(pattern) not in (str, bytes) or len(pattern) > MAX_PATTERN_CHARS or flags & re.DEBUG:
        return mark(value, "instance", {"pattern": pattern, "flags": int(flags)}, "it would not be compiled again")
    return [pattern, int(flags)]


def _revive_pattern(body: object) -> re.Pattern[Any]:
    pattern, flags = items_in(body)
    if type(pattern) not in (str, bytes) or len(pattern) > MAX_PATTERN_CHARS or type(flags) is not int:
        raise ValueError("it is no pattern that oobdump writes")
    if flags & re.DEBUG:
        raise ValueError("it would print when it is compiled")
    return re.compile(pattern, flags)


def _open_zone(value: Any) -> object:
    key = value.key
    return key if type(key) is str else mark(value, "instance", why="it was made from a file, not from a name")


def _revive_zone(body: object) -> object:
    name = text_in(body)
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return Marked("instance", "zoneinfo.ZoneInfo", name, "this machine does not know the zone")


def _zone_example() -> Iterator[Kind]:
    try:
        yield Kind(ZoneInfo, _open_zone, _revive_zone, ZoneInfo("UTC"))
    except (OSError, ValueError, KeyError):  # no time zones here
        yield Kind(ZoneInfo, _open_zone, _revive_zone, None)


def _ip_kind(cls: Any) -> Kind:
    return Kind(cls, str, lambda body: cls(text_in(body)), cls("::" if "6" in cls.__name__ else "1.2.3.4"))


KINDS_OF_TEXTS: tuple[Kind, ...] = (
    Kind(re.Pattern, _open_pattern, _revive_pattern, re.compile("a+", re.IGNORECASE)),
    *_zone_example(),
    *map(_ip_kind, IP_TYPES),
    Kind(type(...), lambda _: "...", lambda _: ..., ...),
    Kind(type(NotImplemented), lambda _: "NotImplemented", lambda _: NotImplemented, NotImplemented),
)
