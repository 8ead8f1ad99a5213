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
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from oobdump.codecs import foreign, peek
from oobdump.codecs.arrays import ARRAY_KINDS, Array, body_of_array
from oobdump.codecs.budget import Spent
from oobdump.codecs.kind import Kind, flat, items_in, numbers_in, pairs_in, text_in
from oobdump.codecs.kinds_of_containers import KINDS_OF_CONTAINERS
from oobdump.codecs.kinds_of_texts import KINDS_OF_TEXTS
from oobdump.codecs.marked import MARKED_KINDS, Marked, Tag, body_of, describe, mark, marked_from
from oobdump.errors import CodecError

__all__ = ["KINDS", "Kind", "open_value", "revive", "to_base64"]


def _revive_fraction(body: object) -> Fraction:
    if any(type(item) is not int for item in items_in(body)):
        raise ValueError("its body is not two integers")  # of text, Fraction would compute "1e999999999"
    return Fraction(*items_in(body))


def _bytes(body: object) -> bytes:
    if type(body) is not bytes:
        raise ValueError("its body is not bytes")
    return body


def _revive_set(body: object) -> set[Any]:
    found = set(items_in(body))
    if len(found) != len(items_in(body)):
        raise ValueError("a member comes twice")
    return found


# Text with lone surrogates, which UTF-8 cannot hold: U+DCE9 as \udce9 and a backslash as \\.

_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode("utf-8")


def _unescape(body: object) -> str:
    return _ESCAPE.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1][1:], 16)), text_in(body))


def to_base64(value: bytes | memoryview) -> str:
    """Bytes as text."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


_ODD_FLOATS = {repr(odd): odd for odd in (float("nan"), float("inf"), float("-inf"))}


# Points in time: the ISO text where it says all, else [ISO text, fold, zone].


def _open_moment(value: Any) -> object:
    zone = value.tzinfo
    if (
        zone is not None and type(zone) is not timezone and type(zone) is not ZoneInfo
    ):  # the zone's methods would run foreign code
        parts = {"naive": value.replace(tzinfo=None), "tzinfo": zone}
        return mark(value, "instance", parts, "its time zone's type has no form")
    named = type(zone) is ZoneInfo or (zone is not None and len(_zone_parts(zone)) > 1)
    if value.fold or named:
        return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone]
    return value.isoformat()


def _zone_parts(zone: Any) -> list[Any]:
    return list(zone.__getinitargs__())  # the offset, and the name where it was given one


def _revive_moment(cls: type[datetime | time], body: object) -> object:
    if type(body) is str:
        return cls.fromisoformat(body)
    text, fold, zone = items_in(body)
    if type(zone) is Marked:  # a zone that this machine does not know
        return Marked("instance", f"datetime.{cls.__name__}", {"naive": cls.fromisoformat(text_in(text)), "zone": zone})
    if zone is not None and type(zone) is not timezone and type(zone) is not ZoneInfo:
        raise ValueError("its zone is not a time zone")
    return cls.fromisoformat(text_in(text)).replace(fold=fold, tzinfo=zone)


def _path_kind(cls: type[pathlib.PurePath], pure: type[pathlib.PurePath]) -> Kind:
    """A path of the other system comes back pure: its concrete class cannot be made on this one."""
    made = cls if cls in (pure, type(pathlib.Path())) else pure
    return Kind(cls, str, lambda body: made(text_in(body)), made("a/b"))


_UTC = timezone.utc

KINDS: tuple[Kind, ...] = (
    # The first five are plain in some format; these are their forms where they are not.
    Kind(int, hex, lambda body: int(text_in(body), 16), 2**70),
    Kind(float, repr, lambda body: _ODD_FLOATS[text_in(body)], float("inf")),
    Kind(str, _escape, _unescape, "caf\udce9"),
    Kind(bytes, to_base64, lambda body: base64.b64decode(text_in(body), validate=True), b"\0"),
    Kind(dict, flat, pairs_in, {1: 2}),
    Kind(bytearray, bytes, lambda body: bytearray(_bytes(body)), bytearray(b"\0")),
    Kind(tuple, list, lambda body: tuple(items_in(body)), (1, 2)),
    Kind(set, list, _revive_set, {1, 2}),
    Kind(frozenset, list, lambda body: frozenset(_revive_set(body)), frozenset({1})),
    Kind(complex, lambda z: [z.real, z.imag], lambda body: complex(*numbers_in(body)), 1j),
    Kind(range, lambda r: [r.start, r.stop, r.step], lambda body: range(*items_in(body)), range(3)),
    Kind(slice, lambda s: [s.start, s.stop, s.step], lambda body: slice(*items_in(body)), slice(3)),
    Kind(Decimal, str, lambda body: Decimal(text_in(body)), Decimal("1.10")),
    Kind(Fraction, lambda f: [f.numerator, f.denominator], _revive_fraction, Fraction(1, 3)),
    Kind(datetime, _open_moment, lambda body: _revive_moment(datetime, body), datetime(2026, 1, 2, tzinfo=_UTC)),
    Kind(time, _open_moment, lambda body: _revive_moment(time, body), time(3, 4, 5, 6, fold=1)),
    Kind(date, date.isoformat, lambda body: date.fromisoformat(text_in(body)), date(2026, 1, 2)),
    Kind(
        timedelta,
        lambda delta: [delta.days, delta.seconds, delta.microseconds],
        lambda body: timedelta(*numbers_in(body)),
        timedelta(1),
    ),
    Kind(timezone, _zone_parts, lambda body: timezone(*items_in(body)), timezone(timedelta(hours=1), "CET")),
    Kind(uuid.UUID, str, lambda body: uuid.UUID(text_in(body)), uuid.UUID(int=1)),
    _path_kind(pathlib.PurePosixPath, pathlib.PurePosixPath),
    _path_kind(pathlib.PureWindowsPath, pathlib.PureWindowsPath),
    _path_kind(pathlib.PosixPath, pathlib.PurePosixPath),
    _path_kind(pathlib.WindowsPath, pathlib.PureWindowsPath),
    *KINDS_OF_CONTAINERS,
    *KINDS_OF_TEXTS,
)

_BY_TYPE: Mapping[int, Kind] = MappingProxyType({id(kind.cls): kind for kind in KINDS})
_BY_NAME: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in KINDS})


def open_value(value: Any) -> Tag:
    """The kind of any object, and its body. Raises for none, and runs no code of a foreign type but its converter."""
    if type(value) is Tag:
        return value
    if type(value) is Marked:
        return _open_marked(value)
    if type(value) is Array:
        return Tag(value.kind if value.kind in ARRAY_KINDS else "ndarray", body_of_array(value))
    kind = _BY_TYPE.get(id(type(value))) or foreign.kind_of(type(value))
    if kind is None:
        return open_value(describe(value))
    try:
        body = kind.to_body(value)
    except (RecursionError, Spent):
        raise  # of whoever encodes, not of the value: it is cut by a walk
    except BaseException as error:  # noqa: BLE001 - a dict that changed size meanwhile, a converter that exits
        return open_value(mark(value, "object", why=f"it could not be read: {peek.type_name(type(error))}"))
    return open_value(body) if type(body) is Marked else Tag(kind.name, body)


def _open_marked(value: Marked) -> Tag:
    """A mark as a tag again. Anybody can make one."""
    if type(value.kind) is not str or type(value.type) is not str:
        return Tag("object", body_of(value))
    if value.kind == foreign.UNKNOWN and "." in value.type:
        return Tag(peek.clean(value.type), value.value)
    return Tag(value.kind if value.kind in MARKED_KINDS else "object", body_of(value))


def revive(name: object, body: object) -> object:
    """The value that was opened as this kind and body. Raises ``CodecError`` and nothing else."""
    try:
        if name in MARKED_KINDS:
            return marked_from(name, body)
        kind = _BY_NAME.get(text_in(name))
        return kind.from_body(body) if kind is not None else foreign.revive(text_in(name), body)
    except KeyError:
        raise CodecError(f"unknown kind {name!r:.100}: the document is damaged, or a later oobdump wrote it") from None
    except Exception as error:
        if _has_cut(body):
            return Marked("cut", str(name), body, "a part of it was left out")
        raise CodecError(f"a value of kind {name!r:.100} cannot be read: {error!s:.200}") from error


def _has_cut(body: Any) -> bool:
    """Whether something in a body was left out when it was written, so that no value can be made of the rest."""
    inside = body.values() if type(body) is dict else body if type(body) is list else ()
    return any(type(item) is Marked and item.kind == "cut" for item in (body, *inside))
