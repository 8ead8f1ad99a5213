"""The recorders of all ranks as one: ``match``.

In: ``RankTrace`` values in any order, and problems in place of those that could not be read. Out:
``Collectives``. The rule only this module keeps: no rank is lost. One whose recorder says nothing
is a member that was not heard; of two that claim one rank the one that came further counts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from oobdump.job.collectives import Collectives, Finding, Group, Kind, Position, TraceProblem, Wait
from oobdump.job.p2p import p2p_findings
from oobdump.job.places import findings_of
from oobdump.job.trace import RankTrace
from oobdump.job.views import NOTHING, Ranks, View, views_of
from oobdump.job.waits import blockers_of, cycles_of, waits_of, wavefront_of

__all__ = ["match"]

_WEIGHTS: Mapping[Kind, int] = {
    "type-mismatch": 0,
    "order-mismatch": 0,
    "size-mismatch": 1,
    "dtype-mismatch": 1,
    "p2p-mismatch": 1,
    "missing-ranks": 2,
    "p2p-unmatched": 2,
    "not-completed": 3,
}
"""What to look at first: calls that cannot fit end in a hang sooner or later; one that runs may be fine."""


def match(
    traces: Iterable[RankTrace | TraceProblem],
    *,
    world: Collection[int] | None = None,
    members: Mapping[str, Collection[int]] | None = None,
) -> Collectives:
    """What all recorders say together.

    ``world`` are the ranks of the job where they are known from elsewhere; ``members`` those of
    groups by name, which Gloo's recorder does not know.
    """
    by_rank, problems = _sorted_out(traces)
    ranks = frozenset(by_rank)
    everyone = frozenset(world or ()) | ranks | {each.rank for each in problems if each.rank is not None}
    views = views_of(list(by_rank.values()), everyone, members)
    waits = waits_of(views)
    cycles = cycles_of(waits)
    return Collectives(
        ranks=ranks,
        groups=tuple(_group(view) for view in views),
        findings=_findings(views, waits),
        waits=tuple(waits),
        cycles=cycles,
        wavefront=wavefront_of(waits, cycles),
        blockers=blockers_of(waits),
        problems=tuple(problems),
    )


def _sorted_out(traces: Iterable[RankTrace | TraceProblem]) -> tuple[dict[int, RankTrace], list[TraceProblem]]:
    """One trace for each rank, and why there are no others; the same whatever the order they come in."""
    by_rank: dict[int, RankTrace] = {}
    problems: list[TraceProblem] = []
    for trace in traces:
        if isinstance(trace, TraceProblem):
            problems.append(trace)
            continue
        other = by_rank.get(trace.rank)
        if other is not None:
            trace, other = (trace, other) if _further(trace) > _further(other) else (other, trace)  # noqa: PLW2901
            problems.append(
                TraceProblem(None, other.where, f"rank {trace.rank} has another recorder that came further")
            )
        by_rank[trace.rank] = trace
    problems.sort(key=lambda each: (each.rank is None, each.rank or 0, each.where, each.reason))
    return dict(sorted(by_rank.items())), problems


def _further(trace: RankTrace) -> tuple[int, int, str]:
    last = -1 if trace.last_record_id is None else trace.last_record_id
    return last, trace.entries, trace.where


def _findings(views: Iterable[View], waits: Collection[Wait]) -> tuple[Finding, ...]:
    """All findings: those that name a blocker before those that only follow, and of these the oldest wait."""
    found = [finding for view in views for finding in (*findings_of(view), *p2p_findings(view))]
    blockers = blockers_of(waits)
    since = {(wait.group, wait.seq): wait.since_ns for wait in waits if wait.since_ns is not None}

    def weight(finding: Finding) -> tuple[int, bool, float, int, int]:
        begun = since.get((finding.group, finding.seq), math.inf)
        return _WEIGHTS[finding.kind], not finding.ranks & blockers, begun, -len(finding.others), finding.seq

    return tuple(sorted(found, key=weight))


def _group(view: View) -> Group:
    positions: dict[tuple[int, int], list[int]] = {}
    never: list[int] = []
    for rank, last in view.lasts.items():
        each = view.open_call(rank)
        ended = last if each is None else each.call.seq - 1
        positions.setdefault((last, ended), []).append(rank)
        if each is None and last < view.front:
            never.append(rank)
    firsts = [shape.first for shape in view.shapes if shape.first is not None]
    return Group(
        key=view.key,
        backend=_backend(view),
        members=view.members,
        members_from=view.members_from,
        heard=view.heard,
        first=min(firsts, default=None),
        front=_reached(view.front),
        positions=tuple(_position(place, ranks) for place, ranks in sorted(positions.items())),
        never_entered=frozenset(never),
        wrapped=view.wrapped,
    )


def _position(place: tuple[int, int], ranks: Collection[int]) -> Position:
    entered, completed = place
    return Position(_reached(entered), _reached(completed), Ranks(ranks))


def _reached(seq: int) -> int | None:
    return seq if seq > NOTHING else None


def _backend(view: View) -> str:
    return next((call.op.backend for shape in view.shapes for call in shape.calls), "")
