"""Entries of flight recorders as ``Call`` values, equal ones as one object.

In: the fields of one group's entries on one rank, as decoded. Out: their calls. The rules only
this module keeps: every field is checked once, when it is first seen; and an entry that equals
one seen before (on any rank) is compared, in C, and not taken apart again. That is what makes
a job of a thousand ranks cheap: most entries are equal.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NoReturn, cast

from oobdump.job.trace import Call, Op

__all__ = ["COALESCED", "Malformed", "Pool", "Row", "refuse", "whole"]

Row = tuple[Any, ...]
"""collective_seq_id, p2p_seq_id, is_p2p, profiling_name, state, retired, then sizes and dtypes of in and output."""

_MAX_INT = 2**63 - 1

_MAX_NAME = 200
"""Characters of an operation's name: PyTorch's longest has 40."""

_SEEN = 4
"""Forms of one entry that are looked at one by one; in a hang one entry has two or three."""

COALESCED = "coalesced"
"""Ends the name of the entry that closes a coalesced call."""

_STATES = ("scheduled", "started", "completed")

_PEERS = re.compile(r"(?P<name>send|recv) (?P<own>[0-9]{1,9})(?P<arrow>->|<-)(?P<other>[0-9]{1,9})")


class Malformed(Exception):
    """Where a document is not what a recorder writes; becomes a ``TraceProblem``, never leaves ``job``."""


class Pool:
    """What was seen so far, over all ranks of one reading."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Seen] = {}
        self._calls: dict[Call, Call] = {}
        self._lanes: dict[tuple[int, ...], tuple[Call, ...]] = {}

    def calls(self, group: tuple[str, str], rows: list[Row]) -> tuple[Call, ...]:
        """The calls of ``rows``. Raises ``Malformed``."""
        seen = self._groups.setdefault(group, _Seen())
        if rows != seen.rows:
            calls = tuple(_settled(self._calls_of(seen, rows), self))
            seen.calls = self._lanes.setdefault(
                tuple(map(id, calls)), calls
            )  # the pool keeps the calls: ids stay theirs
            seen.rows = rows
        return seen.calls

    def adopt(self, calls: tuple[Call, ...]) -> tuple[Call, ...]:
        """The lane that stands for all equal to one that another pool made."""
        own = tuple(map(self.shared, calls))
        return self._lanes.setdefault(tuple(map(id, own)), own)

    def shared(self, call: Call) -> Call:
        """The object that stands for all calls equal to ``call``."""
        return self._calls.setdefault(call, call)

    def _calls_of(self, seen: _Seen, rows: list[Row]) -> list[Call]:
        calls: list[Call] = []
        place: tuple[Any, ...] = ()
        nth = 0
        for row in rows:
            here = row[:3]
            nth = nth + 1 if here == place else 0
            place = here
            calls.append(self._call(seen, row, nth))
        return calls

    def _call(self, seen: _Seen, row: Row, nth: int) -> Call:
        try:
            forms = seen.forms.setdefault((row[0], row[1], nth), [])
        except TypeError:
            raise Malformed("an entry's seq id is no number") from None
        for known, call in forms:
            if known == row:
                return call
        call = self.shared(_checked(row, nth))
        if len(forms) < _SEEN:
            forms.append((row, call))
        return call


def _settled(calls: list[Call], pool: Pool) -> list[Call]:
    """Entries inside a coalesced call stay ``scheduled`` for ever: what they become is what its last entry says."""
    if not any(call.nth for call in calls):
        return calls
    found = list(calls)
    closing: Call | None = None
    for number in range(len(calls) - 1, -1, -1):
        call = calls[number]
        if closing is None or (closing.seq, closing.p2p) != (call.seq, call.p2p) or closing.nth <= call.nth:
            closing = call if call.op.name.endswith(COALESCED) else None
        elif closing.done and not call.done:
            found[number] = pool.shared(call._replace(retired=True))
    return found


class _Seen:
    """Of one group: the last rank's rows whole, and the forms of each entry."""

    __slots__ = ("calls", "forms", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.calls: tuple[Call, ...] = ()
        self.forms: dict[tuple[int, int, int], list[tuple[Row, Call]]] = {}


def refuse(where: str, wanted: str, found: object) -> NoReturn:
    """Names the type of what was found and never its value, which may be long or hostile."""
    kind = "absent" if found is None else f"of type {type(found).__name__}"
    raise Malformed(f"{where} is {kind} instead of {wanted}")


def whole(value: object, where: str) -> int:
    """A number that is not negative."""
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        refuse(where, "a whole number", value)
    return value


def _checked(row: Row, nth: int) -> Call:
    collective_seq, p2p_seq, p2p, name, state, retired = row[:6]
    if type(p2p) is not bool or type(retired) is not bool:
        refuse("is_p2p or retired", "true or false", p2p if type(p2p) is not bool else retired)
    if type(name) is not str:
        refuse("profiling_name", "a text", name)
    if type(state) is not str or state not in _STATES:
        refuse("state", " or ".join(_STATES), state)
    seq = whole(p2p_seq, "p2p_seq_id") if p2p else whole(collective_seq, "collective_seq_id")
    backend, said, source, target = _name(name)
    sizes, dtypes = _sizes(row[6], "input_sizes"), _words(row[7], "input_dtypes")
    op = Op(
        backend, said, sizes, dtypes, _sizes(row[8], "output_sizes"), _words(row[9], "output_dtypes"), source, target
    )
    return Call(seq, nth, p2p, op, cast(Literal["scheduled", "started", "completed"], state), retired)


@lru_cache(maxsize=2**14)
def _name(text: str) -> tuple[str, str, int | None, int | None]:
    """Backend, operation, sender and receiver of ``nccl:send 0->1``."""
    backend, colon, said = text[:_MAX_NAME].partition(":")
    if not colon:
        backend, said = "", backend
    peers = _PEERS.fullmatch(said)
    if peers is None:
        return backend, said, None, None
    own, other = int(peers["own"]), int(peers["other"])
    return backend, peers["name"], *((own, other) if peers["arrow"] == "->" else (other, own))


def _sizes(value: object, where: str) -> tuple[tuple[int, ...], ...]:
    if type(value) is not list:
        refuse(where, "a list of shapes", value)
    for shape in value:
        if type(shape) is not list:
            refuse(where, "a list of shapes", shape)
        for size in shape:
            whole(size, where)
    return tuple(map(tuple, value))


def _words(value: object, where: str) -> tuple[str, ...]:
    if type(value) is not list:
        refuse(where, "a list of texts", value)
    for word in value:
        if type(word) is not str:
            refuse(where, "a list of texts", word)
    return tuple(value)
