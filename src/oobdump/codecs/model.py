"""The tagged value model: any object as a tree of the few values that a format has words for.

In: any object and a ``Form`` (what the format holds as it is). Out: ``Walked``: a tree in which
all else is ``{"$oobdump": kind, "v": body}``, and how much of it is placeholders or cut.
``read_map`` is the way back. A dict that looks like a tag is itself written as one.
Only this module knows the budgets of a walk and how it ends where they do: with a mark in the
place of what was left out, which says why and how much. A cycle ends the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from oobdump.codecs import peek
from oobdump.codecs.kinds import open_value, revive
from oobdump.codecs.marked import MARKED_KINDS, Tag, body_of, mark
from oobdump.errors import CodecError

__all__ = [
    "BODY",
    "MARK",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "Form",
    "Walked",
    "always",
    "empty_tag",
    "in_64_bits",
    "is_unicode",
    "read_map",
    "walk",
]

MARK = "$oobdump"
"""The key that makes a map a tag."""

BODY = "v"
"""The only other key of a tag."""

MAX_DEPTH = 160
"""Levels of containers. A level is at most three of a document's (tag, mark, fields): 480, below the
511 of msgpack's packer, and half of the 1,000 at which another reader's recursion ends."""

MAX_ITEMS = 500_000
"""Items of all containers of one value, 15 times the stacks of 200 threads. A walk of so many takes one to
three seconds; ten if each is an object to be described."""


def empty_tag(kind: str) -> dict[str, Any]:
    """A tag whose body is still to come."""
    return {MARK: kind, BODY: None}


@dataclass(frozen=True)
class Form:
    """What one format can hold as it is.

    ``leaves`` maps ``id(type)`` to a test of a value of exactly that type; ``keys`` are the ids
    of types whose values can be keys of a map; ``tag`` makes an empty tag of a kind.
    """

    leaves: Mapping[int, Callable[[Any], bool]]
    keys: frozenset[int]
    tag: Callable[[str], dict[str, Any]] = empty_tag


@dataclass(frozen=True)
class Walked:
    """A tree that the format can hold; how many placeholders it has, and how many cuts."""

    tree: Any
    unknown: int = 0
    cut: int = 0


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

    def __init__(self, form: Form) -> None:
        self.form = form
        self.unknown = self.cut = 0
        self._room = MAX_ITEMS
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
        out, leaves, depth = frame.out, self.form.leaves, len(self._frames)
        for slot, child in frame.todo:
            if self._room <= 0 and (frame.width == 1 or slot % frame.width == 0):
                self._stop(frame, slot)
                return True
            self._room -= 1
            fits = leaves.get(id(type(child)))
            if fits is not None and fits(child):
                out[slot] = child
            else:
                self._open(out, slot, child, child)
                if len(self._frames) > depth:
                    return False
        return True

    def _stop(self, frame: _Frame, slot: Any) -> None:
        """No room for this entry and what comes after it."""
        frame.omitted += 1 + sum(1 for _ in frame.todo)
        if type(frame.out) is list:
            del frame.out[slot:]

    def _leave(self, frame: _Frame) -> None:
        self._frames.pop()
        self._path.discard(id(frame.source))
        if frame.omitted:
            partial, omitted = frame.parent[frame.slot], frame.omitted // frame.width
            self._cut(frame.parent, frame.slot, frame.source, "items", omitted, partial)

    def _place(self, out: Any, slot: Any, value: Any, source: object) -> None:
        fits = self.form.leaves.get(id(type(value)))
        if fits is not None and fits(value):
            out[slot] = value
        else:
            self._open(out, slot, value, source)

    def _open(self, out: Any, slot: Any, value: Any, source: object) -> None:
        """Puts the form of what is no leaf at ``out[slot]``; ``source`` is the user's object it tells of."""
        try:
            flat = self._flat(value)
            if flat is not None:
                out[slot] = flat
            elif type(value) is list or (type(value) is dict and self._keys_fit(value)):
                self._enter(out, slot, value, source, (out, slot))
            else:
                self._tag(out, slot, open_value(value), source)
        except RuntimeError:  # a dict that never holds still
            self._cut(out, slot, source, "it changed while it was read", 0)

    def _flat(self, value: Any) -> Any:
        """The form of a list or dict that has leaves only; None for any other. Most are such: no frame for them."""
        if (type(value) is not list and type(value) is not dict) or len(value) > self._room:
            return None
        if len(self._frames) >= MAX_DEPTH and value:
            return None
        form = self._flat_list(value) if type(value) is list else self._flat_dict(value)
        if form is not None:
            self._room = max(0, self._room - len(form))  # it may have grown meanwhile
        return form

    def _flat_list(self, value: list[Any]) -> list[Any] | None:
        leaves, form = self.form.leaves, list(value)
        for child in form:
            fits = leaves.get(id(type(child)))
            if fits is None or not fits(child):
                return None
        return form

    def _flat_dict(self, value: Any) -> dict[str, Any] | None:
        leaves, form = self.form.leaves, {}
        for key, child in peek.items_of(value):
            fits = leaves.get(id(type(child)))
            if type(key) is not str or fits is None or not fits(child):
                return None
            if key == MARK or not key.isascii():
                return None
            form[key] = child
        return form

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
            self.unknown += tag.kind == "object"
            self.cut += tag.kind == "cut"
            body = holder[BODY] = dict(tag.body)  # type: ignore[call-overload]
            for name, field in list(body.items()):
                self._place(body, name, field, source)
        elif type(tag.body) is list:
            self._enter(holder, BODY, tag.body, source, (out, slot), width=2 if tag.kind == "dict" else 1)
        else:
            self._place(holder, BODY, tag.body, source)

    def _enter(self, out: Any, slot: Any, value: Any, source: object, whole: tuple[Any, Any], width: int = 1) -> None:
        """Begins a list or dict at ``out[slot]``; a cut of it is said at ``whole``, outside its tag.

        ``width`` is how many slots an entry takes: two in a tagged dict, where keys and values take turns.
        """
        if id(source) in self._path:
            return self._cut(*whole, source, "cycle", len(value) // width)
        if len(self._frames) >= MAX_DEPTH and value:
            return self._cut(*whole, source, "depth", len(value) // width)
        room = max(0, self._room) + width  # one entry more, so that the end of the room is met while filling
        taken = list(islice(enumerate(value), room)) if type(value) is list else peek.items_of(value, room)
        form: Any = [None] * len(taken) if type(value) is list else {}
        out[slot] = form
        frame = _Frame(source, iter(taken), form, whole, width)
        frame.omitted = max(0, len(value) - len(taken))
        self._frames.append(frame)
        self._path.add(id(source))
        return None

    def _cut(self, out: Any, slot: Any, source: object, why: str, omitted: int, partial: Any = None) -> None:
        """A mark of what was left out. Its fields are plain in each format, and ``partial`` has been walked."""
        self.cut += 1
        holder = out[slot] = self.form.tag("cut")
        holder[BODY] = body_of(mark(source, "cut", partial, why, omitted))


def walk(value: object, form: Form) -> Walked:
    """Any object as a tree that the format can hold. Calls no method of a foreign type."""
    walker = _Walk(form)
    tree = walker.run(value)
    return Walked(tree, walker.unknown, walker.cut)


def read_map(pairs: list[tuple[Any, Any]]) -> Any:
    """A map as it was read: a tag becomes its value. Raises ``CodecError`` for a key that comes twice."""
    try:
        found = dict(pairs)
    except TypeError as error:
        raise CodecError(f"a key of a map cannot be one ({error}): the document was not written by oobdump") from None
    if len(found) != len(pairs):
        raise CodecError("a key comes twice in one map: two readers would read two values")
    if MARK not in found:
        return found
    if found.keys() != {MARK, BODY}:
        raise CodecError(f"a map with the key {MARK} has other keys than {BODY}: it is no tag, and no data of ours")
    return revive(found[MARK], found[BODY])
