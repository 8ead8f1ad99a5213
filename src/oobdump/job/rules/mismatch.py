"""Rules for ranks that called something else than the others: another operation, order, size or type.

In: what the recorders say together. Out: ``order-mismatch``, ``shape-mismatch``, ``different-collective``.
The rule only this module keeps: a difference in an operation that every rank has ended blames nobody
unless data was surely lost by it, that is, if element types or numbers of elements differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from oobdump.job.blame import Picture
from oobdump.job.collectives import Finding as Difference
from oobdump.job.collectives import Variant
from oobdump.job.rules.finding import Confidence, Finding
from oobdump.job.trace import Op
from oobdump.job.wording import op_text, ranks_text, sizes_text, user_place, verb

__all__ = ["different_collective", "order_mismatch", "shape_mismatch"]

_SHOWN = 6


def order_mismatch(seen: Picture) -> Finding | None:
    """Ranks called the same operations of one group in different orders."""
    return _finding(seen, "order-mismatch", ("order-mismatch",), "in another order than")


def different_collective(seen: Picture) -> Finding | None:
    """Ranks called different operations in the same place of a group."""
    return _finding(seen, "different-collective", ("type-mismatch",), "another operation than")


def shape_mismatch(seen: Picture) -> Finding | None:
    """Ranks called the same operation with tensors that do not go together."""
    return _finding(
        seen, "shape-mismatch", ("size-mismatch", "dtype-mismatch", "p2p-mismatch"), "with other tensors than"
    )


def _finding(seen: Picture, rule: str, kinds: tuple[str, ...], how: str) -> Finding | None:
    differences = [each for each in seen.evidence.collectives.findings if each.kind in kinds]
    open_first = sorted(differences, key=lambda each: not _is_open(seen, each))
    found = next((each for each in open_first if _is_open(seen, each) or _loses_data(each.variants)), None)
    if found is None:
        return None
    ranks = tuple(sorted(found.ranks))
    variants = _variants(seen, found)
    odd = next((text for ranks_, text in variants if ranks_ & found.ranks), op_text(found.op))
    who = f"{ranks_text(ranks)} {verb(ranks, 'calls', 'call')} {how}"
    whom = ranks_text(found.others) if found.others else "each other"
    summary = f"{who} {whom} in {found.group.label}, call {found.seq}: {odd}"
    evidence = [f"{ranks_text(ranks_)}: {text}" for ranks_, text in variants[:_SHOWN]]
    if found.detail:
        evidence.append(found.detail)
    if not _is_open(seen, found):
        evidence.append(f"call {found.seq} has ended everywhere: what went wrong there made the ranks part later")
    steps = ("Make every rank of the group call the same operations, in one order, on tensors of one shape and type.",)
    return Finding(rule, ranks, _confidence(seen, found), summary, tuple(evidence), (), steps)


def _confidence(seen: Picture, found: Difference) -> Confidence:
    return "high" if _is_open(seen, found) and not found.unheard else "medium"


def _is_open(seen: Picture, found: Difference) -> bool:
    """Whether a rank still waits in the call that differs, or in one of the same group behind it."""
    return any(
        wait.group.name == found.group.name and wait.seq == found.seq for wait in seen.evidence.collectives.waits
    )


def _loses_data(variants: Iterable[Variant]) -> bool:
    """Whether element types or numbers of elements differ: ``[4]`` and ``[2, 2]`` are the same to a backend."""
    return len({(variant.op.name, variant.op.input_dtypes, _numbers(variant.op)) for variant in variants}) > 1


def _numbers(op: Op) -> tuple[int, ...]:
    return tuple(prod(each) for each in op.input_sizes)


def _variants(seen: Picture, found: Difference) -> list[tuple[frozenset[int], str]]:
    """Who did what and where; where a rank stands now tells nothing of a call that has ended."""
    shown = {sizes_text(variant.op) for variant in found.variants}
    names = {variant.op.name for variant in found.variants}
    text = sizes_text if len(shown) > 1 and len(names) == 1 else op_text
    told = []
    for variant in found.variants:
        worker = seen.evidence.ranks.get(min(variant.ranks, default=-1)) if _is_open(seen, found) else None
        stack = variant.frames or (None if worker is None else worker.main)
        where = f" in {user_place(stack)}" if stack else ""
        told.append((variant.ranks, f"{text(variant.op)}{where}"))
    return told
