"""What is wrong in the places of one group: who is missing, who did something else, what has not ended.

In: one ``View``. Out: its findings, the earliest place first. The rules only this module keeps:
what most ranks did is right, and where as many did the one as the other all are named; after
operations of different type in one place nothing behind it is compared, because what stands
together there no longer belongs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from oobdump.job.alike import difference, has_total, own_fault, total_fault
from oobdump.job.calls import COALESCED
from oobdump.job.collectives import Finding, Kind, Variant
from oobdump.job.stacks import Stack
from oobdump.job.trace import Call, Op
from oobdump.job.views import Place, Ranks, Shape, View

__all__ = ["findings_of"]

MAX_FINDINGS = 10
"""Of one group, the earliest: more than torchfrtrace prints nobody reads, and the later follow from the earlier."""

_LOOK_AHEAD = 16
"""Calls behind a mismatch that are looked at to tell another order, or a call left out, from another operation."""

_NO_ONE: Ranks = frozenset()


class _Done(NamedTuple):
    """One thing that was called in a place, by whom, and a shape that did."""

    op: Op
    ranks: Ranks
    shape: Shape


@dataclass(frozen=True)
class _Here:
    """One place: who called what, and on whom it has not ended."""

    place: Place
    done: tuple[_Done, ...]
    unfinished: Ranks
    called: Ranks


def findings_of(view: View) -> list[Finding]:
    """What is wrong in the group, at most ``MAX_FINDINGS``, earliest first."""
    mismatches, stopped_at = _mismatches(view)
    absent = [each for each in _missing(view) if stopped_at is None or each.seq < stopped_at]
    found = sorted([*mismatches, *absent], key=lambda each: (each.seq, each.nth))
    if not absent and stopped_at is None:
        found += _unfinished(view)
    return found[:MAX_FINDINGS]


# -- missing ---------------------------------------------------------------------------------------------------------


def _missing(view: View) -> Iterator[Finding]:
    """One finding for each step in who is behind: the first place that somebody has not entered, and so on."""
    steps = sorted({last for last in view.lasts.values() if last < view.front})
    for last in steps[:MAX_FINDINGS]:
        seq = last + 1
        missing = view.behind(seq)
        here = _here(view, (seq, 0))
        if here is None:  # that place is in nobody's ring any more, or its entries say only who is still in it
            here = _first_after(view, seq)
        if here is not None:
            usual = here.done[0]
            yield Finding(
                kind="missing-ranks",
                group=view.key,
                seq=seq,
                nth=0,
                op=usual.op,
                ranks=missing,
                others=view.heard - missing,
                variants=_variants(view, here),
                frames=_frames(view, usual, here.place),
                unheard=view.members - view.heard,
                detail=_never(view, missing),
            )


def _never(view: View, missing: Ranks) -> str:
    silent = missing & view.silent
    if not silent:
        return ""
    return "none of them has called anything in this group" if silent == missing else "some have called nothing in it"


def _first_after(view: View, seq: int) -> _Here | None:
    places = [place for shape in view.shapes for place in shape.collectives if place[0] >= seq]
    return _here(view, min(places)) if places else None


# -- mismatches ------------------------------------------------------------------------------------------------------


def _mismatches(view: View) -> tuple[list[Finding], int | None]:
    """What differs, and the ``seq`` behind which nothing is compared."""
    found: list[Finding] = []
    for place in _places(view):
        here = _here(view, place)
        finding = _mismatch(view, here) if here is not None else None
        if finding is None:
            continue
        if found and _goes_on(found[-1], finding):
            found[-1] = replace(found[-1], detail=_once_more(found[-1].detail))
        else:
            found.append(finding)
        if finding.kind in ("type-mismatch", "order-mismatch"):
            return found, finding.seq
        if len(found) >= MAX_FINDINGS:
            break
    return found, None


def _places(view: View) -> Iterable[Place]:
    """The places at which anything can be wrong: where shapes differ, or a call does not fit by itself."""
    size = len(view.members)
    found: set[Place] = set()
    for shape in view.shapes:
        usual = view.shapes[0].collectives if shape is not view.shapes[0] else {}
        for place, call in shape.collectives.items():
            known = usual.get(place)
            if known is call:
                continue
            alone = own_fault(call.op, size) or has_total(call.op)
            if alone if known is None else known.op != call.op:
                found.add(place)
    return sorted(found | _unusual(view))


def _unusual(view: View) -> set[Place]:
    """Places in which the largest shape has nothing and others differ: its older entries were overwritten."""
    usual = view.shapes[0].collectives
    ops: dict[Place, Op] = {}
    found: set[Place] = set()
    for shape in view.shapes[1:]:
        for place, call in shape.collectives.items():
            if place not in usual and ops.setdefault(place, call.op) != call.op:
                found.add(place)
    return found


def _mismatch(view: View, here: _Here) -> Finding | None:
    usual = here.done[0]
    kinds = [(difference(usual.op, other.op), other) for other in here.done[1:]]
    odd = [(kind, other) for kind, other in kinds if kind is not None]
    if odd:
        kind: Kind = min((kind for kind, _ in odd), key=_RANK.__getitem__)
        ranks = frozenset[int]().union(*(other.ranks for _, other in odd))
        detail = ""
        if kind == "type-mismatch":
            kind, detail = _order(usual, next(other for each, other in odd if each == kind), here.place)
        if any(len(other.ranks) == len(usual.ranks) for _, other in odd):
            ranks |= usual.ranks  # as many did the one as the other: nobody can say who is wrong
        return _finding(view, here, kind, ranks, detail)
    fault = own_fault(usual.op, len(view.members))
    if not fault and here.called == view.members:
        fault = total_fault([(each.op, len(each.ranks)) for each in here.done])
    return _finding(view, here, "size-mismatch", here.called, fault) if fault else None


_RANK: dict[str, int] = {"type-mismatch": 0, "size-mismatch": 1, "dtype-mismatch": 2}
"""What differs more goes first."""


def _finding(view: View, here: _Here, kind: Kind, ranks: Ranks, detail: str) -> Finding:
    usual = here.done[0]
    return Finding(
        kind=kind,
        group=view.key,
        seq=here.place[0],
        nth=here.place[1],
        op=usual.op,
        ranks=ranks,
        others=here.called - ranks,
        variants=_variants(view, here),
        frames=_frames(view, usual, here.place),
        unheard=view.members - here.called,
        detail=detail,
    )


def _order(usual: _Done, other: _Done, place: Place) -> tuple[Kind, str]:
    """Whether the same calls come in another order, or one was left out."""
    ours, theirs = _ahead(usual.shape, place), _ahead(other.shape, place)
    for length in range(2, min(len(ours), len(theirs)) + 1):
        if sorted(ours[:length]) == sorted(theirs[:length]):
            return "order-mismatch", f"the same {length} calls in another order"
    if theirs and theirs[0] in ours[1:]:
        return "type-mismatch", f"as if {_plural(ours.index(theirs[0]), 'call')} had been left out there"
    if ours and ours[0] in theirs[1:]:
        return "type-mismatch", f"as if {_plural(theirs.index(ours[0]), 'call')} had been put in there"
    return "type-mismatch", ""


def _ahead(shape: Shape, place: Place) -> list[Op]:
    return [call.op for at, call in shape.collectives.items() if at >= place][:_LOOK_AHEAD]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")


def _goes_on(last: Finding, found: Finding) -> bool:
    """Whether it is the same again: the same ranks did the same other thing."""
    return (last.kind, last.ranks, last.op, _who(last)) == (found.kind, found.ranks, found.op, _who(found))


def _who(found: Finding) -> list[tuple[Op, Ranks]]:
    return [(variant.op, variant.ranks) for variant in found.variants]


def _once_more(detail: str) -> str:
    """``; also in 3 later places``, counted up."""
    before, mark, rest = detail.partition(_ALSO)
    count = int(rest.split()[0]) + 1 if mark else 1
    return f"{before}{_ALSO}{count} later place{'s' if count > 1 else ''}"


_ALSO = "; also in "


# -- not ended -------------------------------------------------------------------------------------------------------


def _unfinished(view: View) -> Iterator[Finding]:
    """The first place that all have entered and that has not ended everywhere."""
    first = min(((call.seq, call.nth) for shape in view.shapes if (call := shape.first_open)), default=None)
    here = _here(view, first) if first is not None else None
    if here is not None and here.unfinished:
        yield _finding(view, here, "not-completed", here.unfinished, "")


# -- one place -------------------------------------------------------------------------------------------------------


def _here(view: View, place: Place) -> _Here | None:
    """Who called what in a place; None if nobody's ring has it. Equal ops are one, most ranks first."""
    groups: dict[Op, list[Shape]] = {}
    unfinished: list[int] = []
    for shape in view.shapes:
        call = shape.collectives.get(place)
        if call is None or call.op.name == COALESCED:
            continue
        groups.setdefault(call.op, []).append(shape)
        if not call.done:
            unfinished += shape.ranks
    if not groups:
        return None
    done = [
        _Done(op, frozenset(rank for shape in shapes for rank in shape.ranks), shapes[0])
        for op, shapes in groups.items()
    ]
    done.sort(key=lambda each: (-len(each.ranks), min(each.ranks)))
    called = frozenset[int]().union(*(each.ranks for each in done))
    return _Here(place, tuple(done), frozenset(unfinished), called)


def _variants(view: View, here: _Here) -> tuple[Variant, ...]:
    return tuple(Variant(each.op, each.ranks, _frames(view, each, here.place)) for each in here.done)


def _frames(view: View, done: _Done, place: Place) -> Stack:
    """Where one of the ranks made the call: known of open calls and of the last one."""
    for rank in done.shape.ranks[:1]:
        lane = view.lanes[rank]
        for each in lane.open:
            if (each.call.seq, each.call.nth) == place and not each.call.p2p:
                return each.frames
        last: Call = lane.calls[-1]
        if (last.seq, last.nth) == place and not last.p2p:
            return lane.last_frames
    return ()
