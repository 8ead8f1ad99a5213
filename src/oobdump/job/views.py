"""The lanes of all ranks sorted into process groups: who is in a group, and who did the same in it.

In: ``RankTrace`` values of distinct ranks. Out: one ``View`` a group. The rules only this module
keeps: what makes two ranks' groups one (name, description and members); ranks whose calls are
equal are one ``Shape`` from here on; and of a rank whose older entries were overwritten nothing
is concluded from their absence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from oobdump.job.collectives import GroupKey
from oobdump.job.trace import Call, Lane, OpenCall, RankTrace

__all__ = ["DEFAULT_GROUP", "NOTHING", "Shape", "View", "views_of"]

Ranks = frozenset[int]
Place = tuple[int, int]
"""``seq`` and ``nth``."""

NOTHING = -1
"""How far a rank came that called nothing: PyTorch counts from 1, older versions from 0."""

DEFAULT_GROUP = "default_pg"
"""PyTorch's description of the group of all ranks."""


@dataclass(frozen=True)
class Shape:
    """Ranks that made exactly the same calls in one group, equally far."""

    calls: tuple[Call, ...]
    ranks: tuple[int, ...]

    @cached_property
    def collectives(self) -> Mapping[Place, Call]:
        """The calls that all members make, by place."""
        return {(call.seq, call.nth): call for call in self.calls if not call.p2p}

    @cached_property
    def first(self) -> int | None:
        """The oldest place that is still in the ring."""
        return next((call.seq for call in self.calls if not call.p2p), None)

    @cached_property
    def last(self) -> int:
        """The newest place that was entered, or ``NOTHING``."""
        return max((call.seq for call in self.calls if not call.p2p), default=NOTHING)

    @cached_property
    def first_open(self) -> Call | None:
        """The oldest collective that has not come to its end."""
        return next((call for call in self.calls if not call.p2p and not call.done), None)


@dataclass(frozen=True)
class View:
    """One group over all ranks. ``silent`` were read and called nothing in it; ``hidden`` may have."""

    key: GroupKey
    members: Ranks
    members_from: Literal["config", "world", "seen"]
    shapes: tuple[Shape, ...]
    lanes: Mapping[int, Lane]
    silent: Ranks
    hidden: Ranks
    wrapped: Ranks

    @cached_property
    def heard(self) -> Ranks:
        """Members of whom it is known how far they came."""
        return frozenset(self.lanes) | self.silent

    @cached_property
    def ordered(self) -> tuple[int, ...]:
        """The members in the group's own order: the group's rank 1 is the second of them."""
        return tuple(sorted(self.members))

    @cached_property
    def lasts(self) -> Mapping[int, int]:
        """How far each rank came."""
        found = {rank: shape.last for shape in self.shapes for rank in shape.ranks}
        return found | dict.fromkeys(self.silent, NOTHING)

    @cached_property
    def front(self) -> int:
        """The furthest place that anybody entered."""
        return max(self.lasts.values(), default=NOTHING)

    def behind(self, seq: int) -> Ranks:
        """Heard members that have not entered ``seq``."""
        return frozenset(rank for rank, last in self.lasts.items() if last < seq)

    def open_call(self, rank: int) -> OpenCall | None:
        """The rank's oldest collective that has not come to its end."""
        lane = self.lanes.get(rank)
        return next((each for each in lane.open if not each.call.p2p), None) if lane is not None else None


def views_of(
    traces: Collection[RankTrace], world: Ranks, members: Mapping[str, Collection[int]] | None = None
) -> list[View]:
    """The groups in which anybody called anything, by name."""
    known = _known_members(traces)
    lanes: dict[GroupKey, dict[int, Lane]] = {}
    for trace in traces:
        for lane in trace.lanes:
            key = _key(lane, trace.rank, known)
            lanes.setdefault(key, {})[trace.rank] = lane
    by_rank = {trace.rank: trace for trace in traces}
    return [_view(key, lanes[key], by_rank, world, members or {}) for key in sorted(lanes)]


def _known_members(traces: Iterable[RankTrace]) -> Mapping[tuple[str, str], tuple[tuple[int, ...], ...]]:
    """The member lists that were told under each name and description; more than one after a split."""
    found: dict[tuple[str, str], dict[tuple[int, ...], None]] = {}
    for trace in traces:
        for config in trace.configs:
            if config.ranks is not None:
                found.setdefault((config.name, config.desc), {})[config.ranks] = None
    return {name: tuple(lists) for name, lists in found.items()}


def _key(lane: Lane, rank: int, known: Mapping[tuple[str, str], tuple[tuple[int, ...], ...]]) -> GroupKey:
    name, desc = lane.group.name, lane.group.desc
    if lane.group.ranks is not None:
        return GroupKey(name, desc, lane.group.ranks)
    told = [ranks for ranks in known.get((name, desc), ()) if rank in ranks]
    return GroupKey(name, desc, told[0] if len(told) == 1 else ())


def _view(
    key: GroupKey,
    lanes: Mapping[int, Lane],
    by_rank: Mapping[int, RankTrace],
    world: Ranks,
    hints: Mapping[str, Collection[int]],
) -> View:
    origin: Literal["config", "world", "seen"]
    if key.members:
        members, origin = frozenset(key.members), "config"
    elif key.name in hints:
        members, origin = frozenset(hints[key.name]), "config"
    elif key.desc == DEFAULT_GROUP:
        members, origin = world, "world"
    else:
        members, origin = frozenset(lanes), "seen"
    members |= frozenset(lanes)
    absent = [by_rank[rank] for rank in members - lanes.keys() if rank in by_rank]
    return View(
        key=key,
        members=members,
        members_from=origin,
        shapes=_shapes(lanes),
        lanes=lanes,
        silent=frozenset(trace.rank for trace in absent if not trace.wrapped),
        hidden=frozenset(trace.rank for trace in absent if trace.wrapped),
        wrapped=frozenset(rank for rank in lanes if by_rank[rank].wrapped),
    )


def _shapes(lanes: Mapping[int, Lane]) -> tuple[Shape, ...]:
    """The shapes, most ranks first. Read with one pool equal lanes are one object; else a few shapes are equal."""
    found: dict[int, tuple[tuple[Call, ...], list[int]]] = {}
    for rank, lane in lanes.items():
        found.setdefault(id(lane.calls), (lane.calls, []))[1].append(rank)
    shapes = [Shape(calls, tuple(sorted(ranks))) for calls, ranks in found.values()]
    return tuple(sorted(shapes, key=lambda shape: (-len(shape.ranks), shape.ranks)))
