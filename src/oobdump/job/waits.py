"""Who waits for whom over all groups: waits, the circles in them, and where the waiting ends.

In: the ``View`` of every group. Out: ``Wait`` and ``Cycle`` values. The rules only this module
keeps: a rank waits with its oldest open call of each group; where the recorder tells that one
call runs on the device (``started``), the rank's calls that are only ``scheduled`` stand behind
it, so they wait for nobody and others wait for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from oobdump.job.collectives import Cycle, GroupKey, Wait
from oobdump.job.p2p import p2p_waits
from oobdump.job.stacks import Stack
from oobdump.job.trace import OpenCall
from oobdump.job.views import Ranks, View

__all__ = ["blockers_of", "cycles_of", "waits_of", "wavefront_of"]

_NO_ONE: Ranks = frozenset()


def waits_of(views: Sequence[View]) -> list[Wait]:
    """Every wait, those that wait for somebody first and of them the widest."""
    running = _running(views)
    found = [wait for view in views for wait in (*_collective_waits(view, running), *p2p_waits(view))]
    return sorted(found, key=lambda wait: (not wait.on, not wait.unheard, -len(wait.waiting), wait.group, wait.seq))


def blockers_of(waits: Iterable[Wait]) -> Ranks:
    """Ranks that are waited for and wait for nobody: the first place to look."""
    waits = list(waits)
    waited_for = _NO_ONE.union(*(wait.on for wait in waits))
    return waited_for - _NO_ONE.union(*(wait.waiting for wait in waits if wait.on))


def wavefront_of(waits: Sequence[Wait], cycles: Sequence[Cycle]) -> tuple[GroupKey, ...]:
    """The groups in which the waiting ends: for blockers, in a circle, or with all members in the call."""
    blockers = blockers_of(waits)
    ends = [wait.group for wait in waits if wait.on & blockers] + [group for cycle in cycles for group in cycle.groups]
    if not ends:
        ends = [wait.group for wait in waits if wait.unheard] or [wait.group for wait in waits]
    return tuple(dict.fromkeys(ends))


def cycles_of(waits: Sequence[Wait]) -> tuple[Cycle, ...]:
    """The circles: sets of ranks and waits of which each can be reached from each other."""
    named = {number: wait for number, wait in enumerate(waits) if wait.on}
    edges: dict[_Node, list[_Node]] = {}
    for number, wait in named.items():
        edges[(1, number)] = [(0, rank) for rank in sorted(wait.on)]
        for rank in wait.waiting:
            edges.setdefault((0, rank), []).append((1, number))
    found = []
    for nodes in _Knots(edges).all():
        ranks = frozenset(number for is_wait, number in nodes if not is_wait)
        if ranks and len(nodes) > 1:
            found.append(Cycle(ranks, tuple(named[number] for is_wait, number in sorted(nodes) if is_wait)))
    return tuple(sorted(found, key=lambda cycle: min(cycle.ranks)))


# -- collectives -----------------------------------------------------------------------------------------------------


def _running(views: Iterable[View]) -> Ranks:
    """Ranks with a call that has started and not ended."""
    return frozenset(
        rank
        for view in views
        for rank, lane in view.lanes.items()
        if any(each.call.state == "started" for each in lane.open)
    )


def _collective_waits(view: View, running: Ranks) -> Iterator[Wait]:
    """One wait for each place at which ranks wait."""
    places: dict[int, dict[int, OpenCall]] = {}
    queued: dict[int, int] = {}
    for rank in view.lanes:
        each = view.open_call(rank)
        if each is None:
            continue
        if each.call.state == "scheduled" and rank in running:
            queued[rank] = each.call.seq
        else:
            places.setdefault(each.call.seq, {})[rank] = each
    for seq, waiting in sorted(places.items()):
        yield _wait(view, seq, waiting, view.behind(seq) | {rank for rank, since in queued.items() if since <= seq})


def _wait(view: View, seq: int, waiting: Mapping[int, OpenCall], on: Iterable[int]) -> Wait:
    first = waiting[min(waiting)]
    created = [each.created_ns for each in waiting.values() if each.created_ns is not None]
    return Wait(
        group=view.key,
        seq=seq,
        op=first.call.op,
        waiting=frozenset(waiting),
        on=frozenset(on),
        unheard=view.members - view.heard,
        since_ns=min(created, default=None),
        frames=_frames(waiting),
    )


def _frames(waiting: Mapping[int, OpenCall]) -> Stack:
    """Where the first rank that says so called it."""
    return next((waiting[rank].frames for rank in sorted(waiting) if waiting[rank].frames), ())


# -- circles ---------------------------------------------------------------------------------------------------------

_Node = tuple[int, int]
"""(0, rank) or (1, number of a wait): an edge for each two ranks would be millions."""


class _Knots:
    """The strongly connected components (Tarjan), without recursion: a chain may be as long as the job is wide."""

    def __init__(self, edges: Mapping[_Node, Sequence[_Node]]) -> None:
        self.edges = edges
        self.order: dict[_Node, int] = {}
        self.low: dict[_Node, int] = {}
        self.path: list[_Node] = []
        self.on_path: set[_Node] = set()

    def all(self) -> Iterator[list[_Node]]:
        """Each component once."""
        for root in self.edges:
            if root not in self.order:
                yield from self._from(root)

    def _from(self, root: _Node) -> Iterator[list[_Node]]:
        todo = [self._entered(root)]
        while todo:
            node, rest = todo[-1]
            inner = next(rest, None)
            if inner is None:
                todo.pop()
                if todo:
                    self._lower(todo[-1][0], self.low[node])
                if self.low[node] == self.order[node]:
                    yield self._taken(node)
            elif inner not in self.order:
                todo.append(self._entered(inner))
            elif inner in self.on_path:
                self._lower(node, self.order[inner])

    def _entered(self, node: _Node) -> tuple[_Node, Iterator[_Node]]:
        self.order[node] = self.low[node] = len(self.order)
        self.path.append(node)
        self.on_path.add(node)
        return node, iter(self.edges.get(node, ()))

    def _lower(self, node: _Node, to: int) -> None:
        self.low[node] = min(self.low[node], to)

    def _taken(self, node: _Node) -> list[_Node]:
        """The component of ``node``: the end of the path from it on."""
        start = len(self.path) - 1
        while self.path[start] != node:
            start -= 1
        found = self.path[start:]
        del self.path[start:]
        self.on_path.difference_update(found)
        return found
