"""Rules that compare samples: ``straggler`` and ``not-hung``.

In: how each rank moved between samples. Out: a finding, or none where there was one sample only: one
picture of a train does not tell whether it runs.
"""

from __future__ import annotations

from oobdump.job.activity import activity
from oobdump.job.blame import Picture
from oobdump.job.evidence import DEAD, MUTE
from oobdump.job.rules.finding import Finding
from oobdump.job.rules.missing import shared_by, waiting_text
from oobdump.job.wording import ranks_text, seconds, user_place, verb

__all__ = ["not_hung", "straggler"]

_TWO = 2

_FAST_CALLS = 20
"""Completed between two samples: so many short steps that a healthy rank is last in a few samples by chance."""

_SURE_SAMPLES = 6
"""Of two healthy ranks the same one is last in all of so many by chance once in 32 times or less."""


def straggler(seen: Picture) -> Finding | None:
    """The job goes on, but the same ranks are the last in every sample; or those waited for are still at work."""
    if _anybody_out(seen):
        return None
    return _last_each_time(seen) or _still_at_work(seen)


def not_hung(seen: Picture) -> Finding | None:
    """Every rank gets further: its recorder completes calls, or it is at work and nobody waits for another."""
    if _anybody_out(seen) or seen.evidence.absent or seen.evidence.samples < _TWO or not seen.motions:
        return None
    paces = {each.pace for each in seen.motions.values()}
    if paces <= {"advances"}:
        done = sum(each.completed for each in seen.motions.values())
        summary = f"the job goes on: every rank completed collectives, {done} in {seconds(_span(seen))}"
        return Finding("not-hung", (), "high", summary, _moves(seen))
    if not paces <= {"advances", "moves", "computes"} or seen.blame is not None:
        return None
    summary = f"no rank stands still, and none waits for another: {len(seen.motions)} ranks are at work"
    return Finding("not-hung", (), "medium", summary, _moves(seen))


def _last_each_time(seen: Picture) -> Finding | None:
    """A job that advances, in which the same few ranks are awaited in each sample."""
    if not seen.advancing or seen.evidence.samples < _TWO:
        return None
    late = [_late(seen, number) for number in range(seen.evidence.samples)]
    ranks = late[0]
    if not ranks or any(each != ranks for each in late) or _may_be_chance(seen):
        return None
    first = min(ranks)
    summary = (
        f"the job goes on, and {ranks_text(ranks)} {verb(ranks, 'is', 'are')} the one the others wait for in each of "
        f"{len(late)} samples: {user_place(seen.worker(first).main)}"
    )
    others = frozenset(seen.evidence.ranks) - ranks
    evidence = (f"{ranks_text(others)} waited in a collective in each sample", *_moves(seen), *shared_by(seen, ranks))
    return Finding("straggler", tuple(sorted(ranks)), "medium", summary, evidence)


def _may_be_chance(seen: Picture) -> bool:
    """Whether the steps are so short that as few samples as these tell nothing."""
    most = max((each.completed for each in seen.motions.values()), default=0)
    return most / (seen.evidence.samples - 1) > _FAST_CALLS and seen.evidence.samples < _SURE_SAMPLES


def _late(seen: Picture, number: int) -> frozenset[int]:
    """Who was awaited in one sample: those outside a collective while most were in one."""
    looks = {rank: worker.looks[number] for rank, worker in seen.evidence.ranks.items() if len(worker.looks) > number}
    stacks = {rank: look.main for rank, look in looks.items() if look.main is not None}
    inside = frozenset(rank for rank, stack in stacks.items() if activity(stack).waits_for_others)
    outside = frozenset(stacks) - inside
    return outside if len(outside) <= len(inside) else frozenset()


def _still_at_work(seen: Picture) -> Finding | None:
    """Nobody advances, and those who are waited for go from function to function."""
    if seen.blame is None or seen.advancing or not seen.blame.ranks <= frozenset(seen.motions):
        return None
    ranks = seen.blame.ranks
    if any(seen.motions[rank].pace != "moves" for rank in ranks):
        return None
    summary = (
        f"{ranks_text(ranks)} {verb(ranks, 'is', 'are')} still at work while {ranks_text(seen.blame.waiting)} "
        f"{verb(seen.blame.waiting, 'waits', 'wait')}: {user_place(seen.worker(min(ranks)).main)}"
    )
    evidence = (*waiting_text(seen.blame), *_moves(seen), *shared_by(seen, ranks))
    return Finding("straggler", tuple(sorted(ranks)), "medium", summary, evidence)


def _anybody_out(seen: Picture) -> bool:
    return any(worker.state in DEAD | MUTE for worker in seen.evidence.judged)


def _span(seen: Picture) -> float:
    return max((each.span_s for each in seen.motions.values()), default=0.0)


def _moves(seen: Picture) -> tuple[str, ...]:
    """By pace, who moved so."""
    by_pace: dict[str, set[int]] = {}
    for rank, each in seen.motions.items():
        by_pace.setdefault(each.pace, set()).add(rank)
    words = {
        "advances": "completed collectives",
        "moves": "went from function to function",
        "computes": "used a processor in the same functions",
        "still": "stood still",
        "once": "was seen once",
        "unseen": "was not seen",
    }
    return tuple(f"{ranks_text(ranks)} {words[pace]} in {seconds(_span(seen))}" for pace, ranks in by_pace.items())
