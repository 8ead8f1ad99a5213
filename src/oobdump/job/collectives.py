"""What the recorders of all ranks say together, as frozen values.

In: nothing. Out: ``Collectives``: groups, what is wrong in each, who waits for whom, and the
cycles. The rule only this module keeps: ranks are ranks of the job everywhere, and nothing
here is a verdict: whether a wait is a hang is for who also sees the stacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from oobdump.job.stacks import Stack
from oobdump.job.trace import Op

__all__ = [
    "Collectives",
    "Cycle",
    "Finding",
    "Group",
    "GroupKey",
    "Kind",
    "Position",
    "TraceProblem",
    "Variant",
    "Wait",
]

Ranks = frozenset[int]

Kind = Literal[
    "missing-ranks",  # some members have not called what others have; `ranks` are those that did not
    "type-mismatch",  # members called different operations in the same place
    "order-mismatch",  # the same operations, but in another order
    "size-mismatch",
    "dtype-mismatch",
    "not-completed",  # all members called it, and on `ranks` it has not ended (on all of them: it runs, or it hangs)
    "p2p-unmatched",  # a send without its receive, or a receive without its send; `ranks` have not called
    "p2p-mismatch",  # a send and its receive that differ in size or dtype
]
"""What can be said of one place in a group."""


class GroupKey(NamedTuple):
    """What makes two ranks' process groups the same one. ``members`` is empty where nobody was told them."""

    name: str
    desc: str
    members: tuple[int, ...]

    @property
    def label(self) -> str:
        """For people: the description where there is one, else the name."""
        return self.desc if self.desc not in ("", "undefined") else f"group {self.name}"


@dataclass(frozen=True)
class Position:
    """The ranks that stand at the same place of a group: what they entered last and what they ended last."""

    entered: int | None
    completed: int | None
    ranks: Ranks


@dataclass(frozen=True)
class Group:
    """One process group over all ranks.

    ``members_from`` says how its members are known: ``config`` (the recorder was told), ``world``
    (it is the default group), ``seen`` (those that called something in it: there may be more).
    ``heard`` are members whose recorder was read; ``never_entered`` those of them that are behind
    the others with nothing open here. ``front`` is the furthest place that anybody entered.
    """

    key: GroupKey
    backend: str
    members: Ranks
    members_from: Literal["config", "world", "seen"]
    heard: Ranks
    first: int | None
    front: int | None
    positions: tuple[Position, ...]
    never_entered: Ranks = frozenset()
    wrapped: Ranks = frozenset()

    @property
    def unheard(self) -> Ranks:
        """Members of which no recorder was read: they may or may not have entered."""
        return self.members - self.heard


@dataclass(frozen=True)
class Variant:
    """One of several things that ranks did in the same place."""

    op: Op
    ranks: Ranks
    frames: Stack = ()


@dataclass(frozen=True)
class Finding:
    """What is wrong in one place of one group.

    ``ranks`` are those to name; ``others`` did what most did, or wait. ``op`` is what the others
    called and ``frames`` where, outermost frame first (from one of them). ``variants`` lists who
    did what, most ranks first, where that differs. ``unheard``: members that may be missing too.
    """

    kind: Kind
    group: GroupKey
    seq: int
    nth: int
    op: Op
    ranks: Ranks
    others: Ranks
    variants: tuple[Variant, ...] = ()
    frames: Stack = ()
    unheard: Ranks = frozenset()
    detail: str = ""


@dataclass(frozen=True)
class Wait:
    """``waiting`` have entered place ``seq`` of ``group``; ``on`` have not (as far as was heard).

    ``since_ns`` is when the first of them entered, by its own clock. ``unheard`` members may be
    who they wait for. With ``on`` and ``unheard`` empty all are in it, and it has not ended.
    """

    group: GroupKey
    seq: int
    op: Op
    waiting: Ranks
    on: Ranks
    unheard: Ranks = frozenset()
    since_ns: int | None = None
    frames: Stack = ()
    p2p: bool = False


@dataclass(frozen=True)
class Cycle:
    """Ranks that wait for each other in a circle, and the waits that make it: a deadlock over groups if they block."""

    ranks: Ranks
    waits: tuple[Wait, ...]

    @property
    def groups(self) -> tuple[GroupKey, ...]:
        """The groups the circle goes through."""
        return tuple(dict.fromkeys(wait.group for wait in self.waits))


@dataclass(frozen=True)
class TraceProblem:
    """A recorder that says nothing, or a part of one that contradicts the rest."""

    rank: int | None
    where: str
    reason: str


@dataclass(frozen=True)
class Collectives:
    """All of it. ``findings`` are ordered: the first is the one to look at first.

    ``wavefront`` are the groups in which the waiting ends: those that are waited for there wait
    for nobody. ``blockers`` are these ranks. Other groups' waits are consequences.
    """

    ranks: Ranks = frozenset()
    groups: tuple[Group, ...] = ()
    findings: tuple[Finding, ...] = ()
    waits: tuple[Wait, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    wavefront: tuple[GroupKey, ...] = ()
    blockers: Ranks = frozenset()
    problems: tuple[TraceProblem, ...] = field(default=())
