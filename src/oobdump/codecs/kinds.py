"""The types that come back as themselves though a format has no word for them, as one table.

In: any object. Out: ``Tag(kind, body)``, the body made of simpler values that may have to be
opened in turn; and back, ``revive(kind, body)``. The kind is the Python type's own name.
What has no row here is opened as ``Marked`` and comes back as ``Marked``.
Only this module knows which types are known. It finds them by ``id(type(value))``: hashing a
class can run its metaclass.
"""

from __future__ import annotations

import base64
import binascii
import pathlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from oobdump.codecs import peek
from oobdump.codecs.marked import MARKED_KINDS, Marked, Tag, body_of, describe, mark, marked_from
from oobdump.errors import CodecError

__all__ = ["KINDS", "Kind", "open_value", "revive", "to_base64"]


@dataclass(frozen=True)
class Kind:
    """One row: the exact type, its body in simpler values, the way back, an example."""

    cls: type
    to_body: Callable[[Any], object]
    from_body: Callable[[Any], object]
    example: object

    @property
    def name(self) -> str:
        """The type's name, which is the kind's."""
        return self.cls.__name__


# Bodies are checked on the way back: tuple("ab") would be a value too.


def _text(body: object) -> str:
    if type(body) is not str:
        raise ValueError("its body is not text")
    return body


def _items(body: object) -> list[Any]:
    if type(body) is not list:
        raise ValueError("its body is not a list")
    return body


def _numbers(body: object) -> list[Any]:
    if any(type(item) not in (int, float) for item in _items(body)):
        raise ValueError("its body is not a list of numbers")
    return _items(body)


def _revive_fraction(body: object) -> Fraction:
    if any(type(item) is not int for item in _items(body)):
        raise ValueError("its body is not two integers")  # of text, Fraction would compute "1e999999999"
    return Fraction(*_items(body))


def _bytes(body: object) -> bytes:
    if type(body) is not bytes:
        raise ValueError("its body is not bytes")
    return body


def _flat(value: dict[Any, Any]) -> list[Any]:
    return [part for pair in peek.items_of(value) for part in pair]


def _revive_dict(body: object) -> dict[Any, Any]:
    items = _items(body)
    found = dict(zip(items[::2], items[1::2], strict=True))
    if 2 * len(found) != len(items):
        raise ValueError("a key comes twice")
    return found


def _revive_set(body: object) -> set[Any]:
    found = set(_items(body))
    if len(found) != len(_items(body)):
        raise ValueError("a member comes twice")
    return found


# Text with lone surrogates, which UTF-8 cannot hold: U+DCE9 as \udce9 and a backslash as \\.

_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode("utf-8")


def _unescape(body: object) -> str:
    return _ESCAPE.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1][1:], 16)), _text(body))


def to_base64(value: bytes | memoryview) -> str:
    """Bytes as text."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


_ODD_FLOATS = {repr(odd): odd for odd in (float("nan"), float("inf"), float("-inf"))}


# Points in time: the ISO text where it says all, else [ISO text, fold, zone].


def _open_moment(value: Any) -> object:
    zone = value.tzinfo
    if zone is not None and type(zone) is not timezone:  # the zone's methods would run foreign code
        parts = {"naive": value.replace(tzinfo=None), "tzinfo": zone}
        return mark(value, "instance", parts, "its time zone's type has no form")
    named = zone is not None and len(_zone_parts(zone)) > 1
    if value.fold or named:
        return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone]
    return value.isoformat()


def _zone_parts(zone: Any) -> list[Any]:
    return list(zone.__getinitargs__())  # the offset, and the name where it was given one


def _revive_moment(cls: type[datetime | time], body: object) -> object:
    if type(body) is str:
        return cls.fromisoformat(body)
    text, fold, zone = _items(body)
    if zone is not None and type(zone) is not timezone:
        raise ValueError("its zone is not a time zone")
    return cls.fromisoformat(_text(text)).replace(fold=fold, tzinfo=zone)


def _path_kind(cls: type[pathlib.PurePath], pure: type[pathlib.PurePath]) -> Kind:
    """A path of the other system comes back pure: its concrete class cannot be made on this one."""
    made = cls if cls in (pure, type(pathlib.Path())) else pure
    return Kind(cls, str, lambda body: made(_text(body)), made("a/b"))


_UTC = timezone.utc

KINDS: tuple[Kind, ...] = (
    # The first five are plain in some format; these are their forms where they are not.
    Kind(int, hex, lambda body: int(_text(body), 16), 2**70),
    Kind(float, repr, lambda body: _ODD_FLOATS[_text(body)], float("inf")),
    Kind(str, _escape, _unescape, "caf\udce9"),
    Kind(bytes, to_base64, lambda body: base64.b64decode(_text(body), validate=True), b"\0"),
    Kind(dict, _flat, _revive_dict, {1: 2}),
    Kind(bytearray, bytes, lambda body: bytearray(_bytes(body)), bytearray(b"\0")),
    Kind(tuple, list, lambda body: tuple(_items(body)), (1, 2)),
    Kind(set, list, _revive_set, {1, 2}),
    Kind(frozenset, list, lambda body: frozenset(_revive_set(body)), frozenset({1})),
    Kind(complex, lambda z: [z.real, z.imag], lambda body: complex(*_numbers(body)), 1j),
    Kind(range, lambda r: [r.start, r.stop, r.step], lambda body: range(*_items(body)), range(3)),
    Kind(slice, lambda s: [s.start, s.stop, s.step], lambda body: slice(*_items(body)), slice(3)),
    Kind(Decimal, str, lambda body: Decimal(_text(body)), Decimal("1.10")),
    Kind(Fraction, lambda f: [f.numerator, f.denominator], _revive_fraction, Fraction(1, 3)),
    Kind(datetime, _open_moment, lambda body: _revive_moment(datetime, body), datetime(2026, 1, 2, tzinfo=_UTC)),
    Kind(time, _open_moment, lambda body: _revive_moment(time, body), time(3, 4, 5, 6, fold=1)),
    Kind(date, date.isoformat, lambda body: date.fromisoformat(_text(body)), date(2026, 1, 2)),
    Kind(
        timedelta,
        lambda delta: [delta.days, delta.seconds, delta.microseconds],
        lambda body: timedelta(*_numbers(body)),
        timedelta(1),
    ),
    Kind(timezone, _zone_parts, lambda body: timezone(*_items(body)), timezone(timedelta(hours=1), "CET")),
    Kind(uuid.UUID, str, lambda body: uuid.UUID(_text(body)), uuid.UUID(int=1)),
    _path_kind(pathlib.PurePosixPath, pathlib.PurePosixPath),
    _path_kind(pathlib.PureWindowsPath, pathlib.PureWindowsPath),
    _path_kind(pathlib.PosixPath, pathlib.PurePosixPath),
    _path_kind(pathlib.WindowsPath, pathlib.PureWindowsPath),
)

_BY_TYPE: Mapping[int, Kind] = MappingProxyType({id(kind.cls): kind for kind in KINDS})
_BY_NAME: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in KINDS})


def open_value(value: Any) -> Tag:
    """The kind of any object, and its body. Raises for none, and runs no code of a foreign type."""
    if type(value) is Tag:
        return value
    if type(value) is Marked:
        known = type(value.kind) is str and value.kind in MARKED_KINDS  # anybody can make one
        return Tag(value.kind if known else "object", body_of(value))
    kind = _BY_TYPE.get(id(type(value)))
    if kind is None:
        return open_value(describe(value))
    try:
        body = kind.to_body(value)
    except RecursionError:
        raise  # of whoever encodes, not of the value: it is cut by a walk
    except Exception as error:  # noqa: BLE001 - a dict that changed size meanwhile, a UUID never initialised
        return open_value(mark(value, "object", why=f"it could not be read: {peek.type_name(type(error))}"))
    return open_value(body) if type(body) is Marked else Tag(kind.name, body)


def revive(name: object, body: object) -> object:
    """The value that was opened as this kind and body. Raises ``CodecError`` and nothing else."""
    try:
        if name in MARKED_KINDS:
            return marked_from(name, body)
        return _BY_NAME[_text(name)].from_body(body)
    except KeyError:
        raise CodecError(f"unknown kind {name!r:.100}: the document is damaged, or a later oobdump wrote it") from None
    except Exception as error:
        raise CodecError(f"a value of kind {name!r:.100} cannot be read: {error!s:.200}") from error
