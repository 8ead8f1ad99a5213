"""Values as a pickle that ``pickle.load`` reads with the standard library alone.

In: any object. Out: protocol 5. Built-in and standard values are themselves; what is shared or
refers to itself stays so. All else is a ``Warning`` whose text says what it stood for and whose
attributes are the fields of ``Marked``: of the standard classes, one with attributes that can be
a dict's key and that no value of ours is otherwise. No class of the user's is ever named.
On reading, every global outside the table below is refused by name and nothing of it runs; what
the table gives cannot be altered by the pickle. (A class as a value comes back marked, but as the
table's entry if the same pickle also uses it to build a value.)
"""

from __future__ import annotations

import io
import pathlib
import pickle
import re
import sys
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from oobdump.codecs import model
from oobdump.codecs.base import Data, ModelCodec, Pieces
from oobdump.codecs.budget import Budget, Purse, Spent
from oobdump.codecs.kinds import open_value, revive
from oobdump.codecs.kinds_of_containers import FACTORIES
from oobdump.codecs.look import plain_size
from oobdump.codecs.marked import MARKED_KINDS, Marked, Tag, count_mark
from oobdump.codecs.pickle_kinds import MAKERS, REDUCERS, is_library_global
from oobdump.codecs.pickle_scan import scan
from oobdump.codecs.raw import Bulk, Inline, Raw
from oobdump.errors import CodecError

__all__ = ["CODEC", "MAX_SAFE_RECURSION", "PROTOCOL", "allows"]

PROTOCOL = 5
"""In every Python since 3.8; the first with a word for bytearray and with buffers kept apart."""

MAX_SAFE_RECURSION = 2000
"""The C pickler recurses as deep as ``sys.setrecursionlimit`` lets it. With 2,400 it ends cleanly on a stack of
256 KiB; with a million it overflows any. Where the limit is above this, deep values are walked."""


class _Node(dict[str, Any]):
    """A tag in a walked tree. Not a plain dict, so that the pickler asks ``reducer_override``."""


_LEAF_TYPES = (type(None), bool, int, float, str, bytes)

_FORM = model.Form(
    leaves=MappingProxyType({id(cls): model.always for cls in (*_LEAF_TYPES, bytearray, Raw)}),
    keys=frozenset(map(id, _LEAF_TYPES)),
    tag=lambda kind: _Node(model.empty_tag(kind)),
)

UNBOUNDED = Budget(items=sys.maxsize, bytes=sys.maxsize, seconds=3600.0)
"""Of a tree, which a walk has kept within the value's budget."""

# --- writing: how a kind's body is handed to the class that makes the value of it

_Reduced = tuple[Any, ...]


def _moment(cls: Any) -> Callable[[Any], _Reduced]:
    def reduce_moment(body: Any) -> _Reduced:
        text, fold, zone = (body, 0, None) if type(body) is str else body
        moment = cls.fromisoformat(text).replace(fold=fold)
        made, args = moment.__reduce_ex__(PROTOCOL)
        return made, args if zone is None else (*args, zone)

    return reduce_moment


def _one(cls: Any) -> Callable[[Any], _Reduced]:
    return lambda body: (cls, (body,))


def _spread(cls: Any) -> Callable[[Any], _Reduced]:
    return lambda body: (cls, tuple(body))


_PATHS = (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath)


def _date(body: Any) -> _Reduced:
    day = date.fromisoformat(body)
    return date, (day.year, day.month, day.day)


def _pairs(body: Any) -> _Reduced:
    return dict, (list(zip(body[::2], body[1::2], strict=True)),)


_ONE: tuple[type, ...] = (tuple, set, frozenset, bytearray, Decimal, uuid.UUID, *_PATHS)
_SPREAD: tuple[type, ...] = (complex, range, slice, Fraction, timedelta, timezone)
_OTHER = {"dict": _pairs, "date": _date, "datetime": _moment(datetime), "time": _moment(time)}

_REDUCERS: Mapping[str, Callable[[Any], _Reduced]] = MappingProxyType(
    {cls.__name__: _one(cls) for cls in _ONE}
    | {cls.__name__: _spread(cls) for cls in _SPREAD}
    | _OTHER
    | dict(REDUCERS)
)

_OWN_GLOBALS = frozenset(map(id, (*_ONE, *_SPREAD, dict, date, datetime, time, Warning)))
"""What a reduction names; by ``id``, since a foreign class could bring its own hash."""


_FACTORY_IDS = frozenset(map(id, FACTORIES.values()))


class _Pieces:
    """The pickler's file: what it writes, in pieces, bulk data as the views that it was given."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse
        self._bytes = 0
        self.pieces: list[Data] = []

    def write(self, piece: Any) -> int:
        """Takes a frame, or a large object; raises ``Spent`` beyond the budget, which ends the pickling."""
        view = memoryview(piece) if type(piece) is pickle.PickleBuffer else piece
        if view is piece:
            self._bytes += len(piece)
            if self._bytes > self._purse.budget.bytes:
                raise Spent
        self._purse.take(0)
        self.pieces.append(view)
        return len(view)


class _Pickler(pickle.Pickler):
    """Asked for whatever the C code has no opcode for, before it would ask the object's class."""

    def __init__(self, file: _Pieces, purse: Purse, most: int) -> None:
        super().__init__(file, PROTOCOL)
        self._purse = purse
        self._opened = 0
        self._named: set[int] = set()
        self._told: set[int] = set()
        self._most = most

    def reducer_override(self, obj: Any) -> Any:
        if id(obj) in _OWN_GLOBALS or id(obj) in self._named or is_library_global(obj):
            return NotImplemented
        if type(obj) is Raw:
            return bytearray, (pickle.PickleBuffer(obj.data),)
        tag = Tag(obj[model.MARK], obj[model.BODY]) if type(obj) is _Node else self._open(obj)
        if tag.kind in MARKED_KINDS:
            return self._reduce_mark(tag)
        if tag.kind == "defaultdict" and not self._may_name(tag.body):
            return _reduce_other(tag)
        reducer = _REDUCERS.get(tag.kind)
        return reducer(tag.body) if reducer is not None else _reduce_other(tag)

    def _may_name(self, body: Any) -> bool:
        """Whether a defaultdict's factory can be named: not if it was told as a value, which the pickler remembers."""
        factory = id(FACTORIES.get(body[0])) if body and body[0] is not None else 0
        if factory in self._told:
            return False
        self._named.add(factory)
        return True

    def _open(self, obj: object) -> Tag:
        self._opened += 1
        if self._opened > self._most:
            raise Spent
        self._purse.take(1)
        self._told.add(id(obj) if id(obj) in _FACTORY_IDS else 0)
        return open_value(obj)

    def _reduce_mark(self, tag: Tag) -> _Reduced:
        body: Any = tag.body
        count_mark(tag.kind, self._purse)
        return Warning, (f"{tag.kind} {body.get('type')}",), {"kind": tag.kind, **body}


def _reduce_other(tag: Tag) -> _Reduced:
    """A kind that the standard library alone could not make again: its name and body, which say all."""
    return Warning, (tag.kind, tag.body)


def _dump(pickler: pickle.Pickler, value: object) -> None:
    pickler.dump(value)


def _loaded(name: str, *_: object) -> types.ModuleType:
    return sys.modules[name]


# For each class it names, the C pickler calls the __import__ of the builtins that the calling frame
# has. This frame has builtins of its own, so that nobody's import hook or lock is in the way.
_dump_without_import: Callable[[pickle.Pickler, object], None] = types.FunctionType(
    _dump.__code__, {"__builtins__": {"__import__": _loaded}}, "_dump_without_import"
)


def _pickled(value: object, purse: Purse) -> Pieces:
    file = _Pieces(purse)
    _dump_without_import(_Pickler(file, purse, purse.budget.items), value)
    return tuple(file.pieces)


# --- reading


class _Maker:
    """What a pickle gets for a global: it can call it, with arguments that make no bomb, and no more.

    ``BUILD`` could set attributes of a class that is written in Python: here it is refused.
    """

    __slots__ = ("_allows", "_make", "_name")

    def __init__(self, make: Callable[..., object], name: str, allows: Callable[[tuple[Any, ...]], bool]) -> None:
        self._make = make
        self._name = name
        self._allows = allows

    def __call__(self, *args: Any) -> object:
        if not self._allows(args):
            raise CodecError(f"it calls {self._name} with what no dump has")
        return self._make(*args)

    @property
    def made(self) -> Callable[..., object]:
        """What it calls."""
        return self._make

    def __setstate__(self, state: object) -> None:
        raise CodecError(f"it tries to alter {self._name}")

    def __repr__(self) -> str:
        return f"<{self._name}>"


def _of_items(args: tuple[Any, ...]) -> bool:
    """Filled from what the pickle holds, item by item: not from a number or a range, which are cheap to write."""
    return not args or type(args[0]) not in (int, range)


_RATIO = re.compile(r"-?\d+(/\d+)?")


def _of_integers(args: tuple[Any, ...]) -> bool:
    """Two integers, or the text that 3.10 writes; ``Fraction("1e999999999")`` would be computed."""
    return all(type(arg) is int or (type(arg) is str and _RATIO.fullmatch(arg)) for arg in args)


def _of_any(_: tuple[Any, ...]) -> bool:
    return True


def _of_nothing(_: tuple[Any, ...]) -> bool:
    return False


def _default(factory: Any = None) -> object:
    """A defaultdict that makes what the table has; the pickle gives it a maker."""
    if factory is None:
        return defaultdict(None)
    if type(factory) is not _Maker or factory.made not in FACTORIES.values():
        raise CodecError("a defaultdict's factory is not one of the standard types")
    return defaultdict(factory.made)


def _unmark(*args: object) -> object:
    if len(args) == 2:  # noqa: PLR2004 - a kind and a body
        return revive(*args)
    return Marked()  # BUILD fills it


def _is_latin1(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and type(args[0]) is str and args[1] == "latin1"  # noqa: PLR2004


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin-1")


_FILLED: tuple[type, ...] = (tuple, list, set, frozenset, dict, bytes, bytearray, OrderedDict, deque, Counter)
_CALLED: tuple[type, ...] = (complex, range, slice, date, datetime, time, timedelta, timezone, Decimal)
_OTHER_HOMES = {"builtins": ("__builtin__",), "pathlib": ("pathlib._local",), "pathlib._local": ("pathlib",)}
"""Where another version's pickles look for the same: Python 2's protocol, and 3.13 for paths."""


def _allowed() -> dict[tuple[str, str], Any]:
    rules = {_of_items: _FILLED, _of_any: (*_CALLED, *_PATHS), _of_integers: (Fraction,)}
    allowed: dict[tuple[str, str], Any] = {}
    for allows, classes in rules.items():
        for cls in classes:
            for module in (cls.__module__, *_OTHER_HOMES.get(cls.__module__, ())):
                allowed[module, cls.__name__] = _Maker(cls, f"{module}.{cls.__name__}", allows)
    for (module, name), make in MAKERS.items():
        allowed[module, name] = _Maker(make, f"{module}.{name}", _of_any)
    for name, factory in FACTORIES.items():  # named, not called
        allowed.setdefault((factory.__module__, name), _Maker(factory, f"{factory.__module__}.{name}", _of_nothing))
    allowed["collections", "defaultdict"] = _Maker(_default, "collections.defaultdict", _of_any)
    allowed["builtins", "Warning"] = _Maker(_unmark, "builtins.Warning", _of_any)
    for module in ("builtins", "__builtin__"):
        allowed |= {(module, "Ellipsis"): ..., (module, "NotImplemented"): NotImplemented}
    allowed["__builtin__", "xrange"] = allowed["builtins", "range"]
    allowed["_codecs", "encode"] = _Maker(_encode, "_codecs.encode", _is_latin1)  # bytes, before protocol 3
    # The class itself, as the pickles of others use NEWOBJ; its own __setstate__ keeps BUILD off the class.
    allowed["uuid", "UUID"] = uuid.UUID
    return allowed


_ALLOWED = MappingProxyType(_allowed())


def allows(module: str, name: str) -> bool:
    """Whether the reader takes that global."""
    return (module, name) in _ALLOWED


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            what = f"{module}.{name}"
            raise CodecError(
                f"the pickle names {what!r:.200}, which is not among the standard values that oobdump reads: "
                "it was not run; load it with pickle only if you trust whoever wrote it"
            ) from None


class _Pickle:
    """The format. What is shared is written once, so that a large pickle is a large value: no look beforehand."""

    form = _FORM

    def direct(self, value: object, purse: Purse, bulk: Bulk) -> Pieces | None:  # noqa: ARG002 - in the document
        """The document; raises ``RecursionError`` if the value is too deep, ``Spent`` if it is too much."""
        if sys.getrecursionlimit() > MAX_SAFE_RECURSION and plain_size(value, purse.budget) is None:
            return None
        return _pickled(value, purse)

    def write(self, tree: Any, bulk: Bulk) -> Pieces:  # noqa: ARG002
        """The document of a walked tree."""
        return _pickled(tree, Purse(UNBOUNDED, UNBOUNDED.seconds))

    def read(self, data: Data, bulk: Data | None) -> Any:  # noqa: ARG002
        """The value."""
        document = bytes(data)
        scan(document)
        return _Unpickler(io.BytesIO(document)).load()


CODEC = ModelCodec("pickle", "application/vnd.oobdump.pickle", "pkl", _Pickle(), Inline, Inline)
