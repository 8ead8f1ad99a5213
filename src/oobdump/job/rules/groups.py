"""The rule for ranks that wait for each other in a circle: ``deadlock-over-groups``.

In: the cycles over the waits of all groups. Out: a finding if every wait of a cycle stands still.
"""

from __future__ import annotations

from oobdump.job.blame import Picture
from oobdump.job.collectives import Cycle, Wait
from oobdump.job.rules.finding import Finding
from oobdump.job.wording import op_text, ranks_text, user_place, verb

__all__ = ["deadlock_over_groups"]

_SHOWN = 8


def deadlock_over_groups(seen: Picture) -> Finding | None:
    """Ranks wait in one group for ranks that wait in another for them."""
    cycle = next((each for each in seen.evidence.collectives.cycles if each.ranks and each.ranks <= seen.stuck), None)
    if cycle is None:
        return None
    ranks = tuple(sorted(cycle.ranks))
    labels = ", ".join(key.label for key in cycle.groups)
    summary = f"{ranks_text(ranks)} wait for each other in a circle over {labels}"
    steps = ("Enter the groups in the same order on every rank, or leave one before entering the next.",)
    return Finding("deadlock-over-groups", ranks, "high", summary, _evidence(seen, cycle), (), steps)


def _evidence(seen: Picture, cycle: Cycle) -> tuple[str, ...]:
    return tuple(_wait(seen, wait, cycle) for wait in cycle.waits[:_SHOWN])


def _wait(seen: Picture, wait: Wait, cycle: Cycle) -> str:
    waiting = wait.waiting & cycle.ranks or wait.waiting
    first = min(waiting)
    stack = seen.worker(first).main if first in seen.evidence.ranks else wait.frames
    return (
        f"{ranks_text(waiting)} {verb(waiting, 'waits', 'wait')} in {wait.group.label}, call {wait.seq} "
        f"({op_text(wait.op)}), for {ranks_text(wait.on)}; {user_place(stack)}"
    )
