"""The stacks of many workers as prefix trees with counts, classes and outliers.

In: ``WorkerStacks`` and ``Problem`` values, in any order. Out: ``Merged``, one ``StackTree``
per thread label. The rule only this module keeps: merging is associative, commutative and
idempotent, because a tree *is* the set of (stack, member) pairs; nodes, classes and outliers
are read off it. Nothing here recurses: a stack may be as deep as a file says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from oobdump.job.ranks import format_ranks
from oobdump.job.stacks import MAIN_LABEL, Frame, Member, Problem, Stack, ThreadStack, WorkerStacks, top_user_frame

__all__ = [
    "MAX_OUTLIERS",
    "OUTLIER_SHARE",
    "Merged",
    "Node",
    "Outlier",
    "StackClass",
    "StackTree",
    "build",
    "every_thread",
    "join",
    "merge",
    "not_ours",
]

OUTLIER_SHARE = 4
"""Outliers are at most one in so many: the quarter of NCCL RAS."""

MAX_OUTLIERS = 10
"""And at most so many in all: above it NCCL RAS names none of them, since a crowd is no outlier."""

_Standing = Mapping[Member, int]
"""Who stands somewhere, and with how many threads."""

_NO_ONE: frozenset[Member] = frozenset()


@dataclass(frozen=True)
class Node:
    """One frame of a tree, in pre-order: the children are the following nodes that are one deeper.

    ``members`` pass through it, ``ends`` stand in it; ``threads`` counts threads, of which a
    member may have several under one label.
    """

    depth: int
    frame: Frame
    members: frozenset[Member]
    ends: frozenset[Member]
    threads: int


@dataclass(frozen=True)
class StackClass:
    """All members whose threads of one label stand in the same stacks, each stack so many times."""

    thread: str
    members: frozenset[Member]
    stacks: tuple[tuple[Stack, int], ...]

    @property
    def frames(self) -> Stack:
        """The stack that most of the threads stand in."""
        return self.stacks[0][0]


@dataclass(frozen=True)
class Outlier:
    """A class that stands apart from ``others`` members; ``frame`` is the one to name (None: no frame)."""

    stack_class: StackClass
    others: int
    frame: Frame | None


@dataclass(frozen=True)
class StackTree:
    """The threads of one label: which members stand in which stack."""

    stacks: Mapping[Stack, _Standing]

    @cached_property
    def members(self) -> frozenset[Member]:
        """Everyone with a thread in this tree."""
        return frozenset[Member]().union(*self.stacks.values())

    @cached_property
    def threads(self) -> int:
        """How many threads are in this tree."""
        return sum(sum(standing.values()) for standing in self.stacks.values())

    @property
    def ends(self) -> frozenset[Member]:
        """Members with a thread that has no frame: it is starting or ending."""
        return frozenset(self.stacks.get((), ()))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The prefix tree in pre-order, the branch with most members first."""
        return tuple(_walk(_grow(self.stacks)))

    def classes(self, label: str) -> tuple[StackClass, ...]:
        """The equivalence classes, largest first; every member is in exactly one."""
        stacks = tuple(self.stacks)
        places: dict[Member, list[tuple[int, int]]] = {}
        for number, standing in enumerate(self.stacks.values()):
            for member, times in standing.items():
                places.setdefault(member, []).append((number, times))
        classes: dict[tuple[tuple[int, int], ...], list[Member]] = {}
        for member, where in places.items():
            classes.setdefault(tuple(where), []).append(member)
        found = [
            StackClass(label, frozenset(members), _most_first((stacks[number], times) for number, times in where))
            for where, members in classes.items()
        ]
        return tuple(sorted(found, key=lambda each: _order(each.members)))


@dataclass(frozen=True)
class Merged:
    """The trees by thread label, and the workers that have none and why."""

    trees: Mapping[str, StackTree] = field(default_factory=dict)
    problems: frozenset[Problem] = frozenset()

    @cached_property
    def members(self) -> frozenset[Member]:
        """Every worker that was handed in, also those with a problem."""
        trees = (tree.members for tree in self.trees.values())
        return frozenset[Member]().union(*trees, (problem.member for problem in self.problems))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The thread labels for display: the main thread, then those of most members."""
        labels = (label for label, tree in self.trees.items() if tree.stacks)
        return tuple(sorted(labels, key=lambda each: (each != MAIN_LABEL, -len(self.trees[each].members), each)))

    @cached_property
    def classes(self) -> tuple[StackClass, ...]:
        """The equivalence classes of every label, in the order of ``labels``."""
        return tuple(each for label in self.labels for each in self.trees[label].classes(label))

    @cached_property
    def outliers(self) -> tuple[Outlier, ...]:
        """The classes that stand apart from the rest of their label, in the order of ``labels``."""
        by_label: dict[str, list[StackClass]] = {}
        for each in self.classes:
            by_label.setdefault(each.thread, []).append(each)
        return tuple(outlier for label in self.labels for outlier in _outliers(by_label[label]))

    @cached_property
    def shared_ranks(self) -> frozenset[int]:
        """Ranks that more than one worker claims: their workers are shown by name."""
        counts = Counter(member.rank for member in self.members if member.rank is not None)
        return frozenset(rank for rank, count in counts.items() if count > 1)

    def split(self, members: Iterable[Member]) -> tuple[list[int], list[str]]:
        """``members`` as ranks, and as names those whose rank does not tell them; both rising."""
        ranks, names = [], []
        for rank, worker in members:
            if rank is None or rank in self.shared_ranks:
                names.append(worker)
            else:
                ranks.append(rank)
        return sorted(ranks), sorted(names)

    def fold(self, members: Iterable[Member]) -> str:
        """``members`` as one folded text: ``0-7,12``, then workers by name."""
        ranks, names = self.split(members)
        return ",".join(([format_ranks(ranks)] if ranks else []) + names)


def merge(a: StackTree, b: StackTree) -> StackTree:
    """The tree of both. A member in both (the same dump read twice) counts once."""
    stacks = {stack: dict(standing) for stack, standing in a.stacks.items()}
    for stack, standing in b.stacks.items():
        _lift(stacks.setdefault(stack, {}), standing)
    return StackTree(stacks)


def join(a: Merged, b: Merged) -> Merged:
    """Two merges as one, label by label."""
    trees = dict(a.trees)
    for label, tree in b.trees.items():
        trees[label] = merge(trees[label], tree) if label in trees else tree
    return Merged(trees, a.problems | b.problems)


def not_ours(thread: ThreadStack) -> bool:
    """Keeps the threads of the program: oobdump's own are the same everywhere and explain nothing."""
    return not thread.ours


def every_thread(_thread: ThreadStack) -> bool:
    """Keeps oobdump's own threads too."""
    return True


def build(results: Iterable[WorkerStacks | Problem], *, keep: Callable[[ThreadStack], bool] = not_ours) -> Merged:
    """The merge of what ``parse_stacks`` gave, over all workers."""
    growing = _Growing()
    problems: set[Problem] = set()
    for result in results:
        if isinstance(result, Problem):
            problems.add(result)
        elif not growing.add(result, keep):
            problems.add(Problem(result.worker, result.rank, "no thread but oobdump's own"))
    return Merged({label: StackTree(stacks) for label, stacks in growing.labels.items()}, frozenset(problems))


class _Growing:
    """Trees while they are built. Ranks share their stack objects: one that was seen is not hashed again."""

    def __init__(self) -> None:
        self.labels: dict[str, dict[Stack, dict[Member, int]]] = {}
        self._seen: dict[tuple[str, int], tuple[Stack, dict[Member, int]]] = {}

    def add(self, result: WorkerStacks, keep: Callable[[ThreadStack], bool]) -> bool:
        """Puts a worker's threads in; whether it had any that are kept."""
        places = [self._place(thread.label, thread.frames) for thread in result.threads if keep(thread)]
        member = result.member
        times = Counter(map(id, places)) if len(places) > 1 else {}
        for standing in places:
            _lift(standing, {member: times.get(id(standing), 1)})
        return bool(places)

    def _place(self, label: str, stack: Stack) -> dict[Member, int]:
        """Who stands in that stack. The stack is kept beside it, or its id could come again."""
        seen = self._seen.get((label, id(stack)))
        if seen is None:
            standing = self.labels.setdefault(label, {}).setdefault(stack, {})
            seen = self._seen[(label, id(stack))] = (stack, standing)
        return seen[1]


def _lift(standing: dict[Member, int], other: _Standing) -> None:
    """Adds ``other``; the larger count wins, which is what makes merging twice the same as once."""
    for member, times in other.items():
        if times > standing.get(member, 0):
            standing[member] = times


def _order(members: Collection[Member]) -> tuple[int, tuple[bool, int, str]]:
    """Sort key of disjoint sets of members: the largest first, then by the first member."""
    return -len(members), min((member.order for member in members), default=(True, 0, ""))


def _most_first(stacks: Iterable[tuple[Stack, int]]) -> tuple[tuple[Stack, int], ...]:
    return tuple(sorted(stacks, key=lambda each: (-each[1], each[0])))


class _Branch:
    """A node while the tree grows: the standings of all stacks through it, and of those that end in it."""

    __slots__ = ("children", "end", "standings")

    def __init__(self) -> None:
        self.children: dict[Frame, _Branch] = {}
        self.standings: list[_Standing] = []
        self.end: _Standing = {}

    @property
    def threads(self) -> int:
        return sum(sum(standing.values()) for standing in self.standings)


def _grow(stacks: Mapping[Stack, _Standing]) -> _Branch:
    root = _Branch()
    for stack, standing in stacks.items():
        branch = root
        for frame in stack:
            child = branch.children.get(frame)
            if child is None:
                child = branch.children[frame] = _Branch()
            child.standings.append(standing)
            branch = child
        branch.end = standing
    return root


def _walk(root: _Branch) -> Iterator[Node]:
    """Pre-order, without recursion. A chain shares one set of members: a union only where it forks."""
    todo = _children(root, 0, None)
    while todo:
        node, branch = todo.pop()
        yield node
        todo += _children(branch, node.depth + 1, node)


def _children(branch: _Branch, depth: int, parent: Node | None) -> list[tuple[Node, _Branch]]:
    """The children of ``branch``, the one to visit first at the end."""
    found = []
    for frame, child in branch.children.items():
        ends = frozenset(child.end) if child.end else _NO_ONE
        if parent is not None and len(child.standings) == len(branch.standings):
            members, threads = parent.members, parent.threads
        else:
            members, threads = _NO_ONE.union(*child.standings), child.threads
        found.append((Node(depth, frame, members, ends, threads), child))
    if len(found) > 1:
        found.sort(key=lambda each: (_order(each[0].members), each[0].frame), reverse=True)
    return found


def _outliers(classes: list[StackClass]) -> Iterator[Outlier]:
    """The classes of one label (largest first) that stand apart, as NCCL RAS draws the line.

    What they stand apart from are the largest classes, each of at least a quarter; together the
    outliers are at most a quarter and at most ten, but a single one may always be named. The
    smallest classes go first; of equal ones, those whose stack leaves the others' earliest, and
    those equal in that too stand or fall together.
    """
    total = sum(len(each.members) for each in classes)
    largest = len(classes[0].members)
    if largest * OUTLIER_SHARE < total:
        return
    references = [each.frames for each in classes if len(each.members) == largest]
    ranked: dict[tuple[int, int], list[StackClass]] = {}
    for each in classes[len(references) :]:
        distance = max(_common(each.frames, reference) for reference in references)
        ranked.setdefault((len(each.members), distance), []).append(each)
    room = max(1, min(MAX_OUTLIERS, total // OUTLIER_SHARE))
    for (size, _), group in sorted(ranked.items(), key=lambda each: each[0]):
        room -= size * len(group)
        if room < 0:
            return
        for each in group:
            yield Outlier(each, total - size, _telling_frame(each.frames, references))


def _common(a: Stack, b: Stack) -> int:
    """How many frames two stacks share from the outside."""
    for number, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return number
    return min(len(a), len(b))


def _telling_frame(stack: Stack, references: list[Stack]) -> Frame | None:
    """The innermost frame of the user's; if the others stand in it too, the innermost of all."""
    frame = top_user_frame(stack)
    if frame is not None and any(frame in reference for reference in references):
        return stack[-1]
    return frame
