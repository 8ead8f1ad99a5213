"""What stands in a dump for a value that cannot come back as itself.

In: any object without a row in ``kinds``. Out: ``Marked``: an Enum member with its name and
value, a dataclass with its fields, an exception with its arguments, traceback and causes, an
instance of a subclass of a built-in type with the plain value inside, and for every other
object a placeholder with its type's name and why no more is said.
Only this module decides what is told of such an object; it asks ``peek``, never the object.
"""

from __future__ import annotations

import enum
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oobdump.codecs import peek
from oobdump.codecs.budget import Purse

__all__ = [
    "MARKED_KINDS",
    "MAX_TRACEBACK_FRAMES",
    "Marked",
    "Tag",
    "body_of",
    "count_mark",
    "describe",
    "mark",
    "marked_from",
]

MAX_TRACEBACK_FRAMES = 1000
"""Python's default recursion limit: of a longer traceback the innermost frames are kept."""

MARKED_KINDS = frozenset({"object", "instance", "enum", "dataclass", "exception", "cut"})
"""What a ``Marked`` can be; ``object`` is a placeholder, ``cut`` stands where a budget ended."""


@dataclass(frozen=True)
class Marked:
    """What stands for a value that cannot come back as itself.

    ``type`` names its class, ``value`` is what could be told of it, ``why`` says what is
    missing, ``at`` tells two objects of one dump apart, ``omitted`` counts items left out.
    """

    kind: str = "object"
    type: str = ""
    value: Any = None
    why: str = ""
    at: str = ""
    omitted: int = 0

    def __hash__(self) -> int:
        """By all but ``value``, which may be a dict: a marked key of a dict must stay a key."""
        return hash((self.kind, self.type, self.why, self.at))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Filled once, by the unpickler, with a body and its kind."""
        body = dict(state)
        made = marked_from(body.pop("kind", None), body)
        for name, _ in (("kind", str), *_FIELDS.items()):
            object.__setattr__(self, name, getattr(made, name))


_FIELDS: dict[str, type] = {"type": str, "value": object, "why": str, "at": str, "omitted": int}


@dataclass(frozen=True)
class Tag:
    """A kind's name and the simpler value that it is written as."""

    kind: str
    body: object


def count_mark(kind: str, purse: Purse) -> None:
    """Counts a tag that says that something is missing."""
    purse.unknown += kind == "object"
    purse.cut += kind == "cut"


def mark(value: object, kind: str, told: object = None, why: str = "", omitted: int = 0) -> Marked:
    """A mark for this object, with its type's name and its address."""
    return Marked(kind, peek.type_name(type(value)), told, why, hex(id(value)), omitted)


def body_of(marked: Marked) -> dict[str, object]:
    """The fields that say something. ``value`` is foreign: it is compared with nothing."""
    body: dict[str, object] = {}
    for name, cls in _FIELDS.items():
        field = getattr(marked, name)
        if (cls is object and field is not None) or (type(field) is cls and field):
            body[name] = field
    return body


def marked_from(kind: object, body: object) -> Marked:
    """The way back from a kind and a body. Raises ``ValueError`` for what ``body_of`` never writes."""
    if type(kind) is not str or kind not in MARKED_KINDS or type(body) is not dict:
        raise ValueError("it is not a mark")
    for name, field in body.items():
        if type(name) is not str or name not in _FIELDS or not isinstance(field, _FIELDS[name]):
            raise ValueError("a field of the mark is unknown or of the wrong type")
    return Marked(kind, **body)


def describe(value: object) -> Marked:
    """What can be told of an object of a type outside the table. Raises for none."""
    try:
        for describer in _DESCRIBERS:
            told = describer(value)
            if told is not None:
                return told
        return mark(value, "object", why="its type has no form")
    except RecursionError:
        raise  # of whoever encodes, not of the object
    except Exception as error:  # noqa: BLE001 - a class that was altered meanwhile, say
        return Marked("object", why=f"it could not be read: {peek.type_name(type(error))}", at=hex(id(value)))


def _enum_member(value: object) -> Marked | None:
    if not peek.is_kind_of(value, enum.Enum):
        return None
    held = peek.attributes(value)
    return mark(value, "enum", {"name": held.get("_name_"), "value": held.get("_value_")})


def _dataclass_instance(value: object) -> Marked | None:
    fields = peek.inherited(type(value), "__dataclass_fields__")
    if type(fields) is not dict:
        return None
    held = peek.attributes(value)
    told = {}
    for name in [name for name in list(fields) if type(name) is str]:
        field = held[name] if name in held else peek.slot(value, name)
        if field is not peek.ABSENT:  # ClassVars, and fields that nobody set
            told[name] = field
    return mark(value, "dataclass", told)


# Any: these getters of BaseException give the C fields, whatever a subclass calls its properties.
_ARGS: Any = BaseException.__dict__["args"]
_CAUSE: Any = BaseException.__dict__["__cause__"]
_CONTEXT: Any = BaseException.__dict__["__context__"]
_TRACEBACK: Any = BaseException.__dict__["__traceback__"]


def _exception(value: object) -> Marked | None:
    if not peek.is_kind_of(value, BaseException):
        return None
    told: dict[str, object] = {"args": list(_ARGS.__get__(value))}
    frames = _frames(_TRACEBACK.__get__(value))
    links = {"traceback": frames, "cause": _CAUSE.__get__(value), "context": _CONTEXT.__get__(value)}
    told.update((name, link) for name, link in links.items() if link is not None)
    return mark(value, "exception", told)


def _frames(traceback: types.TracebackType | None) -> list[dict[str, object]] | None:
    """File, line and function, the outermost first, as the traceback holds them: no source is read."""
    if traceback is None:
        return None
    frames: deque[dict[str, object]] = deque(maxlen=MAX_TRACEBACK_FRAMES)
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append({"file": code.co_filename, "line": traceback.tb_lineno, "name": code.co_name})
        traceback = traceback.tb_next
    return list(frames)


def _instance(value: object) -> Marked | None:
    found = peek.plain_base(value)
    if found is None:
        return None
    base, inside = found
    if base == "dict":
        inside = _dict_of(inside)  # type: ignore[arg-type]
    elif base in ("set", "frozenset"):
        inside = Tag(base, inside)
    return mark(value, "instance", inside)


def _dict_of(flat: list[Any]) -> object:
    """A dict where all keys are plain strings; else its tag, as hashing a key could run its code."""
    keys = flat[::2]
    if all(type(key) is str for key in keys):
        return dict(zip(keys, flat[1::2], strict=True))
    return Tag("dict", flat)


def _class_or_function(value: object) -> Marked | None:
    if peek.is_kind_of(value, type):
        return mark(value, "object", peek.type_name(value), "a class: only its name is told")  # type: ignore[arg-type]
    if type(value) is types.FunctionType:
        name = f"{peek.text_of(value.__module__)}.{peek.text_of(value.__qualname__)}"
        return mark(value, "object", name, "a function: only its name is told")
    return None


_DESCRIBERS: tuple[Callable[[object], Marked | None], ...] = (
    _enum_member,
    _dataclass_instance,
    _exception,
    _instance,
    _class_or_function,
)
