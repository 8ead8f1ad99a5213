"""The tagged value model: any object as a tree of the few values that a format has words for.

In: any object, a ``Form`` (what the format holds as it is) and a ``Purse``. Out: a tree in which
all else is a tag that the form made: ``{"$oobdump": kind, "v": body}`` unless it says otherwise.
``read_map`` is the way back. A dict that looks like a tag is itself written as one.
Only this module knows how a walk ends where its budget does: with a mark in the place of what
was left out, which says why and how much. A cycle ends the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

from oobdump.codecs import peek
from oobdump.codecs.arrays import ARRAY_KINDS
from oobdump.codecs.budget import Purse
from oobdump.codecs.kinds import open_value
from oobdump.codecs.kinds_of_containers import KINDS_OF_PAIRS
from oobdump.codecs.marked import MARKED_KINDS, Tag, body_of, count_mark, mark
from oobdump.errors import CodecError

__all__ = [
    "BODY",
    "MARK",
    "Form",
    "always",
    "empty_tag",
    "in_64_bits",
    "is_unicode",
    "read_map",
    "unique_map",
    "walk",
]

MARK = "$oobdump"
"""The key that makes a map a tag."""

BODY = "v"
"""The only other key of a tag."""

_LOOKS_AT_CLOCK = 64
"""Containers and odd objects between two looks: a tenth of a millisecond."""


def empty_tag(kind: str) -> dict[str, Any]:
    """A tag whose body is still to come."""
    return {MARK: kind, BODY: None}


@dataclass(frozen=True)
class Form:
    """What one format can hold as it is.

    ``leaves`` maps ``id(type)`` to a test of a value of exactly that type; ``keys`` are the ids
    of types whose values can be keys of a map; ``tag`` makes an empty tag of a kind; ``room``
    holds how many bytes are left for texts and bytes, where those are counted.
    """

    leaves: Mapping[int, Callable[[Any], bool]]
    keys: frozenset[int]
    tag: Callable[[str], dict[str, Any]] = empty_tag
    room: list[int] | None = None

    def trusting(self) -> Form:
        """The same for values that are not looked at: whoever writes the tree finds those that do not fit."""
        return replace(self, leaves=MappingProxyType(dict.fromkeys(self.leaves, always)))

    def sized(self, most: int) -> Form:
        """The same, with so many bytes for all texts and bytes: those beyond do not fit."""
        room = [most]

        def fits_too(fits: Callable[[Any], bool], value: Any) -> bool:
            if len(value) > room[0]:
                return False
            room[0] -= len(value)
            return fits(value)

        sized = {key: partial(fits_too, fits) if key in _SIZED else fits for key, fits in self.leaves.items()}
        return replace(self, leaves=MappingProxyType(sized), room=room)


_SIZED = frozenset(map(id, (str, bytes, bytearray)))


def always(_: object) -> bool:
    """For a type of which a format holds every value."""
    return True


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text: no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def in_64_bits(number: int) -> bool:
    """Whether the number is one that msgpack and careful JSON readers hold."""
    return -(2**63) <= number < 2**64


class _Frame:
    """A container that is being walked: what is left of it, and where its form hangs."""

    __slots__ = ("omitted", "out", "parent", "slot", "source", "todo", "width")

    def __init__(
        self, source: object, todo: Iterator[tuple[Any, Any]], out: Any, whole: tuple[Any, Any], width: int
    ) -> None:
        self.source = source  # keeps it alive: while it is walked its id is on the path
        self.todo = todo
        self.out = out
        self.parent, self.slot = whole
        self.width = width
        self.omitted = 0


class _Walk:
    """One walk, depth first and without recursion. Forms are made from the top and filled in."""

    def __init__(self, form: Form, purse: Purse) -> None:
        self.form = form
        self._purse = purse
        self._exact = any(fits is not always for fits in form.leaves.values())
        self._depth = purse.budget.depth
        self._why = "items"
        self._until_clock = _LOOKS_AT_CLOCK
        self._frames: list[_Frame] = []
        self._path: set[int] = set()

    def run(self, value: object) -> Any:
        root: list[Any] = [None]
        self._place(root, 0, value, value)
        while self._frames:
            frame = self._frames[-1]
            if self._fill(frame):
                self._leave(frame)
        return root[0]

    def _fill(self, frame: _Frame) -> bool:
        """Goes on with a container, until one inside it was entered; whether it is done."""
        out, leaves, depth, purse = frame.out, self.form.leaves, len(self._frames), self._purse
        for slot, child in frame.todo:
            if purse.room <= 0 and (frame.width == 1 or slot % frame.width == 0):
                self._stop(frame, slot)
                return True
            purse.room -= 1
            fits = leaves.get(id(type(child)))
            if fits is not None and (fits is always or fits(child)):
                out[slot] = child
            else:
                self._open(out, slot, child, child)
                if len(self._frames) > depth:
                    return False
        return True

    def _look_at_clock(self) -> None:
        """Where the time is over there is no more room for anything."""
        self._until_clock = _LOOKS_AT_CLOCK
        if time.monotonic() > self._purse.deadline:
            self._purse.room, self._why = 0, "time"

    def _stop(self, frame: _Frame, slot: Any) -> None:
        """No room for this entry and what comes after it."""
        frame.omitted += 1 + sum(1 for _ in frame.todo)
        if type(frame.out) is list:
            del frame.out[slot:]

    def _leave(self, frame: _Frame) -> None:
        self._frames.pop()
        self._path.discard(id(frame.source))
        if frame.omitted:
            kept, omitted = _keepable(frame.parent[frame.slot]), frame.omitted // frame.width
            self._cut(frame.parent, frame.slot, frame.source, self._why, omitted, kept)

    def _place(self, out: Any, slot: Any, value: Any, source: object) -> None:
        fits = self.form.leaves.get(id(type(value)))
        if fits is not None and fits(value):
            out[slot] = value
        else:
            self._open(out, slot, value, source)

    def _open(self, out: Any, slot: Any, value: Any, source: object) -> None:
        """Puts the form of what is no leaf at ``out[slot]``; ``source`` is the user's object it tells of."""
        self._until_clock -= 1
        if self._until_clock <= 0:
            self._look_at_clock()
        try:
            flat = self._flat(value)
            if flat is not None:
                out[slot] = flat
            elif type(value) is list or (type(value) is dict and self._keys_fit(value)):
                self._enter(out, slot, value, source, (out, slot))
            elif self._is_too_much(value):
                self._cut(out, slot, source, "bytes", 1)
            else:
                self._tag(out, slot, open_value(value), source)
        except RuntimeError:  # a dict that never holds still
            self._cut(out, slot, source, "it changed while it was read", 0)

    def _is_too_much(self, value: Any) -> bool:
        """Whether this is a text or bytes for which there is no room."""
        room = self.form.room
        if room is None or id(type(value)) not in _SIZED:
            return False
        if len(value) > room[0]:
            return True
        if id(type(value)) not in self.form.leaves:
            room[0] -= len(value)
        return False

    def _flat(self, value: Any) -> Any:
        """The form of a list or dict that has leaves only; None for any other. Most are such: no frame for them."""
        if (type(value) is not list and type(value) is not dict) or len(value) > self._purse.room or self.form.room:
            return None
        if len(self._frames) >= self._depth and value:
            return None
        form = self._flat_list(value) if type(value) is list else self._flat_dict(value)
        if form is not None:
            self._purse.room = max(0, self._purse.room - len(form))  # it may have grown meanwhile
        return form

    def _flat_list(self, value: list[Any]) -> list[Any] | None:
        form = list(value)
        for child in form:
            if (
                (cls := type(child)) is not str
                and cls is not int
                and cls is not float
                and cls is not bool
                and child is not None
            ):
                return None
        return form if not self._exact or self._all_fit(form) else None

    def _flat_dict(self, value: Any) -> dict[str, Any] | None:
        items = peek.items_of(value)
        for key, child in items:
            if type(key) is not str or (
                (cls := type(child)) is not str
                and cls is not int
                and cls is not float
                and cls is not bool
                and child is not None
            ):
                return None
        form = dict(items)
        if MARK in form or (self._exact and not (self._all_fit(list(form)) and self._all_fit(list(form.values())))):
            return None
        return form

    def _all_fit(self, children: list[Any]) -> bool:
        leaves = self.form.leaves
        return all(leaves[id(type(child))](child) for child in children)

    def _keys_fit(self, value: dict[Any, Any]) -> bool:
        """Whether the format can hold these keys, and nobody takes the map for a tag."""
        keys, leaves = self.form.keys, self.form.leaves
        for key in list(value):
            if id(type(key)) not in keys or not leaves[id(type(key))](key) or (type(key) is str and key == MARK):
                return False
        return True

    def _tag(self, out: Any, slot: Any, tag: Tag, source: object) -> None:
        holder = out[slot] = self.form.tag(tag.kind)
        if tag.kind in MARKED_KINDS:
            count_mark(tag.kind, self._purse)
            body = holder[BODY] = dict(tag.body)  # type: ignore[call-overload]
            for name, field in list(body.items()):
                self._place(body, name, field, source)
        elif tag.kind in ARRAY_KINDS:  # numbers about bytes: a part of them would say nothing
            holder[BODY] = tag.body
        elif type(tag.body) is list:
            self._enter(holder, BODY, tag.body, source, (out, slot), width=2 if tag.kind in KINDS_OF_PAIRS else 1)
        else:
            self._place(holder, BODY, tag.body, source)

    def _enter(self, out: Any, slot: Any, value: Any, source: object, whole: tuple[Any, Any], width: int = 1) -> None:
        """Begins a list or dict at ``out[slot]``; a cut of it is said at ``whole``, outside its tag.

        ``width`` is how many slots an entry takes: two in a tagged dict, where keys and values take turns.
        """
        if id(source) in self._path:
            return self._cut(*whole, source, "cycle", len(value) // width)
        if len(self._frames) >= self._depth and value:
            return self._cut(*whole, source, "depth", len(value) // width)
        room = max(0, self._purse.room) + width  # one entry more, so that the end of the room is met while filling
        taken = list(islice(enumerate(value), room)) if type(value) is list else peek.items_of(value, room)
        form: Any = [None] * len(taken) if type(value) is list else {}
        out[slot] = form
        frame = _Frame(source, iter(taken), form, whole, width)
        frame.omitted = max(0, len(value) - len(taken))
        self._frames.append(frame)
        self._path.add(id(source))
        return None

    def _cut(self, out: Any, slot: Any, source: object, why: str, omitted: int, kept: Any = None) -> None:
        """A mark of what was left out. Its fields are plain in each format, and ``kept`` has been walked."""
        self._purse.cut += 1
        holder = out[slot] = self.form.tag("cut")
        holder[BODY] = body_of(mark(source, "cut", kept, why, omitted))


_KEPT_IN_PART = KINDS_OF_PAIRS | {"tuple", "set", "frozenset", "deque"}


def _keepable(form: Any) -> Any:
    """The part of a container that was kept; nothing of what a part would be another value of."""
    is_whole = type(form) is not list and MARK in form and form[MARK] not in _KEPT_IN_PART
    return None if is_whole else form


def walk(value: object, form: Form, purse: Purse) -> Any:
    """Any object as a tree that the format can hold. Calls no method of a foreign type."""
    return _Walk(form, purse).run(value)


def unique_map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map as it was read. Raises ``CodecError`` for a key that comes twice."""
    try:
        found = dict(pairs)
    except TypeError as error:
        raise CodecError(f"a key of a map cannot be one ({error}): the document was not written by oobdump") from None
    if len(found) != len(pairs):
        raise CodecError("a key comes twice in one map: two readers would read two values")
    return found


def read_map(pairs: list[tuple[Any, Any]], revive: Callable[[object, object], object]) -> Any:
    """A map as it was read: a tag becomes its value. Raises ``CodecError`` for a key that comes twice."""
    found = unique_map(pairs)
    if MARK not in found:
        return found
    if found.keys() != {MARK, BODY}:
        raise CodecError(f"a map with the key {MARK} has other keys than {BODY}: it is no tag, and no data of ours")
    return revive(found[MARK], found[BODY])
