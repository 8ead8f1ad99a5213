"""A merged tree as rows, one a line of the page: which guide, which frame, who.

In: ``StackTree`` and the members that stand apart. Out: ``Row`` values, top to bottom; widths
and colours are the page's. The rule only this module keeps: a chain of frames with the same
members is not indented, and a branch of outliers is always among the rows, whatever else is
left out. Nothing here recurses: a tree may be as deep as the deepest stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oobdump.job.merge import Node, StackTree
from oobdump.job.stacks import Frame, Member
from oobdump.report.harmless import ELLIPSIS

__all__ = ["MAX_BRANCHES", "MAX_CHAIN", "Row", "rows_of"]

MAX_BRANCHES = 20
"""Branches shown at one fork, the largest: a page is for reading, ``--json`` has them all."""

MAX_CHAIN = 60
"""Frames shown without a fork, twice a usual stack. Of a deep recursion the middle is left out."""

_CHAIN_HEAD = 20
"""Of a chain that is too long: the inner end tells more, so it keeps twice as many."""


@dataclass(frozen=True)
class Row:
    """One line of a tree: a frame, or a note where there is none.

    ``starts`` a branch: who is on it is said there and not again along its chain. ``odd`` rows
    hold outliers only; ``odd_begins`` on the first of them.
    """

    guide: str
    frame: Frame | None
    note: str
    members: frozenset[Member]
    threads: int
    starts: bool
    odd: bool
    odd_begins: bool


@dataclass(frozen=True)
class _Branch:
    """What leaves a fork: a chain of nodes, or (``chain`` is empty) a note about members."""

    chain: tuple[int, ...]
    note: str
    members: frozenset[Member]
    threads: int


@dataclass(frozen=True)
class _Step:
    """A branch that is yet to be drawn, with the guides of its first and of its other rows."""

    branch: _Branch
    first: str
    rest: str
    inside_odd: bool


def rows_of(tree: StackTree, odd: frozenset[Member]) -> Iterator[Row]:
    """The rows of ``tree``; ``odd`` are the members that stand apart."""
    forks = _Forks(tree, odd)
    todo = _steps(forks.at(None), "", inside_odd=False, with_guides=len(forks.at(None)) > 1)
    while todo:
        step = todo.pop()
        is_odd = step.inside_odd or forks.is_odd(step.branch)
        yield from _rows(tree.nodes, step, is_odd=is_odd)
        if step.branch.chain:
            todo += _steps(forks.at(step.branch.chain[-1]), step.rest, inside_odd=is_odd, with_guides=True)


class _Forks:
    """What leaves each fork of one tree: branches, members that stand in it, and what is left out."""

    def __init__(self, tree: StackTree, odd: frozenset[Member]) -> None:
        self.tree = tree
        self.odd = odd
        self.children = _children(tree.nodes)

    def is_odd(self, branch: _Branch) -> bool:
        return bool(branch.members) and branch.members <= self.odd

    def at(self, index: int | None) -> list[_Branch]:
        """The branches that leave node ``index`` (None: the root), the one of most members first."""
        found = [self._chain(child) for child in self._inner(index)]
        if not found and index is not None:
            return found
        if ends := self.tree.ends if index is None else self.tree.nodes[index].ends:
            note = "(no Python frame)" if index is None else "(stands here)"
            threads = self._threads(index) - sum(branch.threads for branch in found)
            found.append(_Branch((), note, ends, threads))
            found.sort(key=lambda branch: -len(branch.members))
        return self._shortened(found)

    def _chain(self, index: int) -> _Branch:
        """The nodes from ``index`` to the next fork or the end."""
        nodes, chain = self.tree.nodes, [index]
        while len(inner := self._inner(chain[-1])) == 1 and not nodes[chain[-1]].ends:
            chain.append(inner[0])
        return _Branch(tuple(chain), "", nodes[index].members, nodes[index].threads)

    def _inner(self, index: int | None) -> list[int]:
        return self.children.get(index) or []

    def _threads(self, index: int | None) -> int:
        return self.tree.threads if index is None else self.tree.nodes[index].threads

    def _shortened(self, branches: list[_Branch]) -> list[_Branch]:
        if len(branches) <= MAX_BRANCHES:
            return branches
        shown = branches[: MAX_BRANCHES - 1] + [each for each in branches[MAX_BRANCHES - 1 :] if self.is_odd(each)]
        left_out = [each for each in branches[MAX_BRANCHES - 1 :] if not self.is_odd(each)]
        members = frozenset[Member]().union(*(each.members for each in left_out))
        note = f"{ELLIPSIS} {len(left_out)} more branches"
        return [*shown, _Branch((), note, members, sum(each.threads for each in left_out))] if left_out else shown


def _children(nodes: Sequence[Node]) -> dict[int | None, list[int]]:
    """The children of each node by its place in ``nodes``; those of None are the roots."""
    children: dict[int | None, list[int]] = {}
    path: list[int] = []
    for index, node in enumerate(nodes):
        del path[node.depth :]
        children.setdefault(path[-1] if path else None, []).append(index)
        path.append(index)
    return children


def _steps(branches: Sequence[_Branch], guide: str, *, inside_odd: bool, with_guides: bool) -> list[_Step]:
    """The branches of one fork with their guides, the first one last (it is taken from the end)."""
    steps = []
    for number, branch in enumerate(branches, 1):
        first, rest = ("├─ ", "│  ") if number < len(branches) else ("└─ ", "   ")
        steps.append(_Step(branch, *((guide + first, guide + rest) if with_guides else ("", "")), inside_odd))
    return steps[::-1]


def _rows(nodes: Sequence[Node], step: _Step, *, is_odd: bool) -> Iterator[Row]:
    """The rows of one branch up to its next fork."""
    branch, guide = step.branch, step.first
    for place, (frame, note) in enumerate(_lines(nodes, branch)):
        begins = is_odd and not step.inside_odd and place == 0
        yield Row(guide, frame, note, branch.members, branch.threads, place == 0, is_odd, begins)
        guide = step.rest


def _lines(nodes: Sequence[Node], branch: _Branch) -> Iterator[tuple[Frame | None, str]]:
    """Frame or note of each row of a branch, the middle of a very long chain left out."""
    chain = branch.chain
    if not chain:
        yield None, branch.note
    left_out = len(chain) - MAX_CHAIN + 1 if len(chain) > MAX_CHAIN else 0
    for place, index in enumerate(chain):
        if left_out and place == _CHAIN_HEAD:
            yield None, f"{ELLIPSIS} {left_out} more frames"
        if not left_out or not _CHAIN_HEAD <= place < _CHAIN_HEAD + left_out:
            yield nodes[index].frame, ""
