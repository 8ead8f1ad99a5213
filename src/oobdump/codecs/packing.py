"""A value through msgpack's packer, which calls nobody: what it does not know exactly is handed over.

In: any object. Out: its msgpack, with each odd object in it opened and packed as an ext; or ``Spent``
and whatever the packer raises, where only a walk can help. msgpack is what this writes; JSON gets
from it, at C speed, whether a value is plain, and if it is not, a tree that is.
Only this module knows what an ext of ours is made of.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from resource import getrusage
from typing import Any

import msgpack

from oobdump.codecs.budget import Purse, Spent
from oobdump.codecs.kinds import open_value
from oobdump.codecs.look import has_buffers, size
from oobdump.codecs.marked import Tag, count_mark
from oobdump.codecs.raw import Raw

__all__ = ["EXT_TAG", "MAX_HOOKS", "Packing", "open_paid"]

EXT_TAG = 79
"""``O``: one of the 128 that the specification leaves to applications."""

MAX_HOOKS = 24
"""Odd objects in odd objects that are packed without a walk: each takes some stack of the C packer's."""

RUSAGE_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)
"""Linux only."""

_SIMPLE = frozenset(map(id, (str, int, float, bool, type(None))))
_FEW = 16


_NIL = b"\xc0"


def _switches() -> object:
    """Changes whenever this thread had to wait, as it has to for the GIL once another thread has run."""
    return getrusage(RUSAGE_THREAD).ru_nvcsw if RUSAGE_THREAD is not None else object()


class Packing:
    """One value being packed. ``exts`` counts what was handed over."""

    def __init__(
        self,
        open_object: Callable[[Any], Tag],
        place: Callable[[Raw], object],
        most_hooks: int = MAX_HOOKS,
    ) -> None:
        self._open = open_object
        self._place = place
        self._most_hooks = most_hooks
        self._spare: list[Any] = []
        self._hooks = 0
        self._tokens: list[object] = []
        self.exts = 0

    def document(self, value: object) -> bytes:
        """The packed value."""
        before = _switches()
        try:
            packed = self._pack(value)
        finally:
            self._spare.clear()  # they refer to us: the collector would come for them late
        if self.exts and _switches() != before and not self._is_of(value, packed):
            raise Spent
        return packed

    def _is_of(self, value: object, packed: bytes) -> bool:
        """Whether the value is still what was packed.

        While a hook runs other threads may, and change a container whose length is written already.
        This time no Python code is called, so that nobody else runs.
        """
        told: list[object] = []
        now: bytes = msgpack.Packer(use_bin_type=True, strict_types=True, default=told.append).pack(value)
        pieces, at = [], 0
        for token in self._tokens:
            ext = msgpack.packb(token)
            end = packed.find(ext, at)
            if end < 0:
                return False
            pieces.append(packed[at:end])
            at = end + len(ext)
        return _NIL.join([*pieces, packed[at:]]) == now

    def _pack(self, value: object) -> bytes:
        # strict_types: what is not exactly a list, a dict and so on goes to the hook, instead of being asked.
        # A packer is used once at a time: a hook that packs takes another. One that raised is not used again.
        packer = self._spare.pop() if self._spare else self._packer()
        packed: bytes = packer.pack(value)
        self._spare.append(packer)
        return packed

    def _packer(self) -> Any:
        return msgpack.Packer(use_bin_type=True, strict_types=True, default=self._hook)

    def _hook(self, value: Any) -> object:
        if self._hooks >= self._most_hooks:
            raise Spent
        self._hooks += 1
        token = self._placed(value) if type(value) is Raw else self._ext(self._open(value))
        self._hooks -= 1
        if not self._hooks:
            self._tokens.append(token)
        return token

    def _placed(self, raw: Raw) -> object:
        placed = self._place(raw)
        return placed if type(placed) is not Tag else self._ext(placed)

    def _ext(self, tag: Tag) -> object:
        self.exts += 1
        return msgpack.ExtType(EXT_TAG, self._pack([tag.kind, tag.body]))


def open_paid(purse: Purse, value: object) -> Tag:
    """How an object is opened where nothing was walked: it is paid for, and so is what is in it."""
    tag = open_value(value)
    count_mark(tag.kind, purse)
    purse.take(1 if _is_simple(tag.body) else 1 + _size(tag.body, purse))
    return tag


def _is_simple(body: Any) -> bool:
    if type(body) is list and len(body) < _FEW:
        return all(id(type(item)) in _SIMPLE for item in body)
    return id(type(body)) in _SIMPLE


def _size(body: object, purse: Purse) -> int:
    found = size(body, purse.budget)
    if found is None or has_buffers(body, purse.budget):
        raise Spent
    return found
