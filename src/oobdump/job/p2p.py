"""Sends and receives of one group, paired: which has no counterpart, which differ, who waits for whom.

In: one ``View``. Out: findings and waits. The rule only this module keeps: the n-th send from one
rank to another belongs to the n-th receive there, which can be counted only where no entry was
overwritten; else open calls are counted against open calls. (Gloo records neither.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

from oobdump.job.collectives import Finding, Kind, Wait
from oobdump.job.stacks import Stack
from oobdump.job.trace import Call, OpenCall
from oobdump.job.views import View

__all__ = ["p2p_findings", "p2p_waits"]

MAX_FINDINGS = 10
"""Of one group: a page has no room for more, and a pipeline that hangs has one cause."""


@dataclass
class _Pair:
    """What goes from one rank to another: the sends that the one called and the receives that the other did."""

    source: int
    target: int
    sends: list[Call] = field(default_factory=list)
    receives: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class _Alone:
    """A call whose counterpart has not been called by ``absent``."""

    rank: int
    absent: int
    call: Call


def p2p_findings(view: View) -> list[Finding]:
    """Calls without counterpart, and the first pair that differs of each two ranks."""
    pairs = list(_pairs(view))
    found = [*(_unmatched(view, each) for each in _alone(view, pairs)), *_differing(view, pairs)]
    return sorted(found, key=lambda each: (each.seq, sorted(each.others)))[:MAX_FINDINGS]


def p2p_waits(view: View) -> Iterator[Wait]:
    """One wait for each open call; ``on`` is empty where the counterpart was called too."""
    alone = {(each.rank, each.absent) for each in _alone(view, _pairs(view))}
    for rank, lane in view.lanes.items():
        seen: set[int] = set()
        for each in lane.open:
            other = _other(view, each.call)
            if other is None or other in seen:  # the oldest open call to each other rank is the one that waits
                continue
            seen.add(other)
            yield _wait(view, rank, other, each, is_alone=(rank, other) in alone)


def _wait(view: View, rank: int, other: int, each: OpenCall, *, is_alone: bool) -> Wait:
    heard = other in view.heard
    return Wait(
        group=view.key,
        seq=each.call.seq,
        op=each.call.op,
        waiting=frozenset({rank}),
        on=frozenset({other}) if heard and is_alone else frozenset(),
        unheard=frozenset() if heard else frozenset({other}),
        since_ns=each.created_ns,
        frames=each.frames,
        p2p=True,
    )


def _other(view: View, call: Call) -> int | None:
    """The rank of the job at the other end; None for what is no send or receive, or names nobody."""
    if not call.p2p or call.op.source is None or call.op.target is None:
        return None
    place = call.op.target if call.op.name == "send" else call.op.source
    return view.ordered[place] if place < len(view.ordered) else None


def _pairs(view: View) -> Iterator[_Pair]:
    """Every two ranks between which something was called, if both were read."""
    found: dict[tuple[int, int], _Pair] = {}
    for shape in view.shapes:
        calls = [(call, call.op.name == "send") for call in shape.calls if call.p2p]
        for (call, sends), rank in product(calls, shape.ranks if calls else ()):
            other = _other(view, call)
            if other is None or other not in view.heard:
                continue
            ends = (rank, other) if sends else (other, rank)
            pair = found.setdefault(ends, _Pair(*ends))
            (pair.sends if sends else pair.receives).append(call)
    yield from found.values()


def _alone(view: View, pairs: Iterable[_Pair]) -> Iterator[_Alone]:
    for pair in pairs:
        sends, receives = pair.sends, pair.receives
        if {pair.source, pair.target} & view.wrapped:
            sends = [call for call in sends if not call.done]
            receives = [call for call in receives if not call.done]
        if len(sends) > len(receives):
            yield _Alone(pair.source, pair.target, sends[len(receives)])
        elif len(receives) > len(sends):
            yield _Alone(pair.target, pair.source, receives[len(sends)])


def _unmatched(view: View, each: _Alone) -> Finding:
    missing = "receive" if each.call.op.name == "send" else "send"
    return _finding(view, "p2p-unmatched", each.call, each.absent, each.rank, f"rank {each.absent} called no {missing}")


def _differing(view: View, pairs: Iterable[_Pair]) -> Iterator[Finding]:
    for pair in pairs:
        if {pair.source, pair.target} & view.wrapped:
            continue
        for send, receive in zip(pair.sends, pair.receives, strict=False):
            if detail := _difference(send, receive):
                yield _finding(view, "p2p-mismatch", send, pair.target, pair.source, detail)
                break


def _difference(send: Call, receive: Call) -> str:
    sent, received = send.op.input_sizes, receive.op.output_sizes
    if sent != received:
        return f"{_shapes(sent)} is sent and {_shapes(received)} is received"
    if send.op.input_dtypes and receive.op.output_dtypes and send.op.input_dtypes != receive.op.output_dtypes:
        return f"{', '.join(send.op.input_dtypes)} is sent and {', '.join(receive.op.output_dtypes)} is received"
    return ""


def _shapes(sizes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(str(list(shape)) for shape in sizes) or "nothing"


def _finding(view: View, kind: Kind, call: Call, rank: int, other: int, detail: str) -> Finding:
    return Finding(
        kind=kind,
        group=view.key,
        seq=call.seq,
        nth=call.nth,
        op=call.op,
        ranks=frozenset({rank}),
        others=frozenset({other}),
        frames=_frames(view, other, call),
        detail=detail,
    )


def _frames(view: View, rank: int, call: Call) -> Stack:
    return next((each.frames for each in view.lanes[rank].open if each.call == call), ())
