"""Who waits for whom, from the recorder and the stacks together.

In: ``Evidence``. Out: a ``Blame``: the ranks that others wait for and that wait for nobody, who waits
for them, and in what. The rules only this module keeps: a wait counts only if a rank that waits
stood still over all samples, for an operation under way in a healthy job is a wait as well; and
where the recorder names a rank that the stacks show waiting for another, the chain is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oobdump.job.activity import Activity, activity
from oobdump.job.collectives import Wait
from oobdump.job.evidence import Evidence, Worker
from oobdump.job.progress import Motion, motion

__all__ = ["Blame", "Picture", "picture"]

Ranks = frozenset[int]


@dataclass(frozen=True)
class Blame:
    """``ranks`` keep ``waiting`` from going on. ``source`` says who told it: ``recorder`` or ``stacks``."""

    ranks: Ranks
    waiting: Ranks
    source: str
    waits: tuple[Wait, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """What the rules look at: by rank, what each is busy with, how it moved, and who is to blame."""

    evidence: Evidence
    activities: Mapping[int, Activity]
    motions: Mapping[int, Motion]
    blame: Blame | None

    @property
    def stuck(self) -> Ranks:
        """Ranks that are not seen to have moved between samples."""
        return frozenset(rank for rank, each in self.motions.items() if each.fixed)

    @property
    def in_wait(self) -> Ranks:
        """Ranks whose main thread waits for other ranks, by its stack."""
        return frozenset(rank for rank, each in self.activities.items() if each.waits_for_others)

    @property
    def advancing(self) -> Ranks:
        """Ranks whose recorder completed something between samples."""
        return frozenset(rank for rank, each in self.motions.items() if each.pace == "advances")

    def worker(self, rank: int) -> Worker:
        """One rank's worker."""
        return self.evidence.ranks[rank]


def picture(evidence: Evidence) -> Picture:
    """The picture, made once for all rules."""
    ranks = evidence.ranks
    activities = {rank: activity(worker.main) for rank, worker in ranks.items() if worker.main is not None}
    motions = {rank: motion(worker) for rank, worker in ranks.items()}
    first = Picture(evidence, activities, motions, None)
    return Picture(evidence, activities, motions, _blame(first))


def _blame(seen: Picture) -> Blame | None:
    recorded = _by_recorder(seen)
    if recorded is not None:
        return _followed(seen, recorded)
    return _by_stacks(seen)


def _by_recorder(seen: Picture) -> Blame | None:
    """The ranks that have not entered what others, standing still, have open."""
    waits = [wait for wait in seen.evidence.collectives.waits if _holds(seen, wait)]
    waiting = frozenset[int]().union(*(wait.waiting for wait in waits))
    on = frozenset[int]().union(*(wait.on | wait.unheard for wait in waits))
    blamed = on - waiting
    if not blamed:
        return None
    telling = tuple(wait for wait in waits if (wait.on | wait.unheard) & blamed)
    return Blame(blamed, waiting, "recorder", telling)


def _holds(seen: Picture, wait: Wait) -> bool:
    """Whether a rank that waits in it does not move, and none of them completes anything."""
    return bool(wait.waiting & seen.stuck) and not wait.waiting & seen.advancing


def _followed(seen: Picture, blame: Blame) -> Blame:
    """Of those that are blamed the ones that wait themselves, by their stacks (Gloo records no receive), are let off.

    If all of them wait, those are to blame who wait for nobody.
    """
    waiting = blame.ranks & seen.in_wait & seen.stuck
    free = blame.ranks - waiting or frozenset(seen.evidence.ranks) - seen.in_wait - blame.waiting
    if not waiting or not free:
        return blame
    return Blame(free, blame.waiting | waiting, "recorder and stacks", blame.waits)


def _by_stacks(seen: Picture) -> Blame | None:
    """Without a recorder's word: some stand in a collective and others do not."""
    waiting = seen.in_wait & seen.stuck
    blamed = frozenset(seen.evidence.ranks) - seen.in_wait
    absent = frozenset(seen.evidence.absent)
    if not waiting or not (blamed | absent):
        return None
    return Blame(blamed | absent, waiting, "stacks")
